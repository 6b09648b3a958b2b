"""What to know of a dataset before training with it: shown on the terminal, at the top of the page and in the card."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gbif_webdataset.account.dataset_numbers import ClassSamples, DatasetNumbers
from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.formatting import format_count
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.splits import HIGH_LEAKAGE, HUB_SPLITS, TEST, TRAIN, VAL

IMBALANCE_RATIO = 10
"""How many times as many images in train the largest class has as the smallest, from which this is a finding."""
MAX_NAMES = 3  # of classes in a finding
MAX_NAME = 60  # characters


class Topic(StrEnum):
    """What a finding is about."""

    EMPTY_SPLITS = "empty-splits"
    SINGLE_IMAGES = "single-images"
    RANKS = "ranks"
    IMBALANCE = "imbalance"
    LEAKAGE = "leakage"
    UNKNOWN_LEAKAGE = "unknown-leakage"
    SPLIT_METHOD = "split-method"
    LICENCE = "licence"
    FAILURES = "failures"


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Attributes:
        topic: what it is about.
        text: a clause without a period, such as "3 classes have no test image".
        advice: an option as users type it, or another clause; empty if there is none.
    """

    topic: Topic
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.advice}" if self.advice else self.text


def list_findings(numbers: DatasetNumbers) -> list[Finding]:
    """The findings, in the order in which they are shown."""
    return [
        *_find_empty_splits(numbers),
        *_find_single_images(numbers),
        *_find_high_ranks(numbers),
        *_find_imbalance(numbers),
        *describe_leakage(numbers.shared),
        *_find_older_method(numbers),
        *_find_licence(numbers),
        *_find_failures(numbers),
    ]


def describe_leakage(rows: Sequence[SharedImages]) -> list[Finding]:
    """The findings about what images of val and test share with train, and about what is unknown.

    The first one states what this means for the results.
    """
    findings = [*_find_leakage(rows), *_find_unknown_leakage(rows)]
    if not findings:
        return []
    first, *others = findings
    clause = ", so" if first.topic is Topic.LEAKAGE else "; if they do,"
    return [replace(first, text=f"{first.text}{clause} results on them look better than they are"), *others]


def _find_empty_splits(numbers: DatasetNumbers) -> Iterator[Finding]:
    for split in (VAL, TEST):
        name = HUB_SPLITS[split]
        empty = [one for one in numbers.classes if not one.by_split.get(split)]
        if not numbers.fractions.get(split) or not empty:
            continue
        if len(empty) == len(numbers.classes):
            yield Finding(Topic.EMPTY_SPLITS, f"the {name} split has no image")
        else:
            verb = "has" if len(empty) == 1 else "have"
            text = f"{format_count(len(empty), 'class', 'classes')} {verb} no {name} image"
            yield Finding(Topic.EMPTY_SPLITS, f"{text}: {_list_names(empty)}")


def _list_names(classes: Sequence[ClassSamples]) -> str:
    """The names of some classes, those with most samples first."""
    largest = sorted(classes, key=lambda one: -one.total)[:MAX_NAMES]
    more = len(classes) - len(largest)
    names = [" ".join(one.name.split()) for one in largest]
    names = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…" for name in names]
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _find_single_images(numbers: DatasetNumbers) -> Iterator[Finding]:
    single = sum(one.total == 1 for one in numbers.classes)
    if single:
        verb = "has" if single == 1 else "have"
        yield Finding(
            Topic.SINGLE_IMAGES,
            f"{format_count(single, 'class', 'classes')} {verb} only one image",
            "--SplitDataset-min-instances 2 drops such classes",
        )


def _find_high_ranks(numbers: DatasetNumbers) -> Iterator[Finding]:
    above, samples = numbers.above_species, numbers.samples
    if above:
        advice = "--SplitDataset-category-key speciesKey" if numbers.has_species_key else ""
        verb = "is" if above == 1 else "are"
        images = f"{_format_share(above / samples)} of the samples ({above:,} of {samples:,})"
        yield Finding(Topic.RANKS, f"{images} {verb} labelled above species rank", advice)


