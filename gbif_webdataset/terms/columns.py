"""The columns of every table, each with its type, its unit and its meaning. docs/outputs.md is generated from here."""

from typing import NamedTuple

from gbif_webdataset.terms.ranks import KEY_COLUMNS, MAIN_NAME_COLUMNS

TEXT, INT32, INT64, REAL, TRUTH = "text", "int32", "int64", "number", "true or false"


class Column(NamedTuple):
    """A column of a table; in CSV files every value is text, and an empty field means that there is no value."""

    name: str
    type: str
    meaning: str


COREID = Column("coreid", TEXT, "id of the core's record (GBIF: gbifID)")
IDENTIFIER = Column("identifier", TEXT, "the image's URL; obvious errors of the archive are repaired")
IMAGE_PATH = Column("image_path", TEXT, "the image's path below `images/`")
SHA256 = Column("sha256", TEXT, "SHA-256 of the bytes, in hexadecimal")

DARWIN_CORE = (
    "datasetKey", "occurrenceID", "basisOfRecord", "institutionCode", "catalogNumber", "recordedBy", "sex", "lifeStage",
    "eventID", "eventDate", "year", "month", "day", "countryCode", "stateProvince", "decimalLatitude",
    "decimalLongitude", "coordinateUncertaintyInMeters", "scientificName", "acceptedScientificName", "vernacularName",
    "taxonRank", *reversed(MAIN_NAME_COLUMNS), "taxonKey", "acceptedTaxonKey", *reversed(KEY_COLUMNS), "checklistKey",
    "license", "rightsHolder", "publisher",
)  # fmt: skip
"""Darwin Core terms of the record that the manifest carries if the archive has them, all of them text."""

MANIFEST = (
    COREID,
    IDENTIFIER,
    IMAGE_PATH,
    *(Column(name, TEXT, "Darwin Core term of the record") for name in DARWIN_CORE),
    Column("mediaType", TEXT, "the medium's `type`"),
    Column("mediaFormat", TEXT, "the medium's `format`, a media type such as image/jpeg"),
    Column("mediaReferences", TEXT, "web page of the medium"),
    Column("mediaCreator", TEXT, "the medium's `creator`"),
    Column("mediaPublisher", TEXT, "the medium's `publisher`"),
    Column("mediaRightsHolder", TEXT, "the medium's `rightsHolder`"),
    Column("mediaLicense", TEXT, "the medium's licence, as the archive states it; of several terms, the strictest"),
    Column("licenseCode", TEXT, "the medium's licence as a code, such as `cc-by-nc`, or `unknown`"),
)
"""Columns of `manifest/chunk-NNNNN.parquet`. Columns that parameters name follow the Darwin Core terms."""
ARCHIVE = Column("archive", TEXT, "name of the archive that lists the image; only if there are several archives")
"""The last column of the manifest of several archives."""

REJECTED = (
    Column("file", TEXT, "the archive's file; of several archives, after the name of the archive and a slash"),
    Column("line", INT64, "line number in the file, counted from 1"),
    Column("reason", TEXT, "why the line is not an image to fetch"),
    COREID,
    IDENTIFIER,
    Column("raw", TEXT, "the line itself; bytes that are not text are written as U+FFFD"),
)
"""Columns of `manifest/rejected.parquet`."""

