"""The layout, checked by reading the code: who imports whom, names, and the size of modules and functions."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import luigi
import pytest

import tasks

ROOT = Path(__file__).parents[1]
WORK, GRAPH, SAMPLE = ROOT / "gbif_webdataset", ROOT / "tasks", ROOT / "sample"
MODULES = sorted([*WORK.rglob("*.py"), *GRAPH.rglob("*.py")])
CODE = sorted([*MODULES, *SAMPLE.rglob("*.py")])
PUBLIC = [getattr(tasks, name) for name in tasks.__all__]

BASE = {
    "errors",
    "formatting",
    "process_pool",
    "read_ahead",
    "union_find",
    "terms",
    "storage",
    "images",
    "network",
    "remote",
    "slurm",
}
STAGES = ("read", "fetch", "verify", "clean", "split", "shards")
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    **{stage: {*BASE, stage} for stage in STAGES},
    "account": {*BASE, "account"},
    "publish": {*BASE, "publish", "account", "read", "shards"},
    "report": {*BASE, "report", "account", "publish", "read"},
    "compare": {*BASE, "compare", "account"},
    "audit": {*BASE, "audit"},
    "crosswalk": {*BASE, "crosswalk", "read"},
    "obtain": {*BASE, "obtain"},
    "upload": {*BASE, "upload", "publish", "shards"},
    "export": {*BASE, "export", "read"},
}
"""Which parts of gbif_webdataset (folders and top modules) each part may import; see docs/architecture.md."""

WORK_OF_TASKS = {
    "FetchArchive": "obtain",
    "ReadArchive": "read",
    "FetchChunk": "fetch",
    "PlanFetch": "fetch",
    "VerifyChunk": "verify",
    "DeleteImages": "clean",
    "CleanDataset": "clean",
    "SplitDataset": "split",
    "CreateWebDataset": "shards",
    "PlanShards": "shards",
    "ShardChunk": "shards",
    "ReportDataset": "report",
    "CompareDatasets": "compare",
    "AuditDataset": "audit",
    "MakeCrosswalk": "crosswalk",
    "RequestDownload": "obtain",
    "PublishDataset": "upload",
}
"""The folder with the module that does a task's work. FetchImages and VerifyImages only combine chunks."""

WORDS_TO_AVOID = {
    "deal", "deals", "dealt", "dealing", "judge", "judges", "judged", "barred", "wanted", "told", "tell",
    "tells", "said", "facts", "known", "stays", "holds", "room", "patience", "inks", "treatments", "mend", "mends",
    "mended", "anew", "upon", "forest", "how", "look", "looks", "enduring", "tireless", "misbehaving", "building",
    "most", "least", "longest",
}  # fmt: skip
"""HOUSE's words to avoid, as parts of identifiers. The standard library's own names are not ours to change."""
THEIR_NAMES = {"most_common", "log_slurm_info", "bar_format", "known_args", "parse_known_args"}
THEIR_NAMES.add("longest_host_pause")  # users have it in luigi.cfg

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_CLASS_LINES = 150
"""Without declarations of parameters and fields."""
LONG_CLASSES = {"DatasetPaths"}
"""Every path of a dataset is in one class; each property is a few lines."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_of(path) for path in MODULES}


def imports_of(path: Path) -> Iterator[str]:
    """The modules that a file imports, inside functions too; `from a import b` gives a.b if that is a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}, line {node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else str(node.module)


def part_of(module: str) -> str:
    """The folder or top module of gbif_webdataset that a module belongs to."""
    return module.split(".")[1]


@pytest.mark.parametrize("path", sorted(WORK.rglob("*.py")), ids=name_of)
def test_the_work_imports_neither_luigi_nor_the_tasks(path: Path) -> None:
    assert {module.split(".")[0] for module in imports_of(path)} & {"luigi", "sciluigi", "tasks"} == set()


@pytest.mark.parametrize("path", sorted(WORK.rglob("*/*.py")), ids=name_of)
def test_a_folder_imports_only_the_folders_that_it_may(path: Path) -> None:
    imported = {part_of(module) for module in imports_of(path) if module.startswith("gbif_webdataset.")}
    assert imported <= MAY_IMPORT[part_of(module_of(path))]


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_of(path): path for path in MODULES}
    graph = {name: [i for i in imports_of(path) if i in modules and i != name] for name, path in modules.items()}
    TopologicalSorter(graph).prepare()


def test_importing_any_module_of_the_work_loads_no_luigi_and_installs_no_hook() -> None:
    names = [module_of(path) for path in sorted(WORK.rglob("*.py"))]
    code = f"""
import importlib, multiprocessing, signal, sys, warnings
def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return sys.excepthook, list(sys.meta_path), handlers, multiprocessing.get_start_method(allow_none=True)
import duckdb, numpy, pyarrow, pandas, PIL.Image, requests  # their hooks and filters are not ours
before, filters = state(), list(warnings.filters)
for name in {names!r}:
    importlib.import_module(name)
assert state() == before
assert all(one in filters or 'gbif_webdataset' not in str(one) for one in warnings.filters)
assert not {{'luigi', 'sciluigi', 'tasks'}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_each_task_has_a_docstring_and_lies_in_the_module_of_its_stage() -> None:
    modules = {path.stem for path in GRAPH.glob("*.py")} - {"__init__", "__main__", "arrays", "packs"}
    assert {task.__module__ for task in PUBLIC} == {f"tasks.{module}" for module in modules}
    assert all(task.__doc__ for task in PUBLIC)


@pytest.mark.parametrize(("task", "folder"), WORK_OF_TASKS.items())
def test_the_module_that_does_a_tasks_work_has_its_name(task: str, folder: str) -> None:
    module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task).lower().replace("create_web_dataset", "create_webdataset")
    importlib.import_module(f"gbif_webdataset.{folder}.{module}")
    assert getattr(tasks, task)


@pytest.mark.parametrize("task", PUBLIC, ids=lambda task: task.__name__)
def test_every_parameter_has_a_description(task: type[luigi.Task]) -> None:
    parameters = dict(task.get_params())
    of_two = task in (tasks.CompareDatasets, tasks.MakeCrosswalk)
    shared = {"names"} if task is tasks.RequestDownload else {"dwca", "output", "chunks"}
    shared = {"old", "new"} if of_two else shared
    assert shared <= parameters.keys()
    for name, parameter in parameters.items():
        assert parameter.description, name


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_modules_classes_and_functions_are_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert lines_of(node) <= MAX_FUNCTION_LINES, f"{node.name}, line {node.lineno}"
        elif isinstance(node, ast.ClassDef) and node.name not in LONG_CLASSES:
            declared = sum(lines_of(one) for one in node.body if isinstance(one, ast.AnnAssign))
            assert lines_of(node) - declared <= MAX_CLASS_LINES, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_module_has_a_name_that_says_nothing(path: Path) -> None:
    assert not {"util", "utils", "helper", "helpers", "common", "misc", "manager"} & set(path.stem.split("_"))


def identifiers_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.keyword(arg=str(name)):
                yield node.value.lineno, name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_identifier_contains_a_word_to_avoid(path: Path) -> None:
    found = {
        f"{name} (line {line})"
        for line, name in identifiers_of(path)
        if name not in THEIR_NAMES
        if set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")) & WORDS_TO_AVOID
    }
    assert found == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_with_behaviour_has_a_test_file_in_the_mirrored_place(path: Path) -> None:
    source = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.FunctionDef) for node in ast.walk(source)) and path.parent != GRAPH:
        relative = path.relative_to(ROOT)
        assert (ROOT / "tests" / relative.with_name(f"test_{path.name}")).is_file()
