"""The report page in a real browser."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from bench import page as page_bench
from gbif_webdataset.report.safe_text import shorten
from tests.support import archives
from tests.support.browser import PHONE, WIDE, list_issues, requests, resize, screenshot
from tests.support.datasets import Dataset
from tests.support.published import EML, KEY

pytestmark = pytest.mark.system

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script><img src=x onerror=\"document.title = 'taken'\">",
    '"><b onmouseover=alert(1)>bold</b>',
    "{{ 7 * 7 }} {% raw %} ${7 * 7} &amp; &lt;",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "x" * 2_000,
    "](https://evil.example) https://evil.example/pixel.png",
)
OCCURRENCE = ("gbifID", "datasetKey", "acceptedTaxonKey", "acceptedScientificName", "lifeStage", "countryCode",
              "rightsHolder", "year", "decimalLatitude", "decimalLongitude")  # fmt: skip
MEDIA = ("gbifID", "type", "identifier", "license", "creator", "rightsHolder")
EACH = 4


@pytest.fixture(scope="module")
def hostile(made: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with hostile values in all its texts; the photos are those of the sample."""
    folder = tmp_path_factory.mktemp("hostile")
    urls = [row["identifier"] for row in made.rows("clean.parquet")][: EACH * len(HOSTILE)]
    occurrences, media = [], []
    for number, url in enumerate(urls):
        bad = HOSTILE[number % len(HOSTILE)]
        texts = dict.fromkeys(OCCURRENCE[1:7], bad) | {"year": "2020", "decimalLatitude": "1"}
        occurrences.append({"gbifID": str(number), **texts, "decimalLongitude": "2"})
        media.append({"gbifID": str(number), "type": "StillImage", "identifier": url, "license": bad, "creator": bad,
                      "rightsHolder": bad})  # fmt: skip
    title = HOSTILE[1].replace("&", "&amp;").replace("<", "&lt;")
    members = {
        "meta.xml": archives.make_gbif_meta_xml(OCCURRENCE, MEDIA),
        "occurrence.txt": archives.make_lines(OCCURRENCE, occurrences),
        "multimedia.txt": archives.make_lines(MEDIA, media),
        "metadata.xml": EML.format(doi="10.15468/dl.abc123", key=KEY, title=title, query=title),
    }
    dataset = Dataset(archives.write_zip(folder / "hostile.zip", members), folder / "dataset")
    dataset.make("--SplitDataset-split-by-occurrence", "false")
    return dataset


def open_page(browser: webdriver.Chrome, dataset: Dataset, size: tuple[int, int] = WIDE) -> str:
    """Open the dataset's page; its URL."""
    url = (dataset.output / "report" / "index.html").as_uri()
    resize(browser, size)
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    browser.get(url)
    return url


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    """What stands in the elements that a CSS selector finds, shown or not."""
    script = "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent.trim())"
    return list(browser.execute_script(script, selector))