SUBSET = (
    Column("entry", INT64, "number of the entry in subset_list, from 1; the keys and names of a text file are sorted"),
    Column("requested", TEXT, "the name or key that the entry requests"),
    Column("matched", TEXT, "the column of the archive that has it; empty if no record with media has it"),
    Column("key", TEXT, "key of the taxon; several taxa of an entry have a row each"),
    Column("name", TEXT, "name of the taxon"),
    Column("kingdom", TEXT, "kingdom of the taxon"),
    Column("occurrences", INT64, "records of the archive that have media; each counts for its most specific entry"),
    Column("images", INT64, "images of the manifest; the sum of all rows is the manifest"),
    Column("note", TEXT, "why there is no image or several taxa matched, or close names"),
)
"""Columns of `manifest/subset.csv`."""
SUBSET_OCCURRENCES = (
    COREID,
    Column("entry", INT64, "number of the entry in subset.csv"),
    Column("key", TEXT, "key of the taxon in subset.csv"),
    Column("kingdom", TEXT, "its kingdom, if it has no key"),
)
"""Columns of `manifest/subset_occurrences.parquet`."""
IMAGE_STEM = Column(
    "image_stem", TEXT, "`image_path` of its images without `_<n>.jpg`; only if there are several archives"
)
"""Its last column if there are several archives, which may have one coreid for several occurrences."""
SUBSET_STAGES = (
    *SUBSET[:-1],
    Column("fetched", INT64, "images that were downloaded"),
    Column("verified", INT64, "images that can be used"),
    Column("clean", INT64, "images that pass every filter"),
    Column("split", INT64, "images in a split"),
    Column("samples", INT64, "images in the shards"),
    SUBSET[-1],
)
"""Columns of `report/subset.csv`."""

LEDGER = (
    Column("status", TEXT, "`fetched`, `cached` or `failed`"),
    Column("error", TEXT, "why the image was not downloaded; empty if it was"),
    Column("http_status", INT32, "HTTP status of the last answer"),
    Column("attempts", INT32, "number of requests"),
    Column("bytes", INT64, "size of the image in bytes"),
    SHA256,
    Column("content_type", TEXT, "the answer's Content-Type"),
    Column("final_url", TEXT, "URL after redirects"),
    Column("fetched_at", TEXT, "time of the last attempt, UTC, ISO 8601"),
    Column("requested_url", TEXT, "URL that was requested; differs from `identifier` if `inaturalist_size` is set"),
)
"""Columns of `fetched/chunk-NNNNN.parquet`, after those of the manifest."""

VERIFIED = (
    Column("valid", TRUTH, "whether the image can be used"),
    Column("error", TEXT, "why the image cannot be used; empty if it can"),
    Column("warning", TEXT, "an irregularity that does not damage the picture; usually empty"),
    Column("format", TEXT, "format found in the bytes, such as JPEG"),
    Column("mode", TEXT, "Pillow's mode, such as RGB"),
    Column("width", INT32, "width in pixels, as viewers show the image"),
    Column("height", INT32, "height in pixels, as viewers show the image"),
    Column("stored_width", INT32, "width in pixels before the EXIF orientation is applied"),
    Column("stored_height", INT32, "height in pixels before the EXIF orientation is applied"),
    Column("flat", TRUTH, "whether the image has one shade all over"),
    Column("perceptual_hash", TEXT, "64-bit perceptual hash, in hexadecimal"),
    Column("file_size", INT64, "size of the file in bytes"),
    SHA256,
    Column("fetch_date", TEXT, "`fetched_at` of the ledger"),
)
"""Columns of `verified/chunk-NNNNN.parquet` and `verified.parquet`, after those of the ledger."""

DROPPED = (
    Column("stage", TEXT, "the stage that dropped the image"),
    Column("reason", TEXT, "why the image was dropped"),
    IMAGE_PATH,
    IDENTIFIER,
    COREID,
)
"""Columns of `clean-dropped.parquet`, `splits/dropped.csv` and `shards/dropped.csv`."""

ERRORS = (IMAGE_PATH, Column("error", TEXT, "the damage of the file"), IDENTIFIER)
"""Columns of `errors.csv`."""

DELETED = (
    IMAGE_PATH,
    IDENTIFIER,
    SHA256,
    Column("reason", TEXT, "the image's error, the `error` or `reason` of image_list, or `listed` if it states none"),
    Column("deleted_at", TEXT, "time of the deletion, UTC, ISO 8601; empty in would-delete.csv"),
    Column("version", TEXT, "version of this program that deleted the image; empty before 0.5"),
)
"""Columns of `deleted.csv` and `would-delete.csv`."""

