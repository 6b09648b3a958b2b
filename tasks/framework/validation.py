"""Checks of all stages of a run as soon as meta.xml is read, so that mistakes are reported before any download."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

from gbif_webdataset.errors import DatasetError, ParameterError
from gbif_webdataset.shards.caption import parse_template
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import TEMPORARY
from gbif_webdataset.storage.manifest_checklist import read_checklist
from gbif_webdataset.storage.recorded_files import check_recorded_files
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.columns import LEDGER, MANIFEST, VERIFIED
from gbif_webdataset.terms.splits import LABEL
from tasks.framework.dataset_task import ELEMENT, DatasetTask
from tasks.framework.messages import print_note
from tasks.framework.parameters import Template, split_list

MADE_COLUMNS = tuple(column.name for column in (*LEDGER, *VERIFIED))
"""Columns that stages add to the manifest's."""
STANDARD_COLUMNS = frozenset((*(column.name for column in MANIFEST), *MADE_COLUMNS, LABEL))
LAST_STAGE = "CreateWebDataset"
WARNING = "WARNING: "


def list_later_columns(stages: Iterable[str]) -> list[str]:
    """Return the columns that parameters of these stages name, except those that the tables have by themselves.

    The values are those of the settings and of the command line.
    """
    names = [name for stage in stages for name in _list_named_columns(Register.get_task_cls(stage))]
    return [name for name in dict.fromkeys(names) if name not in STANDARD_COLUMNS]


def check_options(read: DatasetTask, columns: Collection[str], report: Callable[[str], None]) -> None:
    """Check the options of all stages against the columns of the archive, and the files that they name.

    A mistake in a stage that this command does not run is reported as a warning.

    Raises DatasetError if a stage of this command cannot run.
    """
    available = list(dict.fromkeys([*columns, *MADE_COLUMNS]))
    required = _list_required(read)
    for stage in required:
        stage.check_options(available)
    with _as_warning(report):
        for stage in _list_others(read, required):
            with _as_warning(report):
                stage.check_options(available)


def check_manifest(read: DatasetTask, chunks: Sequence[Path], report: Callable[[str], None]) -> None:
    """Report what the options of all stages match in the manifest.

    Raises DatasetError if a list of a stage of this command matches nothing.
    """
    required = _list_required(read)
    columns = _list_columns(chunks)
    with open_manifest(chunks, read.paths.scratch) as connection:
        for stage in required:
            for sentence in stage.check_manifest(connection):
                report(sentence)
        with _as_warning(lambda sentence: None):  # check_options has reported what is wrong with the options
            for stage in _list_others(read, required):
                with _as_warning(lambda sentence: None):
                    stage.check_options(columns)
                    with _as_warning(report):
                        for sentence in stage.check_manifest(connection):
                            report(sentence)


def check_before_run(stages: Sequence[DatasetTask], read: DatasetTask, with_manifest: bool) -> None:
    """Check stages that will run against the columns of an up-to-date manifest, and against its rows; print warnings.

    Raises DatasetError if a stage cannot run.
    """
    chunks = read.paths.chunks("manifest", read.chunks)
    stages = [stage for stage in stages if stage.has_checks()]
    if not stages:
        return
    check_recorded_files(read.paths.output, filter(None, [read.record()]))
    columns = _list_columns(chunks)
    with open_manifest(chunks, read.paths.scratch) as connection:
        for stage in stages:
            try:
                stage.check_options(columns)
                sentences = stage.check_manifest(connection) if with_manifest else []
            except DatasetError as error:
                raise type(error)(f"{stage.label}: {error}") from error
            for sentence in filter(lambda each: each.startswith(WARNING), sentences):
                print_note(sentence)


@contextmanager
def open_manifest(chunks: Sequence[Path], scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database with the view `manifest` and the table `checklist`.

    It writes nothing to `scratch` unless its memory is exceeded.
    """
    with closing(duckdb.connect()) as connection:
        connection.execute("SET memory_limit = $1", [tables.MEMORY_LIMIT])
        connection.execute("SET temp_directory = $1", [str(scratch / f"{TEMPORARY}checks-{uuid.uuid4().hex}")])
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"CREATE VIEW manifest AS SELECT * FROM {tables.parquet_source(chunks)}")
        checklist = read_checklist(chunks[0])
        values = [checklist.key, checklist.release]
        connection.execute("CREATE TABLE checklist AS SELECT $1 AS key, $2 AS release", values)
        yield connection


def find_checklist(connection: duckdb.DuckDBPyConnection) -> Checklist:
    """Return the checklist of the manifest that `open_manifest` has opened."""
    [row] = tables.fetch_rows(connection, "SELECT key, release FROM checklist")
    return Checklist(*row)


def _list_columns(chunks: Sequence[Path]) -> list[str]:
    return list(dict.fromkeys([*pq.read_schema(chunks[0]).names, *MADE_COLUMNS]))


def list_stages(last: DatasetTask) -> list[DatasetTask]:
    """Return the stages that lead to a task, upstream ones first, and of the chunks of a stage the first."""
    found: dict[str, DatasetTask] = {}

    def add(task: DatasetTask) -> None:
        if task.task_family not in found:
            for source in task.upstream:
                add(source)
            found.setdefault(task.task_family, task)

    add(last)
    return list(found.values())


def _list_named_columns(stage: type[DatasetTask]) -> Iterator[str]:
    root, parameters = _find_root(), dict(stage.get_params())
    for name in stage.COLUMN_PARAMETERS:
        parameter = parameters[name]
        is_root = type(root) is stage
        value = getattr(root, name) if is_root else parameter.task_value(stage.get_task_family(), name)
        if isinstance(parameter, Template):
            with suppress(ParameterError):  # the stage itself reports it
                yield from parse_template(value).columns
        else:
            yield from split_list(value)


def _find_root() -> DatasetTask | None:
    """Return the task that the command line names."""
    command = CmdlineParser.get_instance()
    root = command.get_task_obj() if command else None
    return root if isinstance(root, DatasetTask) else None


def _list_required(read: DatasetTask) -> list[DatasetTask]:
    if read.runner == ELEMENT:  # jobs of `make slurm` make the whole dataset
        return list_stages(_clone_last(read))
    root = _find_root()
    return list_stages(root.last_stage) if root else []


def _list_others(read: DatasetTask, required: Sequence[DatasetTask]) -> list[DatasetTask]:
    families = {stage.task_family for stage in required}
    return [stage for stage in list_stages(_clone_last(read)) if stage.task_family not in families]


def _clone_last(read: DatasetTask) -> DatasetTask:
    last: type[DatasetTask] = Register.get_task_cls(LAST_STAGE)
    return read.clone(last)


@contextmanager
def _as_warning(report: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        report(f"{WARNING}{error}")
