"""The base of all tasks: parameters that all share, and when a target is up to date."""

import contextlib
import functools
import json
import re
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import luigi
from luigi.task import flatten

from gbif_webdataset.account import costs
from gbif_webdataset.errors import DatasetError, MissingPieceError, ParameterError, escape_text, explain
from gbif_webdataset.obtain.sources import name_folder
from gbif_webdataset.remote.input_copies import RemoteInput, find_copy
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.storage.image_store import KEEP, KINDS
from gbif_webdataset.storage.paths import DatasetPaths, create_output_folder
from gbif_webdataset.storage.recorded_files import check_recorded_files
from gbif_webdataset.storage.runs import RunKind
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord, digest_of_file
from tasks.framework import slurm_runner
from tasks.framework.parameters import Choice, Count, FilePath, Flag, InputFile, InputFolder
from tasks.framework.progress import LINE_INTERVAL, Progress, Stage
from tasks.framework.target import DatasetTarget, TargetBuilder
from tasks.framework.worker_processes import RunTask, root_task_class

MAX_CHUNKS = 1000
LOCAL, SLURM, ELEMENT = RUNNERS = ("local", "slurm", "element")
COMPLETE_SECONDS = 1.0  # a complete task is not checked again for this long
TASK_ID_DIGITS = 16
_INHERITED = ("dwca", "chunks", "scratch", "store", "runner", "same_taxonomy")
PAGE_WIDTH = 62  # characters of a line in the error box of Luigi's page, which does not wrap lines

Other = TypeVar("Other", bound=luigi.Task)