def _find_imbalance(numbers: DatasetNumbers) -> Iterator[Finding]:
    in_train = [one.by_split.get(TRAIN, 0) for one in numbers.classes]
    in_train = [images for images in in_train if images]
    if in_train and max(in_train) >= IMBALANCE_RATIO * min(in_train):
        largest = format_count(max(in_train), "image")
        yield Finding(Topic.IMBALANCE, f"the largest class has {largest} in train, the smallest has {min(in_train):,}")


def _find_leakage(rows: Sequence[SharedImages]) -> Iterator[Finding]:
    for own in _group_by_trait(rows):
        comparable = [row for row in own if row.share is not None]
        shared = sum(row.shared or 0 for row in comparable)
        with_value = sum(row.images if row.with_value is None else row.with_value for row in comparable)
        if not with_value or shared < HIGH_LEAKAGE * with_value:
            continue
        name = comparable[0].name
        images = " and ".join(HUB_SPLITS[row.split] for row in comparable) + " images"
        limit = f" with known {name}" if with_value < sum(row.images for row in own) else ""
        count = f"all {with_value:,}" if shared == with_value else f"{shared:,} of {with_value:,}"
        verb = "shares" if shared == 1 else "share"
        article = "an" if name[0] in "aeiou" else "a"
        text = f"{count} {images}{limit} {verb} {article} {name} with train"
        yield Finding(Topic.LEAKAGE, text, _describe_remedy(comparable))


def _describe_remedy(rows: Sequence[SharedImages]) -> str:
    entry = next((row.group_by for row in rows if row.group_by), "")
    sizes = [
        (HUB_SPLITS[row.split], size, row.images) for row in rows if (size := row.images_with_group_by) is not None
    ]
    if not entry or not sizes:
        return f"--SplitDataset-group-by {entry}" if entry else ""
    (split, size, images), *others = sizes
    effects = [
        f"{split} would then have {format_count(size, 'image')} instead of {images:,}",
        *(f"{split} {size:,} instead of {images:,}" for split, size, images in others),
    ]
    return f"--SplitDataset-group-by {entry} ({', '.join(effects)})"


def _find_unknown_leakage(rows: Sequence[SharedImages]) -> Iterator[Finding]:
    """A finding for each number of images for which a trait is unknown; traits with the same number are in one."""
    found: dict[tuple[str, str], list[str]] = {}
    for own in _group_by_trait(rows):
        described = [row for row in own if row.images]
        images, unknown = sum(row.images for row in described), sum(row.unknown for row in described)
        if unknown > HIGH_LEAKAGE * images:
            splits = " and ".join(HUB_SPLITS[row.split] for row in described)
            is_missing = any(row.is_missing_in_train for row in described)
            reason = ", because no image of train has a value" if is_missing else ""
            number = f"{unknown:,} of {images:,} images{reason}"
            found.setdefault((splits, number), []).append(described[0].comparison)
    for (splits, number), comparisons in found.items():
        text = f"whether {splits} images {' or '.join(comparisons)} as training images is unknown for {number}"
        yield Finding(Topic.UNKNOWN_LEAKAGE, text)


def _group_by_trait(rows: Sequence[SharedImages]) -> list[list[SharedImages]]:
    return [[row for row in rows if row.trait == trait] for trait in dict.fromkeys(row.trait for row in rows)]


def _find_older_method(numbers: DatasetNumbers) -> Iterator[Finding]:
    moved = numbers.moved_by_new_method
    if moved is not None:
        yield Finding(
            Topic.SPLIT_METHOD,
            "the images keep the splits of an older version; the method of this version would move "
            + format_count(moved, "image"),
            "--SplitDataset-resplit true" if moved else "",
        )


def _find_licence(numbers: DatasetNumbers) -> Iterator[Finding]:
    if numbers.licence:
        name = licences.display_name(numbers.licence)
        yield Finding(Topic.LICENCE, f"the most restrictive licence of an image is: {name}")


def _find_failures(numbers: DatasetNumbers) -> Iterator[Finding]:
    failed = numbers.temporary_failures
    if failed:
        verb = "was" if failed == 1 else "were"
        yield Finding(
            Topic.FAILURES,
            f"{format_count(failed, 'image')} {verb} not downloaded for a reason that may be temporary",
            "run the same command again later",
        )


def _format_share(share: float) -> str:
    """A share in percent, with two digits: `12 %`, `0.4 %`."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"
