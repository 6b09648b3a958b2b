"""Luigi's page of a central scheduler, in a real browser: the graph, a running chunk's progress, a failed one's error."""

import json
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.support.browser import screenshot
from tests.support.central_scheduler import find_free_port, start_scheduler

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
IMAGES = 60
META = """<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files><location>occurrence.txt</location></files><id index="0"/>
    <field index="1" term="http://rs.gbif.org/terms/1.0/datasetKey"/>
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
             rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files><coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
  </extension>
</archive>
"""


@pytest.fixture(scope="module")
def slow_photos() -> Iterator[str]:
    """A server that takes a quarter of a second for each photo."""
    jpeg = BytesIO()
    Image.new("RGB", (90, 80), (180, 90, 40)).save(jpeg, "JPEG")

    class Photo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.25)
            self.send_response(200)
            self.send_header("Content-Length", str(len(jpeg.getvalue())))
            self.end_headers()
            self.wfile.write(jpeg.getvalue())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Photo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A central scheduler with task history; yields its URL."""
    with start_scheduler(tmp_path_factory.mktemp("scheduler")) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def job(scheduler: str, slow_photos: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """FetchImages of two chunks under way: the photos of chunk 0 come slowly, those of chunk 1 not at all."""
    folder = tmp_path_factory.mktemp("job")
    write_archive(folder / "moths.zip", slow_photos, f"http://127.0.0.1:{find_free_port()}")
    host, port = scheduler.removeprefix("http://").split(":")
    # As `make fetch SCHEDULER=host:port` calls it.
    command = f"""FetchImages --dwca {folder}/moths.zip --output {folder}/out --chunks 2 --workers 2
        --local-scheduler false --scheduler-host {host} --scheduler-port {port}
        --FetchChunk-allow-addresses 127.0.0.1/32 --FetchChunk-requests-per-second-per-host 0
        --FetchChunk-connections-per-host 1 --FetchChunk-retries 0 --FetchChunk-host-failures 1000000""".split()
    log = (folder / "log").open("w+")
    process = subprocess.Popen([sys.executable, "-m", "luigi", "--module", "tasks", *command], cwd=ROOT, stderr=log)
    try:
        yield scheduler
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def write_archive(path: Path, chunk_0: str, chunk_1: str) -> None:
    """An archive whose photos are at one of two servers, by the chunk of two that they will be in."""
    chunks = duckdb.sql(f"SELECT range::VARCHAR, hash(range::VARCHAR) >> 63 FROM range({IMAGES})").fetchall()
    with ZipFile(path, "w") as archive:
        archive.writestr("meta.xml", META)
        archive.writestr("occurrence.txt", "id\tdatasetKey\n" + "".join(f"{key}\tmoths\n" for key, _ in chunks))
        media = "".join(f"{key}\t{chunk_1 if chunk else chunk_0}/{key}.jpg\n" for key, chunk in chunks)
        archive.writestr("multimedia.txt", f"id\tidentifier\n{media}")


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `holds` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(url: str, command: str, **data: object) -> Any:
    """What the scheduler's API answers to a command."""
    query = urllib.parse.urlencode({"data": json.dumps(data)})
    with urllib.request.urlopen(f"{url}/api/{command}?{query}", timeout=10) as answer:
        return json.load(answer)["response"]


def chunks(url: str, status: str) -> dict[str, dict[str, Any]]:
    """The FetchChunk tasks of a status, by chunk."""
    found = ask(url, "task_list", status=status, upstream_status="")
    return {task["params"]["chunk"]: {**task, "id": key} for key, task in found.items() if task["name"] == "FetchChunk"}


@contextmanager
def page(browser: webdriver.Chrome, url: str, name: str) -> Iterator[webdriver.Chrome]:
    """Luigi's page; a screenshot of how it looks at the end goes to $SCREENSHOTS, if that is set."""
    browser.get("about:blank")
    browser.get(url)
    yield browser
    screenshot(browser, name)


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    """The visible text of all elements that a CSS selector finds."""
    return "\n".join(element.text for element in browser.find_elements(By.CSS_SELECTOR, selector))


