"""leakage.csv: what images of val and test share with images of train."""

from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.storage.tables import open_csv

TRAIT_NAMES = {
    "occurrence": "occurrence",
    "observer": "observer",
    "place+date": "place and date",
    "event": "event",
    "content": "picture (the same bytes)",
    "near-duplicate": "picture (nearly the same)",
}
"""Values of `shares` in leakage.csv, in words."""
COMPARISONS = {
    "occurrence": "come from the same occurrence",
    "observer": "come from the same observer",
    "place+date": "come from the same place and date",
    "event": "come from the same sampling event",
    "content": "have the same bytes",
    "near-duplicate": "look nearly the same",
}
"""What images do that share a trait; `as` follows."""


@dataclass(frozen=True)
class SharedImages:
    """Images of a split that share a trait with an image of train.

    Attributes:
        split: val or test.
        trait: the value of `shares`, such as observer.
        images: images of the split.
        with_value: images of the split for which the archive states the trait. None if an older version made the table.
        shared: images of these that share it with train; None if this cannot be determined.
        group_by: the value of --SplitDataset-group-by with which none would; empty if the share is not high.
        images_with_group_by: images that the split would then have.
    """

    split: str
    trait: str
    images: int
    with_value: int | None
    shared: int | None
    group_by: str = ""
    images_with_group_by: int | None = None

    @property
    def name(self) -> str:
        """The trait in words."""
        return TRAIT_NAMES.get(self.trait, self.trait)

    @property
    def comparison(self) -> str:
        """What images do that share the trait, such as `come from the same observer`."""
        return COMPARISONS.get(self.trait, f"have the same {self.trait}")

    @property
    def unknown(self) -> int:
        """Images of the split for which it cannot be determined whether they share the trait with train."""
        if self.shared is None:
            return self.images
        return 0 if self.with_value is None else self.images - self.with_value

    @property
    def is_missing_in_train(self) -> bool:
        """Whether images of the split have a value, but none of train has."""
        return self.shared is None and bool(self.with_value)

    @property
    def share(self) -> float | None:
        """`shared` divided by `with_value`; None if it cannot be determined."""
        images = self.images if self.with_value is None else self.with_value
        return self.shared / images if images and self.shared is not None else None


def read_shared_images(path: Path) -> list[SharedImages]:
    """The rows of leakage.csv. Tables of older versions lack columns."""
    with open_csv(path) as rows:
        return [
            SharedImages(
                row["split"],
                row["shares"],
                int(row["images"]),
                _parse_count(row.get("known")),
                _parse_count(row.get("shared")),
                row.get("group_by") or "",
                _parse_count(row.get("images_with_group_by")),
            )
            for row in rows
        ]


def _parse_count(text: str | None) -> int | None:
    return int(text) if text else None
