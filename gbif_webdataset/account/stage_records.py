"""The records of a dataset's stages."""

from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord

SHARD_PARTS = ("PlanShards", "ShardChunk")
"""Tasks that run only on Slurm. They write parts of the shards, with the parameters of CreateWebDataset."""
CHUNK_TASKS = ("FetchChunk", "VerifyChunk", "ShardChunk")
TASKS = (
    "ReadArchive", "FetchChunk", "VerifyChunk", "VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset",
    *SHARD_PARTS, "CreateWebDataset",
)  # fmt: skip
"""All tasks with a record, in the order in which they run."""


def load_stage_records(paths: DatasetPaths, chunks: int) -> dict[str, TargetRecord]:
    """The records that exist, in the order of the stages; by label, such as FetchChunk-00003."""
    labels = (
        label
        for task in TASKS
        for label in ([f"{task}-{chunk:05d}" for chunk in range(chunks)] if task in CHUNK_TASKS else [task])
    )
    records = ((label, TargetRecord.load(paths.record(label))) for label in labels)
    return {label: record for label, record in records if record is not None}


def is_of_shard_part(label: str) -> bool:
    """Whether a label is that of a task that writes a part of the shards."""
    return label.partition("-")[0] in SHARD_PARTS
