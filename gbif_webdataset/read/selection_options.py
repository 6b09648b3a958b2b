"""The parameters of ReadArchive that select images and columns."""

from dataclasses import dataclass

from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable


@dataclass(frozen=True)
class SelectionOptions:
    """Which images to take, and which columns of their records.

    Attributes:
        subset_key: column of the records that `subset` and `num_images_per_category` refer to.
        subset: taxa to take, by values of that column or by name; None takes all.
        crosswalk: from the taxonomy of the keys in `subset` to that of the archive; None if it is the same.
        same_taxonomy: whether the user states that keys in `subset` have the archive's taxonomy.
        num_images_per_category: maximum number of images for each value of that column; 0 for no limit.
        random_seed: seed of the random choice that num_images_per_category makes.
        extra_columns: further columns of the records for the manifest.
        licenses: codes of the licences to take; empty takes all.
        where: SQL condition on the records' columns, all of them text, and on `coreid`; empty takes all.
        media_where: SQL condition on the columns of the media, all of them text; empty takes all.
        vernacular_languages: languages of the vernacular names, the preferred one first.
        later_columns: columns that later stages name; the manifest has them if the records do.
        subset_list: path of the file with `subset`, for errors.
    """

    subset_key: str
    subset: SubsetList | None = None
    num_images_per_category: int = 0
    random_seed: int = 0
    extra_columns: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    where: str = ""
    media_where: str = ""
    later_columns: tuple[str, ...] = ()
    subset_list: str = ""
    crosswalk: CrosswalkTable | None = None
    same_taxonomy: bool = False
    vernacular_languages: tuple[str, ...] = ()

    @property
    def has_names(self) -> bool:
        """Whether `subset` has names."""
        return self.subset is not None and self.subset.has_names

    @property
    def needs_category(self) -> bool:
        """Whether subset_key must be a column."""
        has_keys = self.subset is not None and not self.subset.has_only_names
        return has_keys or self.num_images_per_category > 0