UNMATCHED = (Column("image_path", TEXT, "the path on the list"),)
"""Columns of `unmatched-images.csv`."""

DUPLICATES = (
    Column("kind", TEXT, "`exact` (the same bytes) or `near` (perceptual hashes differ in at most near_distance bits)"),
    Column("group", TEXT, "the smallest image_path of the group"),
    IMAGE_PATH,
    IDENTIFIER,
    COREID,
    Column("label", TEXT, "value of CleanDataset's category_key"),
    Column("distance", INT32, "bits by which the hash differs from that of the group's first image"),
    Column("kept", TRUTH, "whether the image is in clean.parquet"),
)
"""Columns of `duplicates.parquet`."""

BALANCE = (
    Column("label", TEXT, "the class's label"),
    Column("name", TEXT, "the class's scientific name, if the archive has it"),
    Column("images", INT64, "images of the class"),
    Column("train", INT64, "images in train"),
    Column("val", INT64, "images in val"),
    Column("test", INT64, "images in test"),
    Column("val_off", REAL, "images in val minus the requested number"),
    Column("test_off", REAL, "images in test minus the requested number"),
)
"""Columns of `splits/balance.csv`."""

LEAKAGE = (
    Column("split", TEXT, "`val` or `test`"),
    Column("shares", TEXT, "what is compared with train: occurrence, observer, place+date, event, content, ..."),
    Column("images", INT64, "images of the split"),
    Column("known", INT64, "images of the split for which the archive states a value to compare"),
    Column("shared", INT64, "images that share it with an image of train; empty if the split or train has no values"),
    Column("share", REAL, "`shared` divided by `known`; empty if there are no values to compare"),
    Column("group_by", TEXT, "value of SplitDataset's group_by with which none would share it; empty if few do"),
    Column("images_with_group_by", INT64, "images that the split would have with that group_by"),
)
"""Columns of `splits/leakage.csv`."""

SHARDS = (
    Column("split", TEXT, "the split"),
    Column("shard", TEXT, "the shard's path below `shards/`"),
    Column("samples", INT64, "number of samples"),
    Column("bytes", INT64, "size of the tar in bytes"),
    SHA256,
)
"""Columns of `shards/shards.csv`."""

CLASSES = (
    Column("split", TEXT, "the split"),
    Column("label", TEXT, "the class's label: a value of label_column"),
    Column("class", INT64, "the class's number, as in `.cls`"),
    Column("samples", INT64, "samples of the class in the split"),
    Column("name", TEXT, "the class's name: of label_name, or else its scientific name; missing if there is none"),
    Column("rank", TEXT, "rank of the class's taxon, such as species; empty if it is not known"),
    Column("label_column", TEXT, "the column with the labels"),
    Column("checklist", TEXT, "key of the checklist that the labels belong to; empty if it is not known"),
    Column("checklist_release", TEXT, "release of the checklist, or the date of the download"),
)
"""Columns of `shards/classes.csv`."""

CLASS_CHANGES = (
    Column("class", INT64, "the class's number; without a new label, the number that stays empty"),
    Column("old_label", TEXT, "label in the previous category map; empty for a new class"),
    Column("new_label", TEXT, "label in this dataset; empty if the class is gone or not decided"),
    Column("old_name", TEXT, "name of the taxon in the older taxonomy"),
    Column("new_name", TEXT, "name of the taxon in the newer taxonomy"),
    Column("kind", TEXT, "what became of the class, as in `crosswalk.csv`; empty if the crosswalk does not list it"),
)
"""Columns of `shards/class_changes.csv`."""

ACCOUNTING = (
    Column("stage", TEXT, "`archive`, the stage at which images left, or `sample`"),
    Column("reason", TEXT, "`media-lines`, why the images left, or the split of the samples"),
    Column("images", INT64, "number of images"),
)
"""Columns of `accounting.csv`: the first line is the sum of the others."""

