"""The parameters of ReadArchive that select images and columns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SelectionOptions:
    """Which images to take, and which columns of their records.

    Attributes:
        subset_key: column of the records that `subset` and `num_images_per_category` refer to.
        subset: values of that column to take; None takes all.
        num_images_per_category: maximum number of images for each value of that column; 0 for no limit.
        random_seed: seed of the random choice that num_images_per_category makes.
        extra_columns: further columns of the records for the manifest.
        licenses: codes of the licences to take; empty takes all.
        where: SQL condition on the records' columns, all of them text, and on `coreid`; empty takes all.
        media_where: SQL condition on the columns of the media, all of them text; empty takes all.
        later_columns: columns that later stages name; the manifest has them if the records do.
        subset_list: path of the file with `subset`, for errors.
    """

    subset_key: str
    subset: tuple[str, ...] | None = None
    num_images_per_category: int = 0
    random_seed: int = 0
    extra_columns: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    where: str = ""
    media_where: str = ""
    later_columns: tuple[str, ...] = ()
    subset_list: str = ""

    @property
    def needs_category(self) -> bool:
        """Whether subset_key is used."""
        return self.subset is not None or self.num_images_per_category > 0
