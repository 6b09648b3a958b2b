"""Tables and sentences of the dataset card, in Markdown."""

import re
from collections.abc import Iterator

from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.formatting import format_count, split_scientific_name
from gbif_webdataset.publish.coverage import MONTH, YEAR, Coverage, ValueSummary
from gbif_webdataset.terms.ranks import MAIN_NAME_COLUMNS

MAX_TEXT_CHARACTERS = 2_000  # of a text of the archive or the user
# Characters with a meaning in Markdown or its dialects: everywhere, beside a word, at the start or the end of a line.
PUNCTUATION = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^[#=>]|^[-+](?=[-+ ]|$)|#$")
NUMBERED = re.compile(r"^(\d+)([.)])(?= |$)")
ENTITY = re.compile(r"&(?=#?\w+;)")
DOI_URL = re.compile(r"https://doi\.org/[A-Za-z0-9./_%;()-]+")
RANKS = tuple(reversed(MAIN_NAME_COLUMNS))  # from kingdom to species
ITALIC_RANKS = ("genus", "species")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
LIFE_STAGES = {
    "adult": "adults", "egg": "eggs", "imago": "imagines", "juvenile": "juveniles", "larva": "larvae",
    "nymph": "nymphs", "pupa": "pupae", "subadult": "subadults",
}  # fmt: skip
"""What images of a life stage show."""
IS_FROM, SHOWS = ("is from", "are from"), ("shows", "show")
PROPERTIES = {
    "countryCode": "country (ISO code)",
    YEAR: "year",
    MONTH: "month",
    "lifeStage": "life stage",
    "basisOfRecord": "kind of record",
}
COUNTED = {"recordedBy": "observer", "datasetKey": "source dataset"}
"""Properties of which the card gives the number of values, but not the values, which are names of people or keys."""


def escape_markdown(text: object, links: bool = False) -> str:
    """A text as one line of Markdown without any formatting; with `links`, URLs of DOIs stay links."""
    line = " ".join(str(text).split())
    line = line[:MAX_TEXT_CHARACTERS] + ("…" if len(line) > MAX_TEXT_CHARACTERS else "")
    if links and (url := DOI_URL.search(line)):
        before, after = line[: url.start()], line[url.end() :]
        return f"{escape_markdown(before)} <{url[0]}> {escape_markdown(after)}".strip()
    escaped = NUMBERED.sub(r"\1\\\2", PUNCTUATION.sub(r"\\\g<0>", line))
    return ENTITY.sub("&amp;", escaped).replace("<", "&lt;")


def mark_name(name: str) -> str:
    """A name of a class, scientific names in italics."""
    italic, rest = split_scientific_name(" ".join(name.split()))
    return f"*{escape_markdown(italic)}* {escape_markdown(rest)}".strip() if italic else escape_markdown(rest)


def describe_properties(coverage: Coverage) -> Iterator[tuple[str, str, str]]:
    """(property, for how many images it is known, its values with their images)."""
    for rank in RANKS:
        if rank in coverage.values:
            yield rank, *_describe_values(coverage, coverage.values[rank], "*" if rank in ITALIC_RANKS else "")
    for column, name in PROPERTIES.items():
        found = coverage.values.get(column)
        if column == MONTH:
            found = _name_months(found)
        count, values = _describe_values(coverage, found)
        if column == YEAR and coverage.years:
            values = f"{coverage.years[0]} to {coverage.years[1]}; most images: {values}"
        yield name, count, values
        if column == "countryCode":
            yield "coordinates", *_describe_places(coverage)
    for column, name in COUNTED.items():
        if (found := coverage.values.get(column)) and found.with_value:
            largest = max(found.frequent.values())
            yield (
                name,
                _format_part(coverage, found.with_value),
                f"{found.distinct:,} different; the most frequent has {largest:,}",
            )
        else:
            yield name, "0", "unknown"


def describe_limitations(coverage: Coverage, not_downloaded: int) -> Iterator[str]:
    """What the dataset cannot show, a few sentences each."""
    yield (
        "**Labels.** The labels are the identifications in the archive. Nobody has checked them for this dataset, so "
        "some may be wrong."
    )
    yield (
        "**Numbers.** The images are those that people took and shared. The number of images of a class does not show "
        "how common it is in nature. That a class has no image from a place or a time does not show that it is absent."
    )
    places, months, stages = (coverage.values.get(name) for name in ("countryCode", MONTH, "lifeStage"))
    yield _describe_bias("**Places.** ", "country", places, IS_FROM, "other countries")
    years = ""
    if coverage.years:
        first, last = coverage.years
        years = f"The images are from {first}. " if first == last else f"The images are from {first} to {last}. "
    yield _describe_bias(f"**Dates.** {years}", "month", _name_months(months), IS_FROM, "other years and seasons")
    yield _describe_observers(coverage.values.get("recordedBy"))
    yield _describe_bias("**Life stages.** ", "life stage", _name_stages(stages), SHOWS, "other life stages")
    if not_downloaded:
        verb = "was" if not_downloaded == 1 else "were"
        yield (
            f"**Missing images.** {format_count(not_downloaded, 'image')} of the archive {verb} not downloaded, so the "
            "dataset may not represent the archive."
        )


def describe_organisms(coverage: Coverage) -> str:
    """The name of the lowest taxon to which all samples belong, such as `Lepidoptera`; empty if there is none."""
    for rank in reversed(RANKS):
        found = coverage.values.get(rank)
        if found and found.with_value == coverage.samples and found.distinct == 1:
            [name] = found.frequent
            return f"*{escape_markdown(name)}*" if rank in ITALIC_RANKS else escape_markdown(name)
    return ""


def describe_shared(row: SharedImages) -> str:
    """How many images of a split share something with train, or that this is unknown."""
    if not row.images:
        return "no image"
    if row.is_missing_in_train:
        return "unknown (no image of train has a value)"
    if row.share is None:
        return "unknown" if row.with_value is None else f"unknown (known for 0 of {row.images:,} images)"
    with_value = row.images if row.with_value is None else row.with_value
    return f"{row.shared:,} of {with_value:,} images ({100 * row.share:.1f} %)" + (
        f", known for {with_value:,} of {row.images:,}" if with_value < row.images else ""
    )


def describe_groups(group_by: str, by_occurrence: bool) -> str:
    """Which images are in one split: sentences about the parameters of SplitDataset."""
    links = [
        entry.strip().replace("+", " and ").replace("-", " ")
        for entry in group_by.split(",")
        if entry.strip() not in ("", "occurrence")
    ]
    together = f" Photos that share one of these stay together as well: {', '.join(links)}." if links else ""
    if not by_occurrence:
        return "Photos of one occurrence may be in several splits." + together.replace(" as well", "")
    return f"All photos of one occurrence stay together.{together}"


def _name_months(found: ValueSummary | None) -> ValueSummary | None:
    if found is None:
        return None
    named = {MONTHS[int(number) - 1]: images for number, images in found.frequent.items()}
    return ValueSummary(found.with_value, found.distinct, named)


def _name_stages(found: ValueSummary | None) -> ValueSummary | None:
    if found is None:
        return None
    named = {LIFE_STAGES.get(text, f"the life stage {text}"): images for text, images in found.frequent.items()}
    return ValueSummary(found.with_value, found.distinct, named)


def _describe_values(coverage: Coverage, found: ValueSummary | None, mark: str = "") -> tuple[str, str]:
    if found is None or not found.with_value:
        return "0", "unknown"
    listed = [f"{mark}{escape_markdown(text)}{mark} ({images:,})" for text, images in found.frequent.items()]
    more = found.distinct - len(listed)
    return _format_part(coverage, found.with_value), ", ".join(listed) + (f" and {more:,} more" if more else "")


def _describe_places(coverage: Coverage) -> tuple[str, str]:
    if coverage.bounds is None:
        return "0", "unknown"
    south, north, west, east = coverage.bounds
    latitudes = f"{_format_degrees(south, 'N', 'S')} to {_format_degrees(north, 'N', 'S')}"
    longitudes = f"{_format_degrees(west, 'E', 'W')} to {_format_degrees(east, 'E', 'W')}"
    return _format_part(coverage, coverage.placed), f"{latitudes}, {longitudes}"


def _format_degrees(degrees: float, positive: str, negative: str) -> str:
    return f"{abs(degrees):.1f}° {negative if degrees < 0 else positive}"


def _format_part(coverage: Coverage, samples: int) -> str:
    return f"all {samples:,}" if samples == coverage.samples else f"{samples:,} of {coverage.samples:,}"


def _describe_observers(found: ValueSummary | None) -> str:
    if found is None or not found.with_value:
        return "**Observers.** The observers are unknown, so it cannot be seen whether a few of them took most images."
    images, largest = found.with_value, max(found.frequent.values())
    took = f"{found.distinct:,} observers took the {images:,} images with known observer"
    took += f"; the most active one took {largest:,}"
    if found.distinct == 1:
        took = f"One observer took all {images:,} images with known observer"
    return (
        f"**Observers.** {took}. A model can learn the camera or the background of an observer instead of the organism."
    )


def _describe_bias(start: str, name: str, found: ValueSummary | None, verbs: tuple[str, str], others: str) -> str:
    if found is None or not found.with_value:
        return f"{start}The {name} is unknown, so it cannot be seen which images are rare or missing."
    text, images = next(iter(found.frequent.items()))
    verb = verbs[0] if images == 1 else verbs[1]
    if images < found.with_value:
        count = f"{images:,} of the {found.with_value:,} images"
    else:
        count = "The only image" if images == 1 else f"All {images:,} images"
    return f"{start}{count} with known {name} {verb} {escape_markdown(text)}. Results may not hold for {others}."
