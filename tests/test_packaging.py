"""pyproject.toml declares what the code imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("tasks", "gbif_webdataset")
# Needed by name, not by an import statement: Luigi's task history; the runner of sciluigi, imported when it is used.
NOT_IMPORTED = {"sqlalchemy", "sciluigi"}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules() -> set[str]:
    """The top-level modules that the packages import from elsewhere."""
    names: set[str] = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)


def test_the_dependencies_are_the_packages_that_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = (*project["dependencies"], *extras["cloud"], *extras["hub"])
    declared = {normalized(re.split("[=;]", line)[0].strip()) for line in lines}
    distributions = packages_distributions()
    imported = {normalized(distributions.get(module, [module])[0]) for module in imported_modules()}
    assert declared == imported | NOT_IMPORTED