COSTS = (
    Column("stage", TEXT, "the task"),
    Column("part", TEXT, "the chunk, if the task has chunks"),
    Column("seconds", REAL, "wall-clock time in seconds"),
    Column("peak_bytes", INT64, "peak memory of the largest process, in bytes"),
    Column("source", TEXT, "`own record`, or `Slurm` for Slurm's accounting"),
)
"""Columns of `report/costs.csv`."""

ATTRIBUTION = (
    Column("split", TEXT, "the sample's split"),
    Column("key", TEXT, "the sample's key in its shard"),
    Column("label", TEXT, "the sample's label"),
    IMAGE_PATH,
    IDENTIFIER,
    COREID,
    Column("datasetKey", TEXT, "GBIF's key of the dataset that published the record"),
    Column("licenseCode", TEXT, "the image's licence as a code"),
    Column("license", TEXT, "the image's licence, as the archive states it"),
    Column("rightsHolder", TEXT, "who holds the rights to the image"),
    Column("creator", TEXT, "who made the image"),
    Column("publisher", TEXT, "who published the image"),
    Column("references", TEXT, "web page of the image"),
)
"""Columns of `attribution.parquet`, a row for each sample."""
ARCHIVE_DOI = Column("archiveDOI", TEXT, "DOI of this archive, if it is known; only if there are several archives")
ATTRIBUTION_OF_SEVERAL = (*ATTRIBUTION, ARCHIVE, ARCHIVE_DOI)
"""The same columns if there are several archives."""

COMPARISON = (
    Column(
        "change",
        TEXT,
        "`added`, `dropped`, `label`, `split` or `label-and-split`; `taxonomy` and `taxonomy-and-split` are "
        "changes of labels that the crosswalk explains",
    ),
    COREID,
    IDENTIFIER,
    IMAGE_PATH,
    Column("old_split", TEXT, "split in the older dataset"),
    Column("new_split", TEXT, "split in the newer dataset"),
    Column("old_label", TEXT, "label in the older dataset"),
    Column("new_label", TEXT, "label in the newer dataset"),
    Column("stage", TEXT, "the stage at which the image left the dataset that lacks it"),
    Column("reason", TEXT, "why it left"),
)
"""Columns of `report/comparison.csv`."""

CHANGES = (
    Column("shard", TEXT, "name of the shard at the target; removed samples count for the shard that had them"),
    Column("added", INT64, "samples that the published version does not have in this split"),
    Column("removed", INT64, "samples that only the published version has in this split"),
    Column("relabelled", INT64, "samples that have another label in the published version"),
)
"""Columns of `CHANGES.csv`: a row for each shard that changed."""

AUDIT = (
    Column("file", TEXT, "the file's path below `output`, or the address of a shard that is not on the disk"),
    Column("kind", TEXT, "what is wrong with it"),
    Column("record", TEXT, "the task whose record or ledger names the file; empty if none does"),
    Column("detail", TEXT, "sizes, or the error of reading the file"),
)
"""Columns of `audit.csv`."""

CROSSWALK = (
    Column("rank", TEXT, "rank of the older taxon, such as species; of a new taxon its own"),
    Column("old_key", TEXT, "key of the taxon in the older taxonomy; empty for a new taxon"),
    Column("old_name", TEXT, "name of the taxon in the older taxonomy"),
    Column("new_key", TEXT, "key of the taxon in the newer taxonomy; empty if it is gone"),
    Column("new_name", TEXT, "name of the taxon in the newer taxonomy"),
    Column("kind", TEXT, "what became of the older taxon"),
    Column("evidence", TEXT, "what shows it; empty for taxa that are new or gone"),
    Column("shared_occurrences", INT64, "occurrences with both keys that are in both datasets"),
    Column("share", REAL, "`shared_occurrences` divided by all occurrences of the old key that are in both datasets"),
)
"""Columns of `crosswalk.csv`."""
