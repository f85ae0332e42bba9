"""The page in a real browser: no complaint, no sideways scroll on a phone, and light, dark and paper."""

import base64
from dataclasses import replace

import pyarrow as pa
import pytest

from pgolf.report.page import page
from pgolf.tables.detail_tables import BREAKDOWNS
from tests.report.browser import Browser, chromium
from tests.report.pages import tables
from tests.report.test_page import FIGURES

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here (apt install chromium)")

# Elements that reach beyond the screen, outside of boxes that scroll by themselves.
BEYOND = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg') &&
    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
# Titles of figures that are not drawn: no size, or nothing in them that has one.
EMPTY = """[...document.querySelectorAll('figure > svg')].filter(s => s.getBoundingClientRect().height < 40 ||
    ![...s.children].some(c => c.getBBox && c.getBBox().width > 20)).map(s => s.querySelector('title').textContent)"""
TITLES = "[...document.querySelectorAll('figure > svg')].map(s => s.querySelector('title').textContent)"
INK_AND_PAPER = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(chromium(), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page([tables()], price_per_hour=23.92))
    return path


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_it_fits_every_screen_with_all_its_figures_and_without_complaint(browser, path, width):
    browser.open(path, width=width)
    assert browser.complaints == []
    assert browser.requests == [path.as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('details').forEach(d => d.open = true)") is None
    assert browser.value(BEYOND) == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(TITLES) == FIGURES
    assert browser.value(EMPTY) == []


def _brightness(colour: str) -> int:
    return sum(int(part) for part in colour.strip("rgb()").split(","))


def test_it_is_light_dark_and_on_paper_as_the_reader_has_it(browser, path):
    found = {}
    for name, scheme, media in (("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print")):
        browser.open(path, width=800, scheme=scheme, media=media)
        found[name] = [_brightness(colour) for colour in browser.value(INK_AND_PAPER)]
        assert browser.complaints == []
    assert found["light"][1] - found["light"][0] > 500
    assert found["dark"][0] - found["dark"][1] > 500
    assert found["paper"] == found["light"]


def test_it_prints(browser, path):
    browser.open(path, width=800)
    printed = base64.b64decode(browser.ask("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    assert b"/Type /Page" in printed


# By figure: how far its lowest turned label reaches below the top of the axis title under it.
REACH = """Object.fromEntries([...document.querySelectorAll('figure > svg')].map(s => {
    const boxes = which => [...s.querySelectorAll(which)].map(t => t.getBoundingClientRect());
    const ends = (which, end) => Math.max(-1e9, ...boxes(which).map(box => box[end]));
    return [s.querySelector('title').textContent, ends('text[transform]', 'bottom') - ends('text.axis', 'top')]}))"""


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("label", ["0", "1,024–2,047", "1,048,576–2,097,151"])
def test_turned_labels_end_above_the_title_of_the_axis(browser, tmp_path, width, label):
    run = tables()
    parts = run.details[BREAKDOWNS.name]
    labels = pa.array([label] * parts.num_rows)
    parts = parts.set_column(parts.column_names.index("label"), "label", labels)
    path = tmp_path / "report.html"
    path.write_text(page([replace(run, details={**run.details, BREAKDOWNS.name: parts})]))
    browser.open(path, width=width)
    reach = browser.value(REACH)
    turned = [title for title in FIGURES if title.startswith("By ") and title != "By kind of token"]
    assert all(-60 < reach[title] < 0 for title in turned), reach