class CheckedTask(RunTask):
    """A task whose parameters are checked before any download."""

    COLUMN_PARAMETERS: tuple[str, ...] = ()  # parameters that name columns of the archive, which the manifest needs

    def check_archive(self, report: Callable[[str], None]) -> int:
        """Check all stages against the archive's columns, if this task reads the archive; report warnings.

        Return the number of bytes to read. Raises DatasetError if a stage cannot run.
        """
        return 0

    def check_options(self, columns: Collection[str]) -> None:
        """Check the parameters against the columns of the tables, and the files that they name.

        It is called before any download. Raises DatasetError if the stage cannot run.
        """

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Return sentences about what the parameters match in the view `manifest`, after `check_options`.

        It is called before any download. Raises DatasetError if a list of the user matches nothing.
        """
        return []

    def check_images(self) -> None:
        """Check, before it runs, that a stage which reads images has them.

        Raises MissingPieceError if they were removed after the report, and the user has not requested them again.
        """

    def check_store(self, with_writing: bool) -> None:
        """Check, before any stage runs, that the stage can write to the address that a parameter names.

        With `with_writing` the check may write there and delete what it wrote. Raises StoreError if it cannot.
        """

    @classmethod
    def has_checks(cls) -> bool:
        """Return whether the stage has checks of its own."""
        return cls.check_options is not CheckedTask.check_options


class DatasetTask(CheckedTask):
    """A stage of the dataset. Its target is up to date while parameters, inputs and upstream targets stay the same.

    Users type `--output`, but `output` is a method of Luigi's tasks: the attributes are `folder` and `paths.output`.
    """

    FORMAT = 1  # raise it when the stage's code writes other bytes for the same inputs
    HAS_SLURM_JOB = False  # whether Slurm runs it in a job of its own
    IS_STAGE = True  # False for a task that the lines about rebuilding do not name

    _complete_at = float("-inf")

    dwca: str = FilePath(
        description="The Darwin Core Archive: the path of a zip, a tar.gz or a folder, the key or DOI of a GBIF "
        "download, the https:// or s3:// address of a zip (also gs://, az://, hf://, file://), a request.json that was "
        "submitted, or several of these, separated by commas or in a text file, one per line."
    )
    folder: str = FilePath(
        default="",
        on_page=True,
        description="Folder of the dataset. Empty: data/<name of the archive, key or DOI>; a request and several "
        "archives need a folder.",
    )
    chunks: int = Count(
        default=16,
        minimum=1,
        maximum=MAX_CHUNKS,
        description="Number of parts in which the images are fetched and verified. Another number keeps the downloads.",
    )
    scratch: str = FilePath(
        default="", significant=False, description="Folder for temporary files. Empty: <output>/.scratch."
    )
    store: str = Choice(
        default=KEEP,
        choices=KINDS,
        significant=False,
        description="How downloaded images are stored. files: one file for each image. packed: in few large tar files, "
        "for file systems that limit the number of files. keep: as the dataset has them; a new dataset gets files. "
        "Another value than before copies the images and downloads nothing.",
    )
    runner: str = Choice(
        default=LOCAL,
        choices=RUNNERS,
        significant=False,
        description="Where chunks run. local: on this machine. slurm: each chunk in its own Slurm allocation; this "
        "command waits for them. (element is set by sbatch/*.sbatch; do not use it yourself.)",
    )
    same_taxonomy: bool = Flag(
        default=False,
        significant=False,
        description="true: the keys in your lists and category maps are those of the archive's taxonomy, although "
        "their checklist is another or unknown. false: keys of another checklist are refused.",
    )
    plan: bool = Flag(
        default=False,
        significant=False,
        description="true: print which stages would run and why, and run nothing.",
    )

    def __init_subclass__(cls) -> None:
        """Let `run` do nothing if the target is up to date when it is called.

        Luigi schedules every task downstream of one that has to run, but that one may produce the same bytes as before.
        """
        super().__init_subclass__()
        if run := cls.__dict__.get("run"):
            cls.run = _run_if_needed(run)  # type: ignore[method-assign]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.folder = self.__dict__.pop("output")
        self.paths = DatasetPaths.under(Path(self.folder or Path("data") / name_folder(self.dwca)), self.scratch)
        self.task_id = _make_task_id(self)
        self.param_kwargs["output"] = str(self.paths.output)  # Luigi's page shows it, even if `output` is empty
        self.remote_inputs = _copy_remote_inputs(self)
        _ = self.upstream  # a wrong parameter of any stage is reported before work starts

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker process, without the upstream tasks, which may be thousands."""
        state = super().__getstate__()
        return {**state, "task": {name: value for name, value in state["task"].items() if name != "upstream"}}

    @classmethod
    @functools.cache  # Luigi looks through all attributes of the class, for each of thousands of tasks several times
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Return the parameters; the attribute `folder` is `output` to users."""
        return [("output" if name == "folder" else name, value) for name, value in super().get_params()]

    def clone(self, cls: type[Other], **options: Any) -> Other:  # type: ignore[override]
        """Return another task of the same dataset. Luigi's own `clone` copies all parameters of the same name."""
        shared = {name: getattr(self, name) for name in _INHERITED}
        return cls(**{"output": self.folder, **shared, **options})

    @property
    def changed_output(self) -> Path | None:
        """The folder of the dataset; None with `plan`, which only reads."""
        return None if self.plan else self.paths.output

    @property
    def run_kind(self) -> RunKind:
        """What `runner` says."""
        return RunKind(self.runner)

    @property
    def last_stage(self) -> "DatasetTask":
        """The task whose stages are checked before any download."""
        return self

    @functools.cached_property
    def upstream(self) -> list["DatasetTask"]:
        """The tasks that this one requires."""
        return list(flatten(self.requires()))

    @property
    def is_made_by_other_job(self) -> bool:
        """Whether this process is a Slurm job that needs the target, while another job has to make it."""
        return self.runner == ELEMENT and self.HAS_SLURM_JOB and not self.is_root

    def output(self) -> DatasetTarget:
        """Return the target."""
        return DatasetTarget(self)

    def complete(self) -> bool:
        """Return whether the target and all upstream targets are up to date; on an error False, as `run` reports it."""
        try:
            is_upstream_complete = all(task.is_complete() for task in self.upstream)
            return is_upstream_complete and self.output().exists() and self.find_retry_reason() is None
        except (DatasetError, OSError):
            return False

    def is_complete(self) -> bool:
        """Return the same, but remember a True for a second: 1,000 chunks ask for one manifest of 1,000 files."""
        if time.monotonic() - self._complete_at < COMPLETE_SECONDS:
            return True
        if not self.complete():
            return False
        self._complete_at = time.monotonic()
        return True

    def record(self) -> TargetRecord | None:
        """Return the record of the present target, up to date or not."""
        return TargetRecord.load(self.paths.record(self.label))

    def inputs(self) -> dict[str, str]:
        """Return a digest of each input."""
        return {task.label: task.output().record.digest for task in self.upstream}

    def input_records(self) -> list[TargetRecord]:
        """Return the records of the files that `run` reads; before it runs, the files are compared with them."""
        return [record for task in self.upstream if (record := task.record())]

    def fingerprint(self, with_inputs: bool = True) -> Fingerprint:
        """Return what decides the target's bytes, without the inputs if these are not made yet."""
        return Fingerprint(self.FORMAT, self._parameters | _digest_files(self), self.inputs() if with_inputs else {})

    @functools.cached_property
    def _parameters(self) -> dict[str, Any]:
        """The significant parameters as JSON values."""
        names = {name for name, parameter in self.get_params() if parameter.significant} - {"dwca", "output", "chunks"}
        addresses = {name: source.address.address for name, source in self.remote_inputs.items()}
        return dict(json.loads(json.dumps({name: addresses.get(name, getattr(self, name)) for name in sorted(names)})))

    def find_retry_reason(self) -> str | None:
        """Return why an up-to-date target is worth another run, or None."""
        return None

    @contextlib.contextmanager
    def write_target(self, delete_record: bool = True) -> Iterator[TargetBuilder]:
        """Delete the old record; write the new one if the block ends without an error.

        With `delete_record` False the block deletes the old record before it changes a file that the record lists.
        """
        fingerprint, started = self.fingerprint(), time.monotonic()
        create_output_folder(self.paths.output, self.paths.output)
        if delete_record:
            self.paths.record(self.label).unlink(missing_ok=True)
        target = TargetBuilder(self.paths.output)
        yield target
        seconds = round(time.monotonic() - started, 3)
        made = (target.files, target.results, seconds, costs.measure_peak_bytes(), target.objects, target.store)
        TargetRecord(self.label, fingerprint, *made).save(self.paths.record(self.label))

    def progress(self, stage: str, unit: str, total: int) -> Progress:
        """Return the progress of this task, for the terminal and for Luigi's page."""
        return self.make_progress(Stage(stage, unit, [total]))

    def make_progress(self, stage: Stage) -> Progress:
        """Return the progress of a stage of this dataset."""
        hint = f"Results: {self.paths.output}. A line about the progress follows every {LINE_INTERVAL:.0f} seconds."
        return Progress(self, stage, self.paths.scratch, hint)

    def on_failure(self, exception: BaseException) -> str:
        """Return what Luigi's page shows of a failure: the sentence, or the traceback of a defect."""
        sentence = explain(exception)
        return textwrap.fill(sentence, PAGE_WIDTH) if sentence else escape_text(super().on_failure(exception), "\n")


