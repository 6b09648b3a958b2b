"""The files, columns and codes of a dataset: docs/outputs.md is `python -m gbif_webdataset.terms.outputs`."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from gbif_webdataset.terms.codes import Code
from gbif_webdataset.terms.columns import Column
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind, Evidence
from gbif_webdataset.terms.differences import Difference
from gbif_webdataset.terms.outcomes import (
    LIMIT_FAILURES,
    REFUSALS,
    DecoderWarning,
    Defect,
    FetchFailure,
    Status,
    is_temporary,
)
from gbif_webdataset.terms.output_files import OUTPUTS
from gbif_webdataset.terms.reasons import DropReason, LineFault, MediumReason

CODES: tuple[tuple[str, type[Code]], ...] = (
    ("`status` of the ledger", Status),
    ("`error` of the ledger; other HTTP statuses are `http-<status>`, which are temporary", FetchFailure),
    ("`error` of the verified tables", Defect),
    ("`warning` of the verified tables", DecoderWarning),
    ("`kind` of audit.csv", Difference),
    ("`reason` of lines that are not rows", LineFault),
    ("`reason` of media that are not images to fetch", MediumReason),
    ("`reason` of images that are dropped", DropReason),
    ("`kind` of crosswalks", ChangeKind),
    ("`evidence` of crosswalks", Evidence),
)


def render_outputs() -> str:
    """docs/outputs.md."""
    return "\n".join([*_render_files(), *_render_codes()]) + "\n"


def _render_files() -> Iterator[str]:
    yield "# Files of a dataset"
    yield ""
    yield "All paths are below `output`. This page is generated: `python -m gbif_webdataset.terms.outputs`."
    yield "CSV files are UTF-8 with a header; an empty field means that there is no value. The column `type` below says"
    yield "how to read a column of a CSV file."
    yield "Keys are text: read them as text (`dtype=str`), because `5WZLF`, `6E4` and `0012` are different keys."
    yield ""
    yield "| path | written by | what it is |"
    yield "|---|---|---|"
    for output in OUTPUTS:
        yield f"| `{output.path}` | {output.task} | {output.meaning} |"
    for output in OUTPUTS:
        if output.columns or output.follows:
            yield from ("", f"## {output.path}", "", *([output.follows] if output.follows else []))
        if output.columns:
            yield from (*([""] if output.follows else []), "| column | type | meaning |", "|---|---|---|")
            yield from _render_columns(output.columns)


def _render_columns(listed: Iterable[Column]) -> Iterator[str]:
    """A row for each column; neighbours of the same meaning share a row."""
    for (kind, meaning), same in groupby(listed, key=lambda column: column[1:]):
        names = ", ".join(f"`{column.name}`" for column in same)
        yield f"| {names} | {kind} | {meaning} |"


def _render_codes() -> Iterator[str]:
    yield from ("", "# Codes")
    for title, codes in CODES:
        yield from ("", f"## {title}", "", "| code | meaning |", "|---|---|")
        for code in codes:
            yield f"| `{code}` | {code.meaning}{_describe_retries(code)} |"


def _describe_retries(code: Code) -> str:
    if not isinstance(code, FetchFailure):
        return ""
    if code in REFUSALS:
        return " (one later run retries it)"
    if code in LIMIT_FAILURES:
        return " (a later run retries it if the limit is raised)"
    return " (temporary: a later run retries it)" if is_temporary(code) else " (permanent)"


if __name__ == "__main__":
    print(render_outputs(), end="")
