"""Why an archive line or an image is left out: the column `reason`. Failures and defects are in `terms.outcomes`."""

from gbif_webdataset.terms.codes import Code
from gbif_webdataset.terms.outcomes import DecoderWarning, Defect, FetchFailure


class LineFault(Code):
    """Why a line of an archive's file is not a row."""

    RAGGED_LINE = "ragged-line", "the line has too few or too many fields"
    BLANK_LINE = "blank-line", "the line is empty"
    INVALID_TEXT = "invalid-text", "the line is not in the encoding that the archive declares"
    NO_ID = "no-id", "the line has no record id"
    DUPLICATE_ID = "duplicate-id", "an earlier line has the same record id"


class MediumReason(Code):
    """Why a medium of the archive is not an image to fetch."""

    ORPHANED = "orphaned", "the occurrence of the medium is not in the archive"
    SEVERAL_OCCURRENCES = "several-occurrences", "the event has several occurrences, and the medium names none of them"
    IN_ANOTHER_ARCHIVE = "in-another-archive", "another archive has the same occurrence, or the same URL for it"
    NO_URL = "no-url", "the medium has no URL"
    NOT_HTTP = "not-http", "the URL is neither http nor https"
    NOT_STILL_IMAGE = "not-still-image", "the medium is sound, video or a web page, not a still image"
    DUPLICATE_MEDIUM = "duplicate-medium", "the occurrence lists the same URL twice"
    NOT_IN_SUBSET = "not-in-subset", "the occurrence is not in subset_list"
    NOT_WHERE = "not-where", "the occurrence does not meet the condition of the parameter where"
    NOT_MEDIA_WHERE = "not-media-where", "the medium does not meet the condition of the parameter media_where"
    UNUSABLE_LICENCE = "unusable-licence", "the licence is not in the parameter licenses"
    OVER_CAP = "over-cap", "the category already has num_images_per_category images"


class DropReason(Code):
    """Why an image that was fetched and verified is not a sample."""

    DELETED = "deleted", "the image was deleted because image_list lists it"
    DUPLICATE_URL = "duplicate-url", "another occurrence has the same URL"
    CONFLICTING_LABELS = "conflicting-labels", "other images with the same bytes have another label"
    DUPLICATE_CONTENT = "duplicate-content", "another image has the same bytes"
    NEAR_CONFLICTING_LABELS = "near-conflicting-labels", "a nearly identical image has another label"
    NEAR_DUPLICATE = "near-duplicate", "another image is nearly identical"
    FLAT = "flat", "the image has one shade all over, such as a placeholder"
    IGNORED_DATASET = "ignored-dataset", "the dataset of the image is in ignore_dataset_by_key"
    THUMBNAIL = "thumbnail", "the shorter side of the image is below thumb_size"
    NOT_ADULT = "not-adult", "the life stage is not adult"
    LIFE_STAGE_UNKNOWN = "life-stage-unknown", "the life stage is not known"
    NO_LABEL = "no-label", "the image has no label"
    OVER_MAX_INSTANCES = "over-max-instances", "the class already has max_instances images"
    UNDER_MIN_INSTANCES = "under-min-instances", "the class has fewer than min_instances images"


MEANINGS: dict[str, str] = {
    code: code.meaning
    for codes in (LineFault, MediumReason, FetchFailure, Defect, DecoderWarning, DropReason)
    for code in codes
}
"""The meaning of every reason in accounting.csv, rejected.parquet, dropped.csv and the page."""


def explain_reason(reason: str) -> str:
    """The meaning of a reason, also of a fetch failure `http-<status>`; empty for other texts."""
    status = reason.removeprefix("http-")
    if status != reason:
        return f"HTTP {status}: the host did not send the image"
    return MEANINGS.get(reason, "")
