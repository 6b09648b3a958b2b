"""The files and folders of a dataset, which docs/outputs.md lists."""

from typing import NamedTuple

from gbif_webdataset.terms import columns
from gbif_webdataset.terms.columns import Column


class Output(NamedTuple):
    """A file or folder below `output`, the task that writes it, and its columns if it is a table."""

    path: str
    task: str
    meaning: str
    columns: tuple[Column, ...] = ()
    follows: str = ""
    """What its other columns are, if `columns` does not list all of them."""


OUTPUTS = (
    Output(
        "archive/<key>.zip", "FetchArchive", "The archive, if `--dwca` names no file; `.part` while it is transferred."
    ),
    Output(
        "archive/<key>.json",
        "FetchArchive",
        "Request, status, size, SHA-256, DOI, licence, checklistKey and time of the archive.",
    ),
    Output(
        "archive/<key>.request.json",
        "FetchArchive",
        "The request of a download whose file GBIF does not have any more; `make request SEND=1` submits it again.",
    ),
    Output(
        "inputs/<address>/",
        "SplitDataset, CreateWebDataset",
        "Copies of previous_splits and previous_category_map, if they are addresses such as s3://bucket/splits; beside "
        "it `<address>.json` with size, ETag and SHA-256 of each file.",
    ),
    Output(
        "manifest/chunk-NNNNN.parquet",
        "ReadArchive",
        "The images to fetch, one row each.",
        (*columns.MANIFEST, columns.ARCHIVE),
    ),
    Output(
        "manifest/rejected.parquet",
        "ReadArchive",
        "The lines and media of the archive that are not images to fetch, each with its reason.",
        columns.REJECTED,
    ),
    Output(
        "manifest/subset.csv",
        "ReadArchive",
        "What each key or name of subset_list matched; only with subset_list.",
        columns.SUBSET,
    ),
    Output(
        "manifest/subset_occurrences.parquet",
        "ReadArchive",
        "The entry of subset_list that each occurrence with media counts for; only with subset_list.",
        (*columns.SUBSET_OCCURRENCES, columns.IMAGE_STEM),
    ),
    Output(
        "manifest/source.json",
        "ReadArchive",
        "DOI, download key, title and SHA-256 of the archive; a list of them if there are several archives.",
    ),
    Output(
        "manifest/citations.txt",
        "ReadArchive",
        "A copy of the archive's file, if it has one; several one after another.",
    ),
    Output(
        "manifest/rights.txt", "ReadArchive", "A copy of the archive's file, if it has one; several one after another."
    ),
    Output(
        "images/<datasetKey>/<coreid>[_<n>].jpg",
        "FetchChunk",
        "The bytes as the host sent them. ReportDataset removes them, or the packs below, if keep_images is false.",
    ),
    Output(
        "images/chunk-NNNNN/NNN.tar",
        "FetchChunk",
        "A pack: a tar of these images, in the order in which they arrived; only with --store packed, instead of "
        "files. A member `__deleted__` has the size of an image that was deleted, and no byte of it.",
    ),
    Output(
        "images/chunk-NNNNN.idx",
        "FetchChunk",
        "The index of a chunk's packs; only with --store packed. A line for each image that was added or removed, with "
        "tabs between `image_path`, number of the pack, offset and size in bytes, SHA-256, `added` or `removed`, and "
        "the CRC-32 of the line before its last tab.",
    ),
    Output(
        "fetched/chunk-NNNNN.parquet",
        "FetchChunk",
        "The ledger: what became of each image.",
        columns.LEDGER,
        "All columns of the manifest come first.",
    ),
    Output(
        "fetched/chunk-NNNNN.journal", "FetchChunk", "Outcomes of a chunk that is being fetched, one JSON line each."
    ),
    Output(
        "fetched/chunk-NNNNN.attempts",
        "FetchChunk",
        "The last attempt of each image that a later run may retry, one JSON line each: `image_path`, URL, seconds "
        "since 1970, number of runs that failed in the same way, max_seconds_per_image.",
    ),
    Output(
        "fetched/earlier/",
        "ReadArchive",
        "Ledgers of an earlier manifest, so that its images are not downloaded again.",
    ),
    Output(
        "verified/chunk-NNNNN.parquet",
        "VerifyChunk",
        "Properties and validity of each downloaded image.",
        columns.VERIFIED,
        "All columns of the ledger come first; `error` and `sha256` are replaced by those below.",
    ),
    Output(
        "verified.parquet",
        "VerifyImages",
        "The rows of all chunks in verified/.",
        follows="The columns are those of `verified/chunk-NNNNN.parquet`.",
    ),
    Output("errors.csv", "VerifyImages", "The images to delete, because their files are damaged.", columns.ERRORS),
    Output("deleted.csv", "DeleteImages", "The images that were deleted, when and why.", columns.DELETED),
    Output(
        "would-delete.csv",
        "DeleteImages",
        "The images that would be deleted; only with dry_run, instead of deleted.csv.",
        follows="The columns are those of `deleted.csv`.",
    ),
    Output(
        "unmatched-images.csv",
        "DeleteImages",
        "The paths on `image_list` that are no images of the dataset; only if there are any.",
        columns.UNMATCHED,
    ),
    Output(
        "clean.parquet",
        "CleanDataset",
        "The images that pass every filter.",
        follows="The columns are those of `verified.parquet`.",
    ),
    Output(
        "clean-dropped.parquet",
        "CleanDataset",
        "The images that are not in clean.parquet, each with the first reason that applies.",
        columns.DROPPED,
    ),
    Output(
        "duplicates.parquet", "CleanDataset", "Groups of images that are equal or nearly equal.", columns.DUPLICATES
    ),
    Output(
        "splits/train.csv, val.csv, test.csv, holdout.csv",
        "SplitDataset",
        "The images of each split; holdout.csv only with holdout_key.",
        follows="The columns are those of `clean.parquet`, and `label` with roll_up.",
    ),
    Output(
        "splits/dropped.csv",
        "SplitDataset",
        "The images without a split.",
        follows="The columns are those of `clean-dropped.parquet`.",
    ),
    Output("splits/balance.csv", "SplitDataset", "The number of images of each class in each split.", columns.BALANCE),
    Output(
        "splits/leakage.csv",
        "SplitDataset",
        "How many images of val and test share an occurrence, observer or other trait with train.",
        columns.LEAKAGE,
    ),
    Output(
        "splits/method.json",
        "SplitDataset",
        "The parameters that decided the split of each image; whether the images keep the splits of an older version.",
    ),
    Output(
        "shards/<split>/<split>-NNNNNN.tar",
        "CreateWebDataset",
        "WebDataset samples: `<key>.jpg` (or .webp, or the format of the file: see image_format), `<key>.cls` (the "
        "class's number), `<key>.json` with columns_to_json or hierarchy_to_json, and `<key>.txt`, the caption, with "
        "caption_template. With `to` at that address, as `<split>/<split>-NNNNNN.tar`, and not in this folder.",
    ),
    Output(
        "shards/<split>/<split>-NNNNNN.idx",
        "CreateWebDataset",
        "The shard's index for NVIDIA DALI; with `to` also at that address.",
    ),
    Output(
        ".store.json",
        "CreateWebDataset",
        "Only with `to`: the address, the path of this folder, and an id, which `shards.json` at the address has as "
        "well. Shards there are deleted or replaced only if the ids are equal.",
    ),
    Output(
        "shards/<split>/<split>-NNNNNN.tar.idx",
        "CreateWebDataset",
        "The shard's index for Megatron Energon: where each sample starts, and where the last one ends, as 64-bit "
        "numbers. ReportDataset adds it to shards of older versions, as it does the files for loaders below.",
    ),
    Output(
        "shards/shards.csv",
        "CreateWebDataset",
        "The shards, with the number of samples, the bytes and SHA-256 of each.",
        columns.SHARDS,
    ),
    Output("shards/classes.csv", "CreateWebDataset", "Samples of each class in each split.", columns.CLASSES),
    Output("shards/category_map.json", "CreateWebDataset", "Maps each label to its class number."),
    Output(
        "shards/categories.json",
        "CreateWebDataset",
        "Label, name and rank of each class, the column with the labels, and the checklist of their keys. `classes` is "
        "the number of classes, those without a label included.",
    ),
    Output(
        "shards/class_changes.csv",
        "CreateWebDataset",
        "What became of each class of previous_category_map; only with crosswalk.",
        columns.CLASS_CHANGES,
    ),
    Output("shards/label_names.json", "CreateWebDataset", "Maps each label to its name, if labels have names."),
    Output(
        "shards/class_weights.json",
        "CreateWebDataset",
        "Weights of the classes by method, for training: one for each class number from 0. `classes` has the numbers, "
        "`samples` their samples in train. Mean 1; 0 for a number without a label or without samples in train.",
    ),
    Output("shards/_info.json", "CreateWebDataset", "For timm: the shards and samples of each split."),
    Output(
        "shards/.nv-meta/.info.json, split.yaml, dataset.yaml",
        "CreateWebDataset",
        "For Megatron Energon: the samples of each shard, the shards of each split, and the members of a sample.",
    ),
    Output(
        "shards/dropped.csv",
        "CreateWebDataset",
        "Images of a split that did not become a sample.",
        follows="The columns are those of `clean-dropped.parquet`.",
    ),
    Output("accounting.csv", "ReportDataset", "Accounts for every image of the archive.", columns.ACCOUNTING),
    Output("report/index.html", "ReportDataset", "The report page, one file that works offline."),
    Output(
        "report/figures/*.svg, *.png",
        "ReportDataset",
        "Each plot with title, axes and legend, for a paper: as SVG, and as PNG with 300 pixels per inch.",
    ),
    Output(
        "report/README.md",
        "ReportDataset",
        "The dataset card: contents, licences, limitations, code and citation; also in `shards/`.",
    ),
    Output("report/CITATION.cff", "ReportDataset", "How to cite the dataset; also in `shards/`."),
    Output(
        "report/croissant.json",
        "ReportDataset",
        "Croissant metadata; their date is the day of the last download; also in `shards/`.",
    ),
    Output(
        "report/attribution.parquet",
        "ReportDataset",
        "Licence, rights holder and creator of each sample; also in `shards/`.",
        columns.ATTRIBUTION_OF_SEVERAL,
    ),
    Output("report/citations.txt", "ReportDataset", "A copy of the archive's file, if it has one; also in `shards/`."),
    Output("report/rights.txt", "ReportDataset", "A copy of the archive's file, if it has one; also in `shards/`."),
    Output(
        "report/derived_dataset.csv",
        "ReportDataset",
        "Number of occurrences from each GBIF dataset, without a header, as GBIF's form requires; also in `shards/`.",
    ),
    Output(
        "report/subset.csv",
        "ReportDataset",
        "The images of each entry of subset_list at each stage; only with subset_list.",
        columns.SUBSET_STAGES,
    ),
    Output("report/costs.csv", "ReportDataset", "Time and memory of each stage.", columns.COSTS),
    Output("report/comparison.html", "CompareDatasets", "How this dataset differs from an older one."),
    Output(
        "report/comparison.csv",
        "CompareDatasets",
        "The images that differ between the two datasets, one row each.",
        columns.COMPARISON,
    ),
    Output("audit.csv", "AuditDataset", "The files that differ from their records, one row each.", columns.AUDIT),
    Output(
        "publish/<target>.json",
        "PublishDataset",
        "What was published to a target: address, version, and for each object its path in the dataset, bytes, SHA-256 "
        "and the time of its upload (UTC). It has no credentials.",
    ),
    Output(
        "publish/<target>.journal",
        "PublishDataset",
        "The objects that are at a target while they are uploaded, one JSON line each; deleted at the end.",
    ),
    Output(
        "publish/<target>/CHANGES.csv",
        "PublishDataset",
        "What the last version changed in the one before it, by shard. In a first version all samples are added.",
        columns.CHANGES,
    ),
    Output(
        "crosswalk.csv",
        "MakeCrosswalk",
        "What became of each taxon in a newer taxonomy. It is written to the folder where the command runs.",
        columns.CROSSWALK,
    ),
    Output(
        ".made/<task>.json",
        "every task",
        "The record of a target: parameters, digests of its inputs, size and SHA-256 of its files, counts, and a "
        "checksum of all these.",
    ),
    Output(".made/audit.progress", "AuditDataset", "What an audit has found so far; deleted when it ends."),
    Output(
        ".made/run-*.lock",
        "every run",
        "The host and process of a run that is changing the dataset; `killed-run-*.lock` of one that was killed, until "
        "its temporary files are deleted.",
    ),
    Output(
        "logs/",
        "make slurm",
        "A log for each element of a Slurm job, such as `fetch-3.log` (`fetch-3-of-40.log` if chunks are combined to "
        "40 elements), or for each chunk (`--runner slurm`), with its last three attempts.",
    ),
    Output("logs/job.json", "make slurm", "The options and the numbers of the Slurm jobs, without passwords."),
    Output(".scratch/", "every task", "Temporary files; may be deleted when nothing runs."),
)
