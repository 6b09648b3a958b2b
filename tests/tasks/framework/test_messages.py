import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gbif_webdataset.errors import ArchiveError
from tasks.framework.messages import OneSentence


def filtered(error: Exception, *arguments: object) -> logging.LogRecord:
    record = logging.LogRecord("luigi-interface", logging.ERROR, "", 0, "failed %s", arguments, None)
    record.exc_info = (type(error), error, None)
    assert OneSentence().filter(record)
    return record


def test_an_error_with_a_sentence_is_logged_without_its_traceback() -> None:
    record = filtered(ArchiveError("a.zip: damaged; download it again"), SimpleNamespace(label="ReadArchive"))
    assert record.getMessage() == "ReadArchive: a.zip: damaged; download it again"
    assert record.exc_info is None


def test_a_defect_keeps_its_message_and_traceback() -> None:
    record = filtered(ValueError("a defect"), "ReadArchive")
    assert record.getMessage() == "failed ReadArchive"
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        ("KeyboardInterrupt()", 130, "Stopped. The same command continues from here."),
        ("ValueError('x')", 1, "ValueError: x"),
    ],
)
def test_only_ctrl_c_ends_a_process_without_a_traceback(error: str, status: int, last: str) -> None:
    code = f"from tasks.framework import messages\nmessages.install()\nraise {error}"
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (status, -2)
    assert ended.stderr.splitlines()[-1] == last
    assert ("Traceback" in ended.stderr) == (status == 1)
