"""The archives of a dataset, in the order in which their records count, and what they have in common."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from gbif_webdataset.errors import ArchiveError, ParameterError
from gbif_webdataset.formatting import join_words
from gbif_webdataset.read import dwca
from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.provenance import digest_in_background, find_download_date
from gbif_webdataset.storage.atomic import file_sha256
from gbif_webdataset.terms.checklists import Checklist, Relation
from gbif_webdataset.terms.downloads import DownloadStatement
from gbif_webdataset.terms.ranks import KEY_COLUMNS

DIGEST_CHARACTERS = 8
TAXON_KEYS = {"taxonKey", "acceptedTaxonKey", *KEY_COLUMNS}
ONE_TAXONOMY = (
    "download all of them with the same checklist; or make a dataset of each, and compare their taxa with a crosswalk "
    "(make crosswalk OLD=... NEW=...)"
)


@dataclass(frozen=True)
class ArchiveSet:
    """Open archives, the preferred one first.

    Attributes:
        digests: the SHA-256 of each archive's file; empty for a folder.
        notes: what the user should know about their order.
    """

    archives: tuple[Archive, ...]
    digests: tuple["Future[str]", ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatedArchive:
    """What decides the place of an archive: its label, its date (empty if unknown), and a digest of its content."""

    label: str
    date: str
    digest: str


@contextmanager
def open_archives(paths: Mapping[Path, DownloadStatement], max_expansion: float) -> Iterator[ArchiveSet]:
    """Open the archives of a dataset. Their order does not depend on that of `paths`, but on their contents.

    `paths` gives what GBIF states of each.

    Raises:
        ArchiveError: an archive cannot be read.
        ParameterError: two archives have the same content.
    """
    with ExitStack() as stack:
        digests = {path: stack.enter_context(digest_in_background(path)) for path in paths}
        if len(paths) == 1:
            [(path, statement)] = paths.items()
            archive = stack.enter_context(dwca.open_archive(path, max_expansion, "", statement))
            yield ArchiveSet((archive,), tuple(digests.values()))
            return
        contents = {path: digests[path].result() or digest_folder(path) for path in paths}
        opened = {
            label: stack.enter_context(dwca.open_archive(path, max_expansion, label, paths[path]))
            for path, label in label_archives(contents).items()
        }
        ordered = sort_archives(
            [
                DatedArchive(label, find_download_date(archive), contents[archive.path])
                for label, archive in opened.items()
            ]
        )
        archives = tuple(opened[archive.label] for archive in ordered)
        in_order = tuple(digests[archive.path] for archive in archives)
        yield ArchiveSet(archives, in_order, tuple(note_order(ordered)))


def digest_folder(folder: Path) -> str:
    """A digest of the names and contents of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n" for path in files)
    return sha256("".join(lines).encode()).hexdigest()


def label_archives(digests: dict[Path, str]) -> dict[Path, str]:
    """A distinct name of each archive: that of its file, followed by part of its digest if several have this name.

    Raises:
        ParameterError: two archives have the same digest.
    """
    by_digest: dict[str, Path] = {}
    for path, digest in sorted(digests.items()):
        if (first := by_digest.setdefault(digest, path)) != path:
            raise ParameterError.at("--dwca", f"{first} and {path} have the same content", "name one of them")
    names = Counter(path.name for path in digests)
    return {
        path: path.name if names[path.name] == 1 else f"{path.name}~{digest[:DIGEST_CHARACTERS]}"
        for path, digest in digests.items()
    }


def sort_archives(archives: Sequence[DatedArchive]) -> list[DatedArchive]:
    """The newest first, and of equal dates that with the smaller digest.

    An archive without a date is neither old nor new: it comes before the first archive with a larger digest.
    """
    by_digest = sorted(archives, key=lambda archive: archive.digest)
    ordered = sorted((archive for archive in by_digest if archive.date), key=lambda archive: archive.date, reverse=True)
    for archive in (archive for archive in by_digest if not archive.date):
        larger = (place for place, other in enumerate(ordered) if other.digest > archive.digest)
        ordered.insert(next(larger, len(ordered)), archive)
    return ordered


def note_order(ordered: Sequence[DatedArchive]) -> Iterator[str]:
    """A note if the dates do not decide the order of the archives."""
    undated = [archive.label for archive in ordered if not archive.date]
    if undated:
        yield (
            f"{join_words(undated)}: the metadata state no date, so it is not known which archive is newer; where "
            "several have the same occurrence, the first of these counts, by SHA-256: "
            f"{', '.join(archive.label for archive in ordered)}"
        )


def join_checklists(archives: Sequence[Archive], checklists: Sequence[Checklist]) -> tuple[Checklist, list[str]]:
    """The checklist that the taxon keys of all archives belong to, and notes if that is not certain.

    Raises:
        ArchiveError: they belong to different checklists.
    """
    pairs = [pair for pair in zip(archives, checklists, strict=True) if _has_taxon_keys(pair[0])]
    for (one, of_one), (other, of_other) in itertools.combinations(pairs, 2):
        if of_one.compare(of_other) is Relation.DIFFERENT:
            raise ArchiveError(
                f"{one.label} and {other.label}: their taxon keys belong to different checklists, {of_one} and "
                f"{of_other}, so that one key may mean two taxa; {ONE_TAXONOMY}"
            )
    distinct = {checklist for _, checklist in pairs} or set(checklists)
    if len(distinct) == 1:
        [checklist] = distinct
        unknown = [archive.label for archive, _ in pairs] if not checklist.key else []
        return checklist, _note_unknown(unknown) if len(unknown) > 1 else []
    unknown = [archive.label for archive, checklist in pairs if not checklist.key]
    if unknown:
        return Checklist(), _note_unknown(unknown)
    releases = ", ".join(f"{archive.label}: {checklist.release or 'unknown'}" for archive, checklist in pairs)
    [first, *_] = [checklist for _, checklist in pairs]
    note = f"the taxon keys are of different releases of one checklist ({releases}); a key may have changed its taxon"
    return replace(first, release=""), [note]


def _note_unknown(labels: Sequence[str]) -> list[str]:
    return [
        f"{join_words(labels)}: the checklist of the taxon keys is not known, so it cannot be checked that all "
        "archives have the same taxonomy"
    ]


def _has_taxon_keys(archive: Archive) -> bool:
    return any(column.name in TAXON_KEYS for column in archive.records.columns)
