"""The files luigi.cfg: each mistake is one sentence with file and line; what a file leaves out has a default."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from tasks.framework import settings
from tasks.framework.settings import Setting, SettingsError

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "key-twice": (
        b"[FetchChunk]\nretries = 3\n# more\nretries = 4\n",
        "luigi.cfg, line 4: [FetchChunk] retries is set twice; delete this line or line 2",
    ),
    "section-twice": (
        b"[FetchChunk]\nretries = 3\n\n[FetchChunk]\nnum_workers = 4\n",
        "luigi.cfg, line 4: there are two sections [FetchChunk]; move these settings to the one in line 1",
    ),
    "byte-order-mark": (
        b"\xef\xbb\xbf[FetchChunk]\n",
        "luigi.cfg, line 1: the file begins with a byte order mark (BOM); save it as UTF-8 without BOM",
    ),
    "latin-1": (
        "[FetchChunk]\nuser_agent = café\n".encode("latin-1"),
        "luigi.cfg, line 2: the text is not UTF-8; save the file as UTF-8",
    ),
    "no-section": (
        b"# mine\nretries = 3\n",
        "luigi.cfg, line 2: 'retries = 3' is in no section; write the name of its task in a line above it, such as "
        "[FetchChunk]",
    ),
    "no-value": (
        b"[FetchChunk]\nretries\n",
        "luigi.cfg, line 2: 'retries' is neither a section nor a setting; write [section], name = value or # comment",
    ),
}
NAMES: dict[str, tuple[str, str]] = {
    "section": (
        "[FetchChunks]\nretries = 3\n",
        "luigi.cfg, line 1: there is no section [FetchChunks]; did you mean [FetchChunk]?",
    ),
    "strange-section": (
        "[Download]\n",
        "luigi.cfg, line 1: there is no section [Download]; a section has the name of a task, such as [FetchChunk]",
    ),
    "key": (
        "[FetchChunk]\nuser_agent = me\n  and you\nretires = 3\n",
        "luigi.cfg, line 4: [FetchChunk] has no setting retires; did you mean retries?",
    ),
    "key-of-luigi": (
        "[retcode]\ntask_faild = 3\n",
        "luigi.cfg, line 2: [retcode] has no setting task_faild; did you mean task_failed?",
    ),
    "percent": (
        "[ReadArchive]\nwhere = species LIKE 'Moth%'\n",
        "luigi.cfg, line 2, where: a % is written %% in this file; write where = species LIKE 'Moth%%'",
    ),
    "variable": (
        "[ReadArchive]\n\ntemp_dir = ${NOT_SET_ANYWHERE}/x\n",
        "luigi.cfg, line 3, temp_dir: there is no environment variable NOT_SET_ANYWHERE; set it before the run",
    ),
    "value": (
        "[ReportDataset]\ntitle = Moths\n[SplitDataset]\ntest_frac = lots\n",
        "luigi.cfg, line 4: --SplitDataset-test-frac lots: not a valid value; give a number from 0 to 1",
    ),
    "range": (
        "[FetchChunk]\nnum-workers = 0\n",
        "luigi.cfg, line 2: --FetchChunk-num-workers 0: not a valid value; give a whole number from 1",
    ),
    "value-of-luigi": (
        "[core]\nworkers = many\n",
        "luigi.cfg, line 2, workers = many: not a valid value; give a whole number from 1",
    ),
}
ROOT = Path(__file__).parents[3]
FAILING = ("ReportDataset", "--dwca", "nowhere.zip")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "tasks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_luigi_cannot_read_is_reported_with_its_line(folder: Path, name: str) -> None:
    content, sentence = UNREADABLE[name]
    (folder / "luigi.cfg").write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        settings.check_syntax()
    assert str(raised.value) == sentence
    assert isinstance(raised.value, DatasetError)


@pytest.mark.parametrize("module", ["tasks", "tasks.arrays"])
def test_each_command_ends_with_the_sentence_where_importing_luigi_would_fail(folder: Path, module: str) -> None:
    content, sentence = UNREADABLE["key-twice"]
    (folder / "luigi.cfg").write_bytes(content)
    command = [sys.executable, "-P", "-m", module, "submit"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"ERROR: {sentence}\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_section_key_or_value_that_does_not_exist_is_reported_with_its_line(folder: Path, name: str) -> None:
    content, sentence = NAMES[name]
    (folder / "luigi.cfg").write_text(content)
    ended = run(*FAILING)
    assert ended.returncode not in (0, 30)
    assert (ended.stdout, ended.stderr) == ("", f"ERROR: {sentence}\n")
    assert sorted(folder.iterdir()) == [folder / "luigi.cfg"]


def test_the_file_that_a_variable_names_is_checked_and_has_to_exist(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(folder / "mine.cfg"))
    with pytest.raises(SettingsError, match=r"^LUIGI_CONFIG_PATH .*mine\.cfg: there is no such file; correct the path"):
        settings.check_syntax()
    (folder / "mine.cfg").write_text("[FetchChunk]\nretries\n")
    with pytest.raises(SettingsError, match=rf"^{folder}/mine\.cfg, line 2: 'retries' is neither"):
        settings.check_syntax()


def test_settings_are_found_as_configparser_finds_them(folder: Path) -> None:
    text = "# a = 1\n[A]\n  x: 1\n    y = 2\n[B]\nlong-name = 1\n two = 2\n\n ; three = 3\nlast=1\n"
    (folder / "luigi.cfg").write_text(text)
    file = Path("luigi.cfg")
    assert settings.read_settings() == [
        Setting(file, 2, "A"),
        Setting(file, 3, "A", "x"),
        Setting(file, 5, "B"),
        Setting(file, 6, "B", "long-name"),
        Setting(file, 10, "B", "last"),
    ]
    assert settings.find_setting("B", "long_name") == Setting(file, 6, "B", "long-name")
    assert settings.find_setting("B", "two") is None


def test_a_failed_run_without_a_settings_file_needs_no_scheduler_and_has_its_status() -> None:
    ended = run(*FAILING)
    assert ended.returncode == 30
    assert ended.stderr.startswith(
        "ERROR: ReadArchive: --dwca nowhere.zip: there is no such file or folder; give the path"
    )
    assert len(ended.stderr.splitlines()) == 1


def test_a_settings_file_overrides_the_defaults(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[retcode]\ntask_failed = 7\n\n[core]\nlog_level = INFO\n")
    ended = run(*FAILING)
    assert ended.returncode == 7
    assert "===== Luigi Execution Summary =====" in ended.stderr


def test_every_example_in_our_settings_file_is_a_setting(folder: Path) -> None:
    text = (ROOT / "luigi.cfg").read_text(encoding="utf-8")
    examples = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert examples.count("\n# ") < text.count("\n# ")
    (folder / "luigi.cfg").write_text(examples)
    ended = run("ReadArchive", "--dwca", "nowhere.zip")
    assert re.fullmatch(
        r"ERROR: luigi.cfg, line \d+: --ReadArchive-subset-list species.txt: there is no such file; check the path\n",
        ended.stderr,
    )


def test_luigis_own_sections_and_settings_are_accepted(folder: Path) -> None:
    (folder / "luigi.cfg").write_text(
        "[DEFAULT]\nname = moths\n\n[core]\nrpc-retry-wait = 3\nno_lock = true\nworker-ping-interval = 2.0\ndefault-scheduler-port = 8083\n\n[resources]\ndisk = 2\n\n"
        "[task_history]\ndb_connection = sqlite:///x.db\n\n[ReportDataset]\ntitle = %(name)s of 100 %%\n"
    )
    ended = run(*FAILING)
    assert ended.returncode == 30
    assert len(ended.stderr.splitlines()) == 1
