"""The summary at the end of a run: samples, images that were left out, what to know before training, how to load."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.before_training import Finding, Topic
from gbif_webdataset.account.dataset_numbers import DatasetNumbers
from gbif_webdataset.formatting import format_count
from gbif_webdataset.terms.outcomes import NO_DAMAGE
from gbif_webdataset.terms.reasons import DropReason, MediumReason

INDENT = 13  # characters before the text of a line
MAX_JOINED = 100  # characters of several findings in a line, without the advice after the last one
NOT_SELECTED = frozenset(
    {
        MediumReason.NOT_IN_SUBSET,
        MediumReason.NOT_WHERE,
        MediumReason.NOT_MEDIA_WHERE,
        MediumReason.UNUSABLE_LICENCE,
        MediumReason.OVER_CAP,
    }
)
"""Reasons of ReadArchive that the user's options cause."""
WORDS_OF_STAGES = {
    "read": "not usable",
    "fetch": "not downloaded",
    "verify": "broken",
    "delete": "deleted",
    "clean": "filtered",
    "split": "in no split",
    "shards": "in no shard",
}
"""By stage, what the images are that it leaves out, unless their reason has words of its own."""
WORDS_OF_REASONS: dict[str, str] = {
    **dict.fromkeys(NOT_SELECTED, "not selected"),
    **dict.fromkeys(NO_DAMAGE, "not decodable"),
    DropReason.NO_LABEL: "without label",
    DropReason.OVER_MAX_INSTANCES: "over max_instances",
    DropReason.UNDER_MIN_INSTANCES: "of classes below min_instances",
}


def summarize_run(
    numbers: DatasetNumbers, findings: Sequence[Finding], page: Path, loading_lines: Sequence[str]
) -> str:
    """The lines for the terminal. `loading_lines` are several ways to load the samples."""
    samples = {line.reason: line.images for line in numbers.lines if line.kept}
    total, classes = sum(samples.values()), len(numbers.classes)
    counts = f"{format_count(total, 'sample')} of {format_count(classes, 'class', 'classes')}"
    counts += f", from {numbers.media_lines:,} media"
    return "\n".join(
        (
            f"{counts:<50} open {page}",
            *_format_lines("splits", [", ".join(f"{split} {images:,}" for split, images in samples.items())]),
            *_format_lines("left out", [_describe_left_out(numbers) or "none"]),
            *_format_lines("check", list(_join_findings(findings))),
            *_format_lines("train", loading_lines),
        )
    )


def _describe_left_out(numbers: DatasetNumbers) -> str:
    left_out: Counter[str] = Counter()
    for line in numbers.lines:
        if not line.kept:
            left_out[_name_group(line)] += line.images
    temporary = numbers.temporary_failures
    retried = f" ({temporary:,} may succeed later)" if temporary else ""
    return ", ".join(
        f"{images:,} {words}{retried if words == WORDS_OF_STAGES['fetch'] else ''}"
        for words, images in left_out.items()
    )


def _name_group(line: AccountLine) -> str:
    if line.stage == "fetch":  # some codes of failed downloads are also codes of other stages
        return WORDS_OF_STAGES[line.stage]
    return WORDS_OF_REASONS.get(line.reason, WORDS_OF_STAGES[line.stage])


def _join_findings(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding; short ones without advice share a line. Failures are in another line of the summary."""
    line = ""
    for finding in findings:
        if finding.topic is Topic.FAILURES:
            continue
        text = str(finding)
        if line and len(line) + len(finding.text) <= MAX_JOINED:
            line += f"; {text}"
        else:
            if line:
                yield line
            line = text
        if finding.advice:
            yield line
            line = ""
    if line:
        yield line


def _format_lines(name: str, texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"{'' if number else f'  {name}':<{INDENT}}{text}"
