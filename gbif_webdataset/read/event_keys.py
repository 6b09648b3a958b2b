"""How media of an archive of events name their occurrence or their event."""

from dataclasses import dataclass, replace

from gbif_webdataset.read.meta_xml import FileLayout

KEY = "#key"


@dataclass(frozen=True)
class EventKeys:
    """How media of an archive of events name an event.

    Attributes:
        medium: position in the media of the event's id.
        occurrence: positions in the occurrences of the values that name their event.
        event: positions in the events of the same values; empty if occurrences name an event by its id.
    """

    medium: int
    occurrence: tuple[int, ...]
    event: tuple[int, ...] = ()


def match_occurrences(
    core: FileLayout, occurrences: FileLayout, media: FileLayout
) -> tuple[FileLayout, FileLayout, EventKeys | None]:
    """The occurrences and media of an Event core with the columns that match them, and how media name an event.

    In GBIF's event downloads media have the id of their event, and occurrences an id of their own, beside eventID and
    datasetKey. In other archives they are matched by occurrenceID if both have it, otherwise by event.
    """
    if _find_index(occurrences, "gbifID") == occurrences.id_index:
        names = [name for name in ("eventID", "datasetKey") if _has_both(core, occurrences, name)]
        if "eventID" in names:
            of_occurrence, of_event = (
                tuple(index for name in names if (index := _find_index(layout, name)) is not None)
                for layout in (occurrences, core)
            )
            return occurrences, media, EventKeys(media.id_index, of_occurrence, of_event)
    of_occurrence_id, of_medium_id = _find_index(occurrences, "occurrenceID"), _find_index(media, "occurrenceID")
    if of_occurrence_id is None or of_medium_id is None:
        return occurrences, media, None
    keys = EventKeys(media.id_index, (occurrences.id_index,))
    return replace(occurrences, id_index=of_occurrence_id), replace(media, id_index=of_medium_id), keys


def _find_index(layout: FileLayout, name: str) -> int | None:
    column = layout.find_column(name)
    return column.index if column else None


def _has_both(one: FileLayout, other: FileLayout, name: str) -> bool:
    return _find_index(one, name) is not None and _find_index(other, name) is not None
