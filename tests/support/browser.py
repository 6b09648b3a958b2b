"""A real browser for the tests of pages."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

AXE = "axe-core@4.14.1"
WIDE, PHONE = (1400, 900), (390, 844)


@contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """Debian's headless Chromium, with a log of its network requests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument("--window-size={},{}".format(*WIDE))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser: webdriver.Chrome, size: tuple[int, int]) -> None:
    """Set the size of the page in pixels; PHONE also emulates a mobile device."""
    width, height = size
    shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)


def requests(browser: webdriver.Chrome) -> list[str]:
    """The URLs that were requested since the last call, without data URLs."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


def find_axe() -> Path:
    """The script of axe-core, the checker of accessibility; skips the test without it."""
    path = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip(f"optional: axe-core is not installed: npm install --no-save {AXE}")
    return path


def list_issues(browser: webdriver.Chrome) -> list[str]:
    """What axe-core reports of the open page: impact, rule and the first element of each issue."""
    browser.execute_script(find_axe().read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run(document).then(arguments[0])")
    assert len(found["passes"]) > 20, "axe-core has checked the page"
    return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Save a screenshot in the folder $SCREENSHOTS, if that is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(f"{folder}/{name}.png")
