"""Code in Markdown texts, run as a reader would run it."""

import re
from pathlib import Path
from typing import Any

import pytest


def run_code(code: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Run a block in a folder; its variables, and as `seen` what its loop yields."""
    monkeypatch.chdir(folder)
    variables: dict[str, Any] = {"seen": []}
    exec(code.replace("    ...", "    seen.append((image.width, label))"), variables)
    return variables


def find_blocks(text: str) -> list[str]:
    """The blocks of Python in a Markdown text."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)
