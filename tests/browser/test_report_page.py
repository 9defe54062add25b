"""The page that stage `report` writes, and the server of `--serve`, in Chromium."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.display import visible
from stages.report import PAGE, main
from tests import ROOT
from tests.browser.chromium import Browser
from tests.reporting.world import PARAMS, question, write_world
from tests.workplace import put_rows, set_arguments, write_params

pytestmark = pytest.mark.browser

HOSTILE = (
    "</script><script>window.__pwned = 1</script> \"><img src=x onerror='window.__pwned = 2'> <!--<script> "
    "javascript:window.__pwned=3 \u2028 \u202e {{ 7 * 7 }}"
)
ROUTES = ("#report", "#/questions", "#/question/demo%2Ftrain%2F0000", "#/question/strong%2F1", "#/compare?show=all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with the page, hostile text in every field."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        set_arguments(patch, "report", "--workers", "1")
        write_params(**PARAMS | {"corpus": {"note": HOSTILE}})
        write_world(HOSTILE)
        train = question(0, "train", question=f"Which singers? {HOSTILE}", evidence=HOSTILE)
        put_rows("questions", [question(0, "dev"), train, *(question(number, "test") for number in range(128))])
        main()
        yield folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the same data."""
    command = [sys.executable, "-m", "stages.report", "--serve", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().split()[0]
        server.send_signal(signal.SIGINT)


def url(folder: Path, route: str = "") -> str:
    return (folder / PAGE).as_uri() + route


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_axe_finds_nothing_in_the_page(browser: Browser, folder: Path, width: int, scheme: str) -> None:
    browser.look(width, scheme=scheme)
    browser.open(url(folder))
    findings = []
    for route in ROUTES:
        browser.go(route)
        browser.open_details()
        findings += [(route, *finding) for finding in browser.axe()]
    assert findings == []


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_no_view_of_the_page_scrolls_sideways(browser: Browser, folder: Path, width: int) -> None:
    browser.look(width)
    browser.open(url(folder))
    for route in ROUTES:
        browser.go(route)
        browser.open_details()
        assert browser.run("return document.documentElement.scrollWidth") <= width, route


def test_nothing_of_the_data_runs_in_the_page(browser: Browser, folder: Path) -> None:
    browser.open(url(folder))
    for route in ROUTES:
        browser.go(route)
        assert browser.run("return [window.__pwned ?? null, document.images.length]") == [None, 0]


def test_no_two_elements_have_the_same_id(browser: Browser, folder: Path) -> None:
    browser.open(url(folder, "#/questions"))
    ids = browser.run("return [...document.querySelectorAll('[id]')].map(({id}) => id)")
    assert sorted(ids) == sorted(set(ids))


def test_a_figure_of_the_report_leads_to_its_questions(browser: Browser, folder: Path) -> None:
    browser.open(url(folder))
    browser.first("#report a[href='#/questions?model=candidates&verdict=match']").click()
    browser.until(lambda: browser.texts("#explorer-status") == ["1 of 132 questions"])


def test_a_question_of_the_page_has_its_candidates_and_its_pair(browser: Browser, folder: Path) -> None:
    browser.open(url(folder, "#/question/demo%2Ftrain%2F0000"))
    assert browser.texts("#explorer-title") == [visible(f"Which singers? {HOSTILE}")]
    assert len(browser.all("#explorer-detail section:nth-of-type(3) article")) == 5  # distinct SQL
    assert browser.texts("del") == ["WHERE age > 20"] and browser.texts("ins") == ["ORDER BY name"]


def test_another_order_is_told_from_other_rows(browser: Browser, folder: Path) -> None:
    browser.open(url(folder, "#/question/demo%2Fdev%2F0000"))
    assert browser.texts("tr.differs") == ["'Ann'← first difference", "'Cid'← first difference"]


def test_the_end_of_a_served_list_is_read_when_it_is_scrolled_to(browser: Browser, served: str) -> None:
    browser.open(served + "#/questions?source=demo")
    browser.run("scrollTo(0, 1e6)")
    browser.until(lambda: browser.all("#explorer-list li[data-index='129']"))
    assert "demo/train/0000" in browser.texts("#explorer-list li[data-index='129']")[0]


@pytest.mark.parametrize(
    "route",
    [
        *ROUTES[1:],
        "#/questions?verdict=mismatch",
        "#/questions?model=dpo&sample=greedy&verdict=match",
        "#/questions?text=singers&verdict=exec_error",
        "#/compare?show=none&page=1e300",
    ],
)
def test_the_served_page_shows_what_the_file_shows(browser: Browser, folder: Path, served: str, route: str) -> None:
    texts = []
    for page in (url(folder), served):
        browser.open(page + route)
        texts.append(browser.texts("#explorer-status, #explorer-list, #explorer-facets, #explorer-detail"))
    assert texts[0] == texts[1] and any(texts[0])