@pytest.fixture(scope="module")
def two_datasets(scheduler: str, slow_photos: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The scheduler after it ran 40 tasks of one dataset, and those of another one with other parameters."""
    folder = tmp_path_factory.mktemp("two")
    write_archive(folder / "moths.zip", slow_photos, slow_photos)
    host, port = scheduler.removeprefix("http://").split(":")
    for name, chunks, strict in (("one", 19, "true"), ("two", 2, "false")):
        command = f"""VerifyImages --dwca {folder}/moths.zip --output {folder}/{name} --chunks {chunks} --workers 2
            --local-scheduler false --scheduler-host {host} --scheduler-port {port}
            --FetchChunk-allow-addresses 127.0.0.1/32 --FetchChunk-requests-per-second-per-host 0
            --FetchChunk-connections-per-host 60 --VerifyChunk-strict {strict}""".split()
        subprocess.run([sys.executable, "-m", "luigi", "--module", "tasks", *command], cwd=ROOT, check=True)
    return scheduler, folder


def of_datasets(url: str, folder: Path) -> list[dict[str, Any]]:
    """The tasks of all datasets in a folder."""
    tasks = ask(url, "task_list", status="", upstream_status="").values()
    return [task for task in tasks if task["params"]["output"].startswith(str(folder))]


def test_tasks_of_two_datasets_are_told_apart_and_show_only_folder_and_chunk(two_datasets: tuple[str, Path]) -> None:
    url, folder = two_datasets
    tasks = of_datasets(url, folder)
    assert {task["status"] for task in tasks} == {"DONE"}
    by_folder = Counter(task["params"]["output"] for task in tasks)
    assert by_folder == {f"{folder}/one": 2 * 19 + 2, f"{folder}/two": 2 * 2 + 2}
    assert {tuple(task["params"]) for task in tasks} == {("output",), ("output", "chunk")}
    rows = [task["display_name"] for task in tasks]
    assert len(set(rows)) == len(rows)
    assert max(map(len, rows)) < len(str(folder)) + 40


def test_the_graph_and_the_history_show_forty_tasks(two_datasets: tuple[str, Path], browser: webdriver.Chrome) -> None:
    url, folder = two_datasets
    found = ask(url, "task_list", status="", upstream_status="").items()
    [root] = [key for key, task in found if task["display_name"] == f"VerifyImages(output={folder}/one)"]
    with page(browser, f"{url}/static/visualiser/index.html#tab=graph&taskId={root}&visType=svg", "graph-40"):
        shown = until(lambda: text_of(browser, "#graphPlaceholder").split(), 15, "the graph")
    names = {"ReadArchive": 1, "FetchChunk": 19, "VerifyChunk": 19, "VerifyImages": 1}
    assert {name: count for name, count in Counter(shown).items() if name in names} == names
    with page(browser, f"{url}/history", "history-40"):
        rows = until(lambda: browser.find_elements(By.CSS_SELECTOR, "tbody > tr"), 10, "the history")
        heights = [row.size["height"] for row in rows if "Chunk" in row.text]
    assert max(heights) < 150


def test_a_running_chunk_shows_its_progress_and_a_message(job: str, browser: webdriver.Chrome) -> None:
    running = until(lambda: chunks(job, "RUNNING").get("0"), 30, "chunk 0 runs")
    identifier = running["id"]
    told = until(
        lambda: (found := ask(job, "get_task_progress_percentage", task_id=identifier))["progressPercentage"] and found,
        20,
        "a progress above 0 %",
    )
    assert 0 < told["progressPercentage"] < 100
    with page(browser, f"{job}/static/visualiser/index.html#order=0&statusFilter=%5B%22RUNNING%22%5D", "running"):
        button = until(lambda: browser.find_elements(By.CSS_SELECTOR, "button.statusMessage"), 15, "a status message")
        browser.execute_script("arguments[0].click()", button[0])
        shown = until(lambda: text_of(browser, "#statusMessageModal pre").strip(), 10, "the message's text")
        percentage = until(lambda: text_of(browser, "#statusMessageModal .progress-bar").strip(), 10, "its progress")
    assert " of " in shown and "images" in shown and "/s" in shown
    assert 0 < int(percentage.rstrip("%")) <= 100


def test_a_failed_chunk_shows_its_sentence(job: str, browser: webdriver.Chrome) -> None:
    failed = until(lambda: chunks(job, "FAILED").get("1"), 30, "chunk 1 fails")
    error = json.loads(ask(job, "fetch_error", task_id=failed["id"])["error"]).replace("\n", " ")
    assert "no connect" in error
    assert "Traceback" not in error
    with page(browser, f"{job}/static/visualiser/index.html#statusFilter=%5B%22FAILED%22%5D", "failed"):
        button = until(lambda: browser.find_elements(By.CSS_SELECTOR, "button.showError"), 15, "the error's button")
        browser.execute_script("arguments[0].click()", button[0])
        shown = until(lambda: text_of(browser, "#errorModal pre").strip(), 10, "the error's text")
    assert "run the same command again" in shown.replace("\n", " ")


def test_the_graph_shows_every_task_on_the_way(job: str, browser: webdriver.Chrome) -> None:
    root = until(
        lambda: [key for key in ask(job, "task_list", status="", upstream_status="") if key.startswith("FetchImages")],
        30,
        "FetchImages is known",
    )[0]
    with page(browser, f"{job}/static/visualiser/index.html#tab=graph&taskId={root}&visType=svg", "graph"):
        shown = until(lambda: text_of(browser, "#graphPlaceholder"), 15, "the graph")
    assert {"FetchImages", "FetchChunk", "ReadArchive"} <= set(shown.replace("(", " ").split())


def test_the_history_lists_the_tasks_that_ran(job: str, browser: webdriver.Chrome) -> None:
    until(lambda: chunks(job, "FAILED"), 30, "chunk 1 fails")
    with page(browser, f"{job}/history", "history"):
        shown = until(lambda: text_of(browser, "body"), 10, "the history")
    assert "ReadArchive" in shown and "FetchChunk" in shown
