"""Which dataset: the base of all tasks, every path under `output`, and when a target is fresh."""

import contextlib
import functools
import json
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task import flatten
from luigi.task_register import Register

from gbif_webdataset.account import costs
from gbif_webdataset.errors import DatasetError, MissingPieceError, ParameterError
from gbif_webdataset.slurm.jobs import LOGS
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.target_record import FileRecord, Record, digest_of_file
from tasks.framework import messages, slurm_runner
from tasks.framework.parameters import Choice, Count, InputFile, InputFolder, Text
from tasks.framework.progress import Progress

MOST_CHUNKS = 1000
LOCAL, ON_SLURM, ELEMENT = RUNNERS = ("local", "slurm", "element")
LOOK_AGAIN = 1.0  # seconds
PAGE_WIDTH = 62  # characters of a line in the page's box for errors, which doesn't wrap them

Other = TypeVar("Other", bound=luigi.Task)


@dataclass(frozen=True)
class Paths:
    """Every path under the output folder."""

    output: Path
    scratch: Path  # for what is needed no longer than a task runs

    @property
    def images(self) -> Path:
        return self.output / "images"

    @property
    def fetched(self) -> Path:
        return self.output / "fetched"

    @property
    def verified(self) -> Path:
        return self.output / "verified.parquet"

    @property
    def errors(self) -> Path:
        return self.output / "errors.csv"

    @property
    def deleted(self) -> Path:
        return self.output / "deleted.csv"

    @property
    def would_delete(self) -> Path:
        return self.output / "would-delete.csv"

    @property
    def clean(self) -> Path:
        return self.output / "clean.parquet"

    @property
    def clean_dropped(self) -> Path:
        return self.output / "clean-dropped.parquet"

    @property
    def duplicates(self) -> Path:
        return self.output / "duplicates.parquet"

    @property
    def splits(self) -> Path:
        return self.output / "splits"

    @property
    def shards(self) -> Path:
        return self.output / "shards"

    @property
    def accounting(self) -> Path:
        return self.output / "accounting.csv"

    @property
    def report(self) -> Path:
        return self.output / "report"

    @property
    def logs(self) -> Path:
        return self.output / LOGS

    @property
    def rejected(self) -> Path:
        return self.output / "manifest" / "rejected.parquet"

    def chunk(self, stage: str, chunk: int) -> Path:
        """A chunk's table in `manifest`, `fetched` or `verified`."""
        return self.output / stage / chunk_name(chunk)

    def record(self, label: str) -> Path:
        """Where a target's record is kept."""
        return self.output / ".made" / f"{label}.json"


@dataclass
class Making:
    """A target under way: the files that it will consist of, and what the stage counted."""

    output: Path
    files: dict[str, FileRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, path: Path, sha256: str | None = None) -> None:
        """Count a finished file to the target; its bytes are read unless their `sha256` is known."""
        described = FileRecord(path.stat().st_size, sha256) if sha256 else FileRecord.of(path)
        self.files[path.relative_to(self.output).as_posix()] = described


class DatasetTarget(luigi.Target):
    """The files of a task, which count only with their record."""

    def __init__(self, task: "DatasetTask") -> None:
        self._task = task

    @property
    def record(self) -> Record:
        """The record; asked for only where the target exists."""
        record = self._task.record()
        if record is None:
            raise DatasetError(f"{self._task.label}: its record has gone while it was needed; run it again")
        return record

    def exists(self) -> bool:
        """Whether the target is there, made from what it would be made from now."""
        record = self._task.record()
        return record is not None and record.is_of(self._task.made_from(), self._task.paths.output)

    def __str__(self) -> str:
        return str(self._task.paths.record(self._task.label))


