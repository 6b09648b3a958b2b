"""What the end-to-end tests share: the sample's photos on loopback, a small archive of them, a dataset made of it.

With NO_SKIPS set, as where changes are judged, a skipped test fails the run, unless it says that it is optional.
"""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from sample.archive import write_archive
from sample.server import PhotoServer
from tests.support.browser import open_browser
from tests.support.datasets import Dataset, of_occurrences, some_occurrences
from tests.support.fault_proxy import FaultProxy
from tests.support.object_servers import S3_ENVIRONMENT, run_moto

OPTIONAL = "optional: "  # how the reason begins of a test of what is in no list of ours


def pytest_configure() -> None:
    """Give each process of pytest-xdist its own temporary folder: Luigi locks equal commands there.

    A shell that runs pytest in the background lets it ignore Ctrl-C, and every process that a test starts, too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["TMPDIR"] = tempfile.mkdtemp(prefix=f"{worker}-")
        atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def photos() -> Iterator[PhotoServer]:
    """The sample's photos on loopback; each is drawn once for all tests."""
    with PhotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def whole_sample(photos: PhotoServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample archive, its photos at `photos`."""
    path = tmp_path_factory.mktemp("sample") / "sample.zip"
    write_archive(path, photos.url)
    return path


@pytest.fixture(scope="session")
def small_archive(whole_sample: Path) -> Path:
    """About a third of the sample, with every oddity and every fault in it."""
    return of_occurrences(whole_sample, whole_sample.with_name("small.zip"), some_occurrences()[0])


@pytest.fixture(scope="session")
def made(small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of the small archive, made once by one worker; tests leave it as it is."""
    dataset = Dataset(small_archive, tmp_path_factory.mktemp("made") / "dataset")
    (dataset.output.parent / "stdout").write_text(dataset.make())
    return dataset


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium, one for all tests."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def dataset(made: Dataset, tmp_path: Path) -> Dataset:
    """A copy of the dataset, with a copy of its archive, for a test to change."""
    copy = made.copy(tmp_path / "dataset")
    copy.archive = Path(shutil.copy2(made.archive, tmp_path))
    return copy


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of S3 with the bucket BUCKET."""
    pytest.importorskip("obstore", reason=f"{OPTIONAL}needs pip install -e .[cloud]")
    with run_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def proxy(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before moto, and the environment in which tools of AWS use it."""
    with FaultProxy(moto) as proxy:
        for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of datasets of its own, for code that names none."""
    datasets = pytest.importorskip("datasets", reason=f"{OPTIONAL}needs pip install -e .[readers]")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for its skipped tests where none may be skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if os.environ.get("NO_SKIPS") and any(OPTIONAL not in str(report.longrepr) for report in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
