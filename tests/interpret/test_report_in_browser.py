"""The report as a reader meets it, in a real browser."""

import shutil
import time

import numpy as np
import pytest
from report_case import CLASSES, EVIL, X, Y, analysis_of_noise
from support import only

from keras_htaf.interpret import Codes, ConceptAnalysis, analyze

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

SAMPLES = "JSON.parse(document.getElementById('data').textContent).samples.map(s => s.id)"
BARS_FIT = "[...document.querySelectorAll('.columns')].every(e => e.scrollWidth <= e.clientWidth)"
LOGITS = "[...document.querySelectorAll('.logits li')].map(e => [e.dataset.class, e.dataset.logit])"

# The page is the same on all backends.
pytestmark = [
    only["tensorflow"],
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def analysis():
    return analysis_of_noise()


@pytest.fixture(scope="module")
def file(analysis, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    title = "<script>window.hacked=1</script>"
    analysis.report(path, samples=6, gallery=3, sparse=False, title=title)
    return path


@pytest.fixture(scope="module")
def with_charts(analysis, tmp_path_factory):
    path = tmp_path_factory.mktemp("charts") / "report.html"
    history = {"smooth_accuracy": [0.5, 0.7], "hard_accuracy": [0.4, 0.7]}
    return analysis.report(path, samples=1, gallery=1, maps="none", history=history)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, file):
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    def open_at(hash_):
        page.goto(f"{file.as_uri()}#{hash_}")
        page.wait_for_selector("html[data-ready]", state="attached")

    page.open_at = open_at
    page.open_at("overview")
    yield page
    page.close()
    assert not said
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_toggled_bits_are_decided_as_in_python(page, analysis):
    codes = analysis.codes
    for sample in page.evaluate(SAMPLES)[:2]:
        page.open_at(f"image-{sample}")
        bits = codes.bits[sample].copy()
        for j in (0, 3, 2, 0):
            page.locator(f'.switch[data-bit="{j}"]').click()
            bits[j] = ~bits[j]
            logits = codes.logits_of(bits)
            assert page.locator("#prediction").get_attribute("data-class") == str(logits.argmax())
            assert page.locator("#prediction strong").inner_text() == CLASSES[logits.argmax()]
            shown = {int(k): float(s) for k, s in page.evaluate(LOGITS)}
            assert [shown[k] for k in range(3)] == logits.tolist()
        other = analysis.explain(sample).counterfactual
        page.get_by_role("button", name="Try the smallest change").click()
        assert page.locator("#prediction").get_attribute("data-class") == str(other.decision)
        page.get_by_role("button", name="As it was").click()
        decided = codes.decisions[sample]
        assert page.locator("#prediction").get_attribute("data-class") == str(decided)


def test_a_renamed_bit_is_renamed_everywhere_and_in_the_next_run(page, analysis, tmp_path):
    page.open_at("bit-3")
    field = page.get_by_label("Name of bit 3")
    field.fill("dark <i>left</i>")
    field.press("Enter")
    assert page.locator("#view-bits h1").inner_text() == "dark <i>left</i>"
    page.get_by_role("link", name="Health").click()
    assert page.locator('#health-table [data-name="3"]').first.inner_text() == "dark <i>left</i>"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save names").click()
    download.value.save_as(tmp_path / "names.json")
    again = analyze(analysis.model, X, Y, concept_names=tmp_path / "names.json")
    assert again.codes.concept_names[2:4] == (EVIL, "dark <i>left</i>")


def test_markup_in_names_is_text(page):
    for view in ("overview", "bits", "bit-2", "classes", "class-1", "samples", "errors", "health"):
        page.open_at(view)
        assert page.locator("img").count() == 0
        assert page.locator("main b").count() == 0
    page.open_at("bit-2")
    assert page.locator("#view-bits h1").inner_text() == EVIL
    page.open_at("class-1")
    assert page.locator("#view-classes h1").inner_text() == "<b>two</b>"
    assert page.evaluate("window.hacked === undefined")


@pytest.mark.parametrize("fragment", ["%", "%E0%A4%A", "main", "bit-99", "image-", "nothing"])
def test_any_fragment_opens_a_page(browser, file, fragment):
    page = browser.new_page()
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{file.as_uri()}#{fragment}")
    page.wait_for_selector("html[data-ready]", state="attached", timeout=5000)
    assert page.locator(".view:visible").count() == 1
    assert page.locator("#view-overview").is_visible()
    page.close()
    assert not said


def eventually(holds):
    # Playwright's own waiting evaluates a string in the page, which the page forbids.
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_errors_are_told_in_words(browser, tmp_path):
    # All are of class 0, and decided 1 where a bit is on, however many others are; the largest is
    # to blame, and turning it off is enough where it is alone.
    wrong = [[3], [3], [4], [4, 2], [5, 2], [5, 2], [0], [1, 2]]
    bits = np.zeros((40, 6), bool)
    for row, on in zip(bits, wrong, strict=False):
        row[on] = True
    weights = np.array([[0, v] for v in (3, 4, 3, 5, 6, 7)])
    analysis = ConceptAnalysis(Codes(bits, weights, [1.0, 0.0], labels=np.zeros(40, int)))
    assert [each["errors"] for each in analysis.errors.groups()] == [2, 2, 2, 1, 1]
    path = analysis.report(tmp_path / "report.html", samples=1, sparse=False)
    page = browser.new_page()
    page.goto(f"{path.as_uri()}#errors")
    page.wait_for_selector("html[data-ready]", state="attached")
    words = page.locator("#view-errors .error-group p").all_inner_texts()
    page.close()
    said = ("mends all of them", "mends 1 of them", "mends none of them")
    said += ("mends it", "does not mend it")
    assert words == [f"Flipping this bit alone {each}." for each in said]


def test_it_works_by_keyboard(page, analysis):
    def focused(what="textContent"):
        return page.evaluate(f"document.activeElement.{what}")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert focused() == "Bits"
    page.keyboard.press("Enter")
    eventually(lambda: focused() == "The bits")
    assert page.get_by_role("link", name="Bits", exact=True).get_attribute("aria-current") == "page"
    page.open_at("bit-4")
    page.keyboard.press("ArrowRight")
    eventually(lambda: page.evaluate("location.hash") == "#bit-5")
    page.get_by_label("Name of bit 5").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("location.hash") == "#bit-5"

    sample = page.evaluate(SAMPLES)[0]
    page.open_at(f"image-{sample}")
    switch = page.locator('.switch[data-bit="1"]')
    before = switch.get_attribute("aria-checked")
    switch.focus()
    page.keyboard.press("Space")
    assert switch.get_attribute("aria-checked") != before
    assert focused("dataset.bit") == "1"
    rows = page.locator("#health-table tbody tr td:nth-child(3)")
    page.open_at("health")
    page.get_by_role("button", name="On for").focus()
    page.keyboard.press("Enter")
    usage = [float(row.split()[0]) for row in rows.all_inner_texts()]
    assert usage == sorted(np.round(100 * analysis.codes.usage, 1), reverse=True)


def test_it_fits_a_phone(browser, file, with_charts):
    page = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")
    for view in ("overview", "bits", "bit-2", "class-1", "samples", "health", "about"):
        page.goto(f"{file.as_uri()}#{view}")
        page.wait_for_selector("html[data-ready]", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        # Of a chart of bars all is seen: the highest is often the last.
        assert page.evaluate(BARS_FIT), view
    page.goto(f"{with_charts.as_uri()}#overview")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    legend = page.locator("#view-overview .legend").last
    assert legend.is_visible()
    assert "■ exact bits" in legend.inner_text()
    # Where there is room the names stand at the ends of the lines.
    page.set_viewport_size({"width": 1180, "height": 700})
    assert legend.is_hidden()
    page.close()
