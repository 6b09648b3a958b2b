"""The path of every file and folder of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.slurm.jobs import LOGS
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.target_record import record_path


@dataclass(frozen=True)
class DatasetPaths:
    """Every path under the output folder, and the folder for temporary files."""

    output: Path
    scratch: Path

    @classmethod
    def under(cls, output: Path, scratch: str = "") -> Self:
        """Return the paths of the dataset in `output`; temporary files are in <output>/.scratch by default."""
        return cls(output, Path(scratch) if scratch else output / ".scratch")

    @property
    def archive(self) -> Path:
        """The folder of the archives that were downloaded."""
        return self.output / "archive"

    @property
    def inputs(self) -> Path:
        """The folder with copies of inputs at addresses of buckets, repositories and folders."""
        return self.output / "inputs"

    @property
    def manifest(self) -> Path:
        """The folder of ReadArchive's tables."""
        return self.output / "manifest"

    @property
    def rejected(self) -> Path:
        """The lines and media of the archive that are not in the manifest, with the reason."""
        return self.manifest / "rejected.parquet"

    @property
    def subset(self) -> Path:
        """What each entry of the user's list of taxa matched."""
        return self.manifest / "subset.csv"

    @property
    def subset_occurrences(self) -> Path:
        """The entry of each occurrence."""
        return self.manifest / "subset_occurrences.parquet"

    @property
    def images(self) -> Path:
        """The folder of the downloaded images."""
        return self.output / "images"

    @property
    def fetched(self) -> Path:
        """The folder of the ledgers."""
        return self.output / "fetched"

    @property
    def verified(self) -> Path:
        """The properties of all images."""
        return self.output / "verified.parquet"

    @property
    def errors(self) -> Path:
        """The corrupt images."""
        return self.output / "errors.csv"

    @property
    def deleted(self) -> Path:
        """The deleted images."""
        return self.output / "deleted.csv"

    @property
    def would_delete(self) -> Path:
        """The images that a run without dry_run would delete."""
        return self.output / "would-delete.csv"

    @property
    def unmatched_images(self) -> Path:
        """The paths on image_list that are no images of the dataset."""
        return self.output / "unmatched-images.csv"

    @property
    def clean(self) -> Path:
        """The images that passed all filters."""
        return self.output / "clean.parquet"

    @property
    def clean_dropped(self) -> Path:
        """The images that a filter dropped, with the reason."""
        return self.output / "clean-dropped.parquet"

    @property
    def duplicates(self) -> Path:
        """The groups of duplicate images."""
        return self.output / "duplicates.parquet"

    @property
    def splits(self) -> Path:
        """The folder of the splits' tables."""
        return self.output / "splits"

    @property
    def split_dropped(self) -> Path:
        """The images that are in no split, with the reason."""
        return self.splits / "dropped.csv"

    @property
    def balance(self) -> Path:
        """How far each class is from the requested fractions."""
        return self.splits / "balance.csv"

    @property
    def leakage(self) -> Path:
        """The images of val and test that share a trait with train."""
        return self.splits / "leakage.csv"

    @property
    def shards(self) -> Path:
        """The folder of the shards."""
        return self.output / "shards"

    @property
    def shard_list(self) -> Path:
        """Each shard's samples, bytes and SHA-256."""
        return self.shards / "shards.csv"

    @property
    def classes(self) -> Path:
        """The samples of each class in each split."""
        return self.shards / "classes.csv"

    @property
    def shards_dropped(self) -> Path:
        """The images of the splits that are in no shard, with the reason."""
        return self.shards / "dropped.csv"

    @property
    def accounting(self) -> Path:
        """What happened to every image of the archive."""
        return self.output / "accounting.csv"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.output / "report"

    @property
    def report_page(self) -> Path:
        """The report page."""
        return self.report / "index.html"

    @property
    def subset_stages(self) -> Path:
        """The images of each entry of the user's list at each stage."""
        return self.report / "subset.csv"

    @property
    def costs(self) -> Path:
        """The seconds and memory of each stage."""
        return self.report / "costs.csv"

    @property
    def comparison_page(self) -> Path:
        """The page of the differences from an older dataset."""
        return self.report / "comparison.html"

    @property
    def comparison_table(self) -> Path:
        """The images that differ from those of an older dataset."""
        return self.report / "comparison.csv"

    @property
    def audit_table(self) -> Path:
        """The files that differ from their records."""
        return self.output / "audit.csv"

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.record("").parent

    def publish_record(self, target: str) -> Path:
        """Return the path of the record of what was published to a target, by the target's name."""
        return self.output / "publish" / f"{target}.json"

    def publish_journal(self, target: str) -> Path:
        """Return the path of the list of objects that are at a target, while they are uploaded."""
        return self.output / "publish" / f"{target}.journal"

    def publish_changes(self, target: str) -> Path:
        """Return the path of the table of what a version changed at a target."""
        return self.output / "publish" / target / "CHANGES.csv"

    @property
    def audit_progress(self) -> Path:
        """What an audit has found so far."""
        return self.records / "audit.progress"

    @property
    def logs(self) -> Path:
        """The folder of the Slurm jobs' logs."""
        return self.output / LOGS

    def chunk(self, stage: str, chunk: int) -> Path:
        """Return the path of a chunk's table in `manifest`, `fetched` or `verified`."""
        return self.output / stage / chunk_name(chunk)

    def chunks(self, stage: str, chunks: int) -> tuple[Path, ...]:
        """Return the paths of the first `chunks` chunks' tables."""
        return tuple(self.chunk(stage, chunk) for chunk in range(chunks))

    def list_chunks(self, stage: str) -> list[Path]:
        """Return the paths of the chunks' tables that exist; ReadArchive deletes those of an earlier manifest."""
        return sorted((self.output / stage).glob("chunk-*.parquet"))

    def record(self, label: str) -> Path:
        """Return the path of a target's record."""
        return record_path(self.output, label)


def create_output_folder(output: Path, folder: Path) -> None:
    """Create `folder`, which is the folder of a dataset or below it. Raises ParameterError if it cannot become one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise ParameterError(f"--output {output}: cannot become a folder; choose another path") from error