class DatasetTask(luigi.Task):
    """A stage of the dataset. Its target is fresh as long as parameters, inputs and upstream targets are the same.

    The parameter `output` is the folder; Luigi wants the method `output()`, so the attribute is `paths.output`.
    """

    FORMAT = 1  # raised when this stage's code makes other bytes of the same inputs
    HAS_OWN_JOB = False  # whether Slurm has jobs of its own for it

    needed: list["DatasetTask"]  # the tasks that this one requires
    _found_complete_at = float("-inf")

    dwca: str = Text(description="path of the Darwin Core Archive, as GBIF sends it")
    folder: str = Text(default="", description="the folder of the dataset, data/<archive name> where none is given")
    chunks: int = Count(
        default=16, least=1, most=MOST_CHUNKS, description="parts that the images are fetched and verified in"
    )
    scratch: str = Text(
        default="", significant=False, description="folder for what is spilled, <output>/.scratch where none is given"
    )
    runner: str = Choice(
        default=LOCAL,
        choices=RUNNERS,
        significant=False,
        description="where chunks are worked at: here; slurm, each in an allocation of its own that this command "
        "waits for; element is for the job scripts, and makes nothing that has jobs of its own but the task asked for",
    )

    def __init_subclass__(cls) -> None:
        """Let `run` do nothing where the target turns out to be fresh when its turn has come.

        Luigi plans all that depends on a task that has to run; what that makes may be the same as before.
        """
        super().__init_subclass__()
        if run := cls.__dict__.get("run"):
            cls.run = _where_it_belongs(run)  # type: ignore[method-assign]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.folder = self.__dict__.pop("output")
        output = Path(self.folder or Path("data") / _bare_name(self.dwca))
        self.paths = Paths(output, Path(self.scratch) if self.scratch else output / ".scratch")
        self.needed = list(flatten(self.requires()))  # at once: a bad parameter of any stage is told before any work

    @classmethod
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """The parameters; the attribute `folder` is `output` to users."""
        return [("output" if name == "folder" else name, value) for name, value in super().get_params()]

    def clone(self, cls: type[Other], **options: Any) -> Other:  # type: ignore[override]
        """Another task of the same dataset. Luigi's own would hand over every parameter of the same name, too."""
        shared = {name: getattr(self, name) for name in ("dwca", "chunks", "scratch", "runner")}
        return cls(**{"output": self.folder, **shared, **options})

    @property
    def is_left_to_its_own_job(self) -> bool:
        """Whether this is an element of an array, or a job, that needs this task's target and must not make it."""
        return self.runner == ELEMENT and self.HAS_OWN_JOB and not isinstance(self, _asked_for())

    @property
    def label(self) -> str:
        """The task's name among its dataset's."""
        return str(self.task_family)

    @property
    def is_asked_for(self) -> bool:
        """Whether it is the task that the command line names."""
        command = CmdlineParser.get_instance()
        return command is not None and Register.get_task_cls(command.known_args.root_task) is type(self)

    def output(self) -> DatasetTarget:
        """The target."""
        return DatasetTarget(self)

    def complete(self) -> bool:
        """Whether the target is fresh, and all that it was made from is; where that can't be told, running says why."""
        try:
            return all(task.was_complete() for task in self.needed) and self.output().exists()
        except (DatasetError, OSError):
            return False

    def was_complete(self) -> bool:
        """The same, by a look that may be a second old: a thousand chunks ask for one manifest of as many files."""
        if time.monotonic() - self._found_complete_at < LOOK_AGAIN:
            return True
        if not self.complete():
            return False
        self._found_complete_at = time.monotonic()
        return True

    def record(self) -> Record | None:
        """The record of the target that is there now, fresh or not."""
        return Record.load(self.paths.record(self.label))

    def inputs(self) -> dict[str, str]:
        """A digest of each thing that the target is made from."""
        return {task.label: task.output().record.digest for task in self.needed}

    def made_from(self) -> dict[str, Any]:
        """All that decides the target's bytes: parameters, files that they name, and inputs."""
        values: dict[str, Any] = {}
        for name, parameter in self.get_params():
            if parameter.significant and name not in ("dwca", "output", "chunks"):
                values[name] = value = getattr(self, name)
                if isinstance(parameter, InputFile) and value and Path(value).is_file():
                    values[f"{name} sha256"] = digest_of_file(Path(value))
                if isinstance(parameter, InputFolder) and value:
                    values[f"{name} sha256"] = {
                        path.name: digest_of_file(path) for path in sorted(Path(value).glob("*.csv"))
                    }
        return {"format": self.FORMAT, "parameters": json.loads(json.dumps(values)), "inputs": self.inputs()}

    @contextlib.contextmanager
    def making(self) -> Iterator[Making]:
        """Make the target: its old record goes first, its new one is written when the block has ended well."""
        made_from, begun = self.made_from(), time.monotonic()
        try:
            self.paths.output.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise ParameterError(f"--output {self.paths.output} can't be made a folder; choose another") from error
        self.paths.record(self.label).unlink(missing_ok=True)
        making = Making(self.paths.output)
        yield making
        seconds = round(time.monotonic() - begun, 3)
        record = Record(self.label, made_from, making.files, making.facts, seconds, costs.measure_peak_bytes())
        record.save(self.paths.record(self.label))

    def progress(self, stage: str, unit: str, total: int) -> Progress:
        """Progress of this task, for the terminal and for Luigi's page."""
        return Progress(self, stage, unit, self.paths.scratch, [total], lambda: [0], 0)

    def on_failure(self, exception: BaseException) -> str:
        """What Luigi's page shows of a failure: the sentence, or a defect's traceback."""
        told = messages.explanation(exception)
        return textwrap.fill(told, PAGE_WIDTH) if told else super().on_failure(exception)