def _copy_remote_inputs(task: DatasetTask) -> dict[str, RemoteInput]:
    """Return the inputs whose parameters are addresses, by name of the parameter, which gets the path of a copy."""
    inputs = [(name, value) for name, value in task.get_params() if isinstance(value, InputFile | InputFolder)]
    found = {name: parameter.find_remote(getattr(task, name)) for name, parameter in inputs}
    sources = {name: source for name, source in found.items() if source}
    for name, source in sources.items():
        setattr(task, name, str(find_copy(source, task.paths.inputs)))
    return sources


def _make_task_id(task: DatasetTask) -> str:
    """Return the id by which schedulers tell tasks apart. Luigi's own would only depend on what its page shows."""
    values = {
        name: value.serialize(getattr(task, "folder" if name == "output" else name))
        for name, value in task.get_params()
        if value.significant
    }
    digest = digest_of({**values, "folder": str(task.paths.output.absolute())})
    return re.sub("[^A-Za-z0-9_]", "_", f"{task.label}_{task.paths.output.name}_{digest[:TASK_ID_DIGITS]}")


def _digest_files(task: DatasetTask) -> dict[str, Any]:
    """Return the digests of the files that parameters name."""
    digests: dict[str, Any] = {}
    for name, parameter in task.get_params():
        value = getattr(task, name) if isinstance(parameter, InputFile | InputFolder) else ""
        if isinstance(parameter, InputFile) and value and Path(value).is_file():
            digests[f"{name} sha256"] = digest_of_file(Path(value))
        if isinstance(parameter, InputFolder) and value:
            files = sorted(Path(value).glob("*.csv"))
            digests[f"{name} sha256"] = {path.name: digest_of_file(path) for path in files}
    return digests


