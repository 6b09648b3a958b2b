"""The architecture, held by reading the code: who imports whom, and how large a module or a function may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

import tasks

ROOT = Path(__file__).parents[1]
STAGES = ("read", "plan", "fetch", "verify", "delete", "clean", "split", "shards", "report", "compare")
CODE = sorted(
    [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "gbif_webdataset").rglob("*.py"), *(ROOT / "sample").rglob("*.py")]
)
CORE = sorted((ROOT / "gbif_webdataset").rglob("*.py"))
PUBLIC = [getattr(tasks, name) for name in tasks.__all__]
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a file, inside functions too; name is empty for `import module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}, line {node.lineno}: a relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_knows_neither_luigi_nor_the_tasks(path: Path) -> None:
    for module, name in imports(path):
        assert module.split(".")[0] not in ("luigi", "sciluigi")
        whole = f"{module}.{name}"
        assert not whole.startswith("tasks.")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_of_another_its_task_only(stage: str) -> None:
    tasks_by_module = {(task.__module__, task.__name__) for task in PUBLIC}
    for module, name in imports(ROOT / "tasks" / f"{stage}.py"):
        if module == "tasks":
            assert name not in STAGES
        elif module.removeprefix("tasks.") in STAGES:
            assert (module, name) in tasks_by_module


def test_each_stage_has_its_module_and_each_task_a_docstring() -> None:
    assert {task.__module__ for task in PUBLIC} == {f"tasks.{stage}" for stage in STAGES}
    assert all(task.__doc__ for task in PUBLIC)


@pytest.mark.parametrize("task", PUBLIC, ids=lambda task: task.__name__)
def test_every_parameter_says_what_it_is(task: type[luigi.Task]) -> None:
    parameters = dict(task.get_params())
    of_one = {"dwca", "output", "chunks"}
    assert (of_one if task is not tasks.CompareDatasets else {"old", "new"}) <= parameters.keys()
    for name, parameter in parameters.items():
        assert parameter.description, name


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_module_is_named_after_nothing(path: Path) -> None:
    assert not {"util", "utils", "helper", "helpers", "common", "misc", "manager"} & set(path.stem.split("_"))