def _where_it_belongs(run: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(run)
    def run_where_it_belongs(task: DatasetTask) -> None:
        if task.complete():
            task.trigger_event(luigi.Event.DEPENDENCY_PRESENT, task)
        elif task.is_left_to_its_own_job:
            raise MissingPieceError(
                "its target is missing, and this job is not the one to make it: run make slurm again"
            )
        elif task.runner == ON_SLURM and isinstance(task, ChunkTask):
            slurm_runner.run(task)
        else:
            run(task)

    return run_where_it_belongs


class ChunkTask(DatasetTask):
    """One of the parts that the images are fetched and verified in."""

    HAS_OWN_JOB = True

    chunk: int = Count(description="which part, counted from 0")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.chunk >= self.chunks:
            last = self.chunks - 1
            raise ParameterError(f"--chunk {self.chunk} is out of range: the {self.chunks} chunks are 0 to {last}")

    def for_slurm(self) -> list[str]:
        """Further words for the command that works at this chunk elsewhere."""
        return []

    @property
    def label(self) -> str:
        """The task's name, with its chunk."""
        return f"{self.task_family}-{self.chunk:05d}"

    def chunk_progress(self, stage: str, images: Sequence[int]) -> Progress:
        """Progress of the stage whose chunks have so many images, of which this task does one chunk."""

        def done_before() -> list[int]:
            siblings = [self.clone(type(self), chunk=chunk) for chunk in range(self.chunks)]
            return [count if task.complete() else 0 for task, count in zip(siblings, images, strict=True)]

        if issubclass(_asked_for(), ChunkTask):
            return Progress(self, stage, "images", self.paths.scratch, [images[self.chunk]], lambda: [0], 0)
        return Progress(self, stage, "images", self.paths.scratch, images, done_before, self.chunk)


def _asked_for() -> type:
    """The task that the command line names; where it is a chunk's, the other chunks are no part of the run."""
    command = CmdlineParser.get_instance()
    return Register.get_task_cls(command.known_args.root_task) if command else luigi.Task


def _bare_name(archive: str) -> str:
    name = Path(archive).name
    for ending in (".tar.gz", ".tgz", ".zip"):
        name = name.removesuffix(ending)
    return name or "dataset"