def numbers(browser: webdriver.Chrome, selector: str) -> list[int]:
    return [int(text.replace(",", "")) for text in texts(browser, selector)]


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_page_sends_no_requests_and_its_script_has_no_errors(
    made: Dataset, hostile: Dataset, browser: webdriver.Chrome, size: tuple[int, int]
) -> None:
    for name, dataset in (("made", made), ("hostile", hostile)):
        url = open_page(browser, dataset, size)
        for _ in range(4):
            browser.execute_script("scrollBy(0, innerHeight)")
        screenshot(browser, f"page-{name}-{size[0]}")
        assert requests(browser) == [url]
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_funnel_has_the_numbers_of_accounting_csv(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    first, *lines = made.rows("accounting.csv")
    lost = {line["reason"]: int(line["images"]) for line in lines if line["stage"] != "sample"}
    shown = dict(zip(texts(browser, ".reasons code"), numbers(browser, ".reasons span:first-child"), strict=True))
    assert shown == lost
    samples = {line["reason"]: int(line["images"]) for line in lines if line["stage"] == "sample"}
    assert numbers(browser, ".figures b")[:2] == [int(first["images"]), sum(samples.values())]
    ends = [text.split(" → ") for text in texts(browser, ".step header span")]
    assert ends[0][0] == f"{int(first['images']):,}"
    assert ends[-1][1] == f"{sum(samples.values()):,}"
    assert all(one[1] == other[0] for one, other in pairwise(ends))


def test_every_chart_adds_up_to_the_samples_and_the_manifest(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    samples = sum(int(row["samples"]) for row in made.rows("shards/shards.csv"))
    images = len(made.rows("manifest"))
    charts = browser.find_elements(By.CSS_SELECTOR, "figure:has(.bars)")
    headings = {chart.find_element(By.TAG_NAME, "figcaption").text for chart in charts}
    assert {f"Images by {name}" for name in ("host", "country", "dataset", "licence", "life stage")} <= headings
    for chart in charts:
        counts = [
            one.get_attribute("textContent").replace(",", "") for one in chart.find_elements(By.CLASS_NAME, "count")
        ]
        kept = sum(int(count.split(" of ")[0]) for count in counts)
        every = sum(int(count.split(" of ")[-1]) for count in counts)
        assert (kept, every) == (samples, images), chart.text
    by_year = Counter(row["year"] for row in made.rows("manifest"))
    tips = [element.get_attribute("data-tip") for element in browser.find_elements(By.CSS_SELECTOR, "[data-tip]")]
    shown = {tip.split(":")[0]: tip.split(": ")[1].split(" image")[0] for tip in tips if " image" in tip}
    assert {year: f"{count:,}" for year, count in by_year.items() if year} == {
        year: shown[year] for year in by_year if year
    }


def test_failures_classes_and_licences_have_the_numbers_of_the_tables(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    failed = Counter(row["error"] for row in made.rows("fetched") if row["status"] == "failed")
    shown: Counter[str] = Counter()
    errors = texts(browser, "#failures tbody code")
    for error, count in zip(errors, numbers(browser, "#failures tbody .number"), strict=True):
        shown[error] += count
    assert shown == failed
    classes: Counter[str] = Counter()
    for row in made.rows("shards/classes.csv"):
        classes[row["label"]] += int(row["samples"])
    labels = texts(browser, "#classes-table td.key")
    assert dict(zip(labels, numbers(browser, "#classes-table td:last-child"), strict=True)) == classes
    licences = Counter(row["split"] for row in made.rows("report/attribution.parquet"))
    cells = numbers(browser, "#licences > .scroll tbody td.number")
    splits = [split for split in ("train", "val", "test") if licences[split]]
    assert {split: sum(cells[place :: len(splits)]) for place, split in enumerate(splits)} == licences


def test_leakage_and_balance_have_the_numbers_of_their_tables(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    leakage, balance = browser.find_elements(By.CSS_SELECTOR, "#splits table")[:2]
    rows = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows_of(leakage)]
    assert [(split, shared, known) for _, split, _, shared, known in rows] == [
        (row["split"], row["shared"], f"{row['known']} of {row['images']}") for row in made.rows("splits/leakage.csv")
    ]
    shares = [
        f"{100 * float(row['share']):.1f} %" if row["share"] else "unknown" for row in made.rows("splits/leakage.csv")
    ]
    assert [share for _, _, share, *_ in rows] == shares
    assert "unknown" in shares
    shown = [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td.number")] for row in rows_of(balance)]
    assert shown == [
        [
            row["images"],
            *(f"{row[name]} ({int(row[name]) - float(row[f'{name}_off']):.1f})" for name in ("val", "test")),
        ]
        for row in made.rows("splits/balance.csv")[:8]
    ]


def rows_of(table: WebElement) -> list[WebElement]:
    return table.find_elements(By.CSS_SELECTOR, "tbody tr")


def test_the_page_begins_with_what_to_know_before_training(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    assert texts(browser, "main h2")[0] == "Before you train"
    findings = texts(browser, ".findings li")
    assert any("the most restrictive licence" in text.lower() for text in findings)
    assert all(text.endswith(".") and text[0] == text[0].upper() for text in findings)


def test_scientific_names_are_in_italics_with_the_key_beside_them(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    for scripted in (True, False):
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripted})
        open_page(browser, made)
        rows = browser.find_elements(By.CSS_SELECTOR, "#classes-table tbody tr")
        shown = {row.find_element(By.CLASS_NAME, "key").text: row.find_element(By.CLASS_NAME, "name") for row in rows}
        assert shown["1787000"].find_element(By.TAG_NAME, "i").text == "Noctua pronuba"
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_classes_can_be_searched_by_parts_of_their_names_and_sorted_with_the_keyboard(
    made: Dataset, browser: webdriver.Chrome
) -> None:
    open_page(browser, made)
    names = dict(zip(*(texts(browser, f"#classes-table td.{kind}") for kind in ("key", "name")), strict=True))
    label, name = next((label, name) for label, name in names.items() if " " in name)
    field = browser.find_element(By.ID, "find")
    field.send_keys(f"{name.split()[1][1:6].upper()} {name[:3]}")
    assert label in texts(browser, "#classes-table td.key")
    assert all(name[:3].lower() in found.lower() for found in texts(browser, "#classes-table td.name"))
    assert texts(browser, "#found") == [f"{len(texts(browser, '#classes-table tbody tr'))} of {len(names)}"]
    field.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    for column, key, ascends in ((1, str.lower, True), (5, int, False)):
        button = browser.find_element(By.CSS_SELECTOR, f"#classes-table th:nth-child({column}) button")
        for ascending in (ascends, not ascends):
            button.send_keys(Keys.ENTER)
            found = texts(browser, f"#classes-table td:nth-child({column})")
            assert found == sorted(found, key=key, reverse=not ascending)
            assert len(found) == len(names)
            head = browser.find_element(By.CSS_SELECTOR, f"#classes-table th:nth-child({column})")
            assert head.get_attribute("aria-sort") == ("ascending" if ascending else "descending")


def test_the_map_shows_the_samples_under_the_pointer(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    places = [row for row in made.rows("clean.parquet") if row["decimalLatitude"]]
    cells = json.loads(texts(browser, "#cells")[0])
    labelled = [row for row in places if row["acceptedTaxonKey"]]
    assert sum(cells.values()) == len(labelled)
    cell, samples = max(cells.items(), key=lambda item: item[1])
    browser.execute_async_script(
        """const [column, row] = arguments[0].split(",").map(Number), map = document.querySelector("#world svg");
        map.scrollIntoView({block: "center"});
        setTimeout(() => {  // because scrolling hides the tip
            const box = map.getBoundingClientRect(), side = document.querySelector("#world").dataset.cell * box.width / map.viewBox.baseVal.width;
            const place = {clientX: box.left + (column + .5) * side, clientY: box.top + (row + .5) * side};
            map.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, ...place}));
            arguments[1]();
        }, 300)""",
        cell,
    )
    assert browser.find_element(By.ID, "tip").text == f"{samples} samples here"


def test_hostile_texts_do_not_become_elements(hostile: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, hostile)
    assert browser.title == f"Images of {HOSTILE[1]}"
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 3
    assert browser.find_elements(By.CSS_SELECTOR, "[onerror], [onmouseover], b b, img:not([src^='data:'])") == []
    everything = browser.find_element(By.TAG_NAME, "body").get_attribute("textContent")
    assert "\u202e" not in everything
    assert "x" * 121 not in everything
    for label in (shorten(bad) for bad in HOSTILE):
        assert label in texts(browser, "#classes-table td.key")
        assert label in texts(browser, "#classes-table td.name")
    for chart in ("Images by country", "Images by dataset", "Images by life stage"):
        [found] = browser.find_elements(By.XPATH, f"//figure[figcaption[text()='{chart}']]//ul")
        shown = {name.get_attribute("textContent").lower() for name in found.find_elements(By.CLASS_NAME, "name")}
        assert shorten(HOSTILE[0]).lower() in shown


def test_every_picture_and_plot_has_a_text_alternative(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    assert browser.find_elements(By.CSS_SELECTOR, "img:not([alt]), img[alt=''], svg:not([aria-label])") == []
    sheets = texts(browser, "#samples figure b")
    assert len(sheets) == len({row["label"] for row in made.rows("shards/classes.csv")})
    assert browser.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")
    dropped = Counter(row["reason"] for row in made.rows("clean-dropped.parquet"))
    dropped += Counter(row["reason"] for row in (*made.rows("splits/dropped.csv"), *made.rows("shards/dropped.csv")))
    assert set(texts(browser, "#dropped code")) == set(dropped)


def test_the_page_is_readable_without_scripts_and_on_paper(made: Dataset, browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, made)
        assert not browser.find_element(By.ID, "find").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "#classes-table tbody tr").is_displayed()
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
        screenshot(browser, "page-print")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_every_link_leads_to_an_existing_file(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    report = made.output / "report"
    links = [link.get_dom_attribute("href") for link in browser.find_elements(By.TAG_NAME, "a")]
    files = [link for link in links if not link.startswith("#")]
    assert {
        "README.md",
        "croissant.json",
        "CITATION.cff",
        "figures/map.svg",
        "figures/map.png",
        "../accounting.csv",
    } <= set(files)
    assert [link for link in files if not (report / link).is_file()] == []
    assert all(browser.find_elements(By.ID, link[1:]) for link in links if link.startswith("#"))
    record = json.loads((made.output / ".made" / "ReportDataset.json").read_text())
    assert {f"report/{name}" for name in files if "../" not in name} <= set(record["files"])


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_axe_core_reports_no_issue(
    made: Dataset, hostile: Dataset, browser: webdriver.Chrome, size: tuple[int, int], colours: str
) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": colours}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    try:
        for dataset in (made, hostile):
            open_page(browser, dataset, size)
            assert list_issues(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_thumbnails_are_square_and_show_the_whole_image(made: Dataset, browser: webdriver.Chrome) -> None:
    open_page(browser, made)
    script = """return [...document.querySelectorAll(".thumbnails img")].map(image => {
        const {width, height} = image.getBoundingClientRect();
        return [Math.abs(width - height) < 1, getComputedStyle(image).objectFit]; })"""
    assert {tuple(found) for found in browser.execute_script(script)} == {(True, "contain")}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 100,000 images all over the world, of 10,000 classes with long names."""
    folder = tmp_path_factory.mktemp("many")
    page_bench.write_tables(folder, 100_000, 10_000)
    page_bench.write_report(folder, 100_000)
    return folder / "report" / "index.html"


def test_the_page_of_ten_thousand_classes_is_small_and_all_can_be_found(many: Path, browser: webdriver.Chrome) -> None:
    assert many.stat().st_size < 10_000_000
    resize(browser, WIDE)
    browser.get(many.as_uri())
    assert len(texts(browser, "#classes-table tbody tr")) == 25
    browser.find_element(By.ID, "find").send_keys("longissima 9876")
    assert texts(browser, "#classes-table td.key") == ["9876"]
    browser.find_element(By.ID, "find").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    browser.find_element(By.ID, "more").send_keys(Keys.ENTER)
    assert len(texts(browser, "#classes-table tbody tr")) == 275