def _run_if_needed(run: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(run)
    def run_if_needed(task: DatasetTask) -> None:
        if task.complete():
            task.trigger_event(luigi.Event.DEPENDENCY_PRESENT, task)
        elif task.is_made_by_other_job:
            raise MissingPieceError(
                "the output of this earlier stage is missing and another Slurm job has to create it. Run `make slurm` "
                "again to submit that job"
            )
        elif task.runner == SLURM and isinstance(task, ChunkTask):
            task.run_in_slurm()
        else:
            task.check_images()
            check_recorded_files(task.paths.output, task.input_records())
            run(task)

    return run_if_needed


class ChunkTask(DatasetTask):
    """One of the chunks in which images are fetched and verified."""

    HAS_SLURM_JOB = True

    chunk: int = Count(on_page=True, description="Number of the chunk, from 0 to chunks - 1.")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.chunk >= self.chunks:
            raise ParameterError(
                f"--chunk {self.chunk}: there is no such chunk; the {self.chunks} chunks are 0 to {self.chunks - 1}"
            )

    def slurm_options(self) -> list[str]:
        """Return further options for the command that runs this chunk in a Slurm job."""
        return []

    @property
    def label(self) -> str:
        """The name of the task with its chunk."""
        return f"{self.task_family}-{self.chunk:05d}"

    def run_in_slurm(self) -> None:
        """Run the task in a Slurm job. The progress counts chunks; the jobs' logs count their images."""
        stage = Stage(
            slurm_runner.STAGE_OF[self.task_family], "chunks", [1] * self.chunks, self._count_built, self.chunk
        )
        with self.make_progress(stage) as progress:
            progress.print_once(
                f"Slurm runs each chunk as a job with its name, such as {self.task_family}-00000: see `squeue --me` "
                f"for the queue, and {self.paths.logs} for the progress and the errors of each job."
            )
            slurm_runner.run_chunk(self)

    def _count_built(self) -> list[int]:
        """Return 1 for each chunk that is built, and 0 for the others."""
        siblings = [self.clone(type(self), chunk=chunk) for chunk in range(self.chunks)]
        return [int(task.complete()) for task in siblings]

    def chunk_progress(self, stage: str, images: Sequence[int]) -> Progress:
        """Return the progress of a stage whose chunks have so many images; this task is one of the chunks."""

        def count_done() -> list[int]:
            return [built * count for built, count in zip(self._count_built(), images, strict=True)]

        if issubclass(root_task_class(), ChunkTask):  # the other chunks are not part of this run
            return self.progress(stage, "images", images[self.chunk])
        return self.make_progress(Stage(stage, "images", images, count_done, self.chunk))
