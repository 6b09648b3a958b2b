"""From a GBIF Darwin Core Archive to a WebDataset: the public tasks."""

import gc

from tasks import framework

COLLECTS_GARBAGE = gc.isenabled()
gc.disable()  # it takes a tenth of the time of the imports, and modules are no garbage

framework.install()

from tasks.audit import AuditDataset
from tasks.clean import CleanDataset
from tasks.compare import CompareDatasets
from tasks.crosswalk import MakeCrosswalk
from tasks.delete import DeleteImages
from tasks.fetch import FetchChunk, FetchImages
from tasks.plan import PlanFetch
from tasks.publish import PublishDataset
from tasks.read import ReadArchive
from tasks.report import ReportDataset
from tasks.shards import CreateWebDataset, PlanShards, ShardChunk
from tasks.split import SplitDataset
from tasks.verify import VerifyChunk, VerifyImages

if COLLECTS_GARBAGE:
    gc.enable()

__all__ = [
    "AuditDataset",
    "CleanDataset",
    "CompareDatasets",
    "CreateWebDataset",
    "DeleteImages",
    "FetchChunk",
    "FetchImages",
    "MakeCrosswalk",
    "PlanFetch",
    "PlanShards",
    "PublishDataset",
    "ReadArchive",
    "ReportDataset",
    "ShardChunk",
    "SplitDataset",
    "VerifyChunk",
    "VerifyImages",
]
