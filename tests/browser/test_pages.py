"""The page of the gold audit and that of a comparison, in Chromium."""

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from stages.audit.report import page_of as gold_page_of
from stages.diffing.page import page_of as diff_page_of
from tests.audit.test_report import counts_of, tables
from tests.browser.chromium import Browser, Keys
from tests.diffing.test_page import comparison
from tests.pages.hostile import HOSTILE

pytestmark = pytest.mark.browser

FLAGS = ["empty,limit_tie", "question_in_train", "limit_tie"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`gold.html` and `diff.html`, and the same with all hostile texts in every field."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in (("", "x"), ("hostile_", " ".join(HOSTILE))):
        gold = gold_page_of(*tables(FLAGS, text=text), counts_of(text), {"sft": ["empty"], "pairs": []})
        (folder / f"{name}gold.html").write_text(gold, encoding="utf-8")
        (folder / f"{name}diff.html").write_text(diff_page_of(comparison(text)), encoding="utf-8")
    return folder


def shown(browser: Browser) -> list[str]:
    """The kinds of the findings that are not hidden."""
    return [element.get_attribute("data-kind") or "" for element in browser.all("article:not([hidden])")]


def test_findings_are_filtered_by_kind_set_and_text_with_keys_alone(browser: Browser, folder: Path) -> None:
    browser.open((folder / "gold.html").as_uri())
    assert shown(browser) == ["empty", "limit_tie", "limit_tie", "question_in_train"]
    browser.first("[name=kind]").send_keys("limit")
    assert shown(browser) == ["limit_tie", "limit_tie"]
    assert browser.texts("section:not([hidden]) h2") == ["limit_tie (2)"]
    browser.first("[name=text]").send_keys("TRAIN/0002 told", Keys.ENTER)
    assert shown(browser) == ["limit_tie"] and browser.texts("output") == ["1 of 4 shown"]
    browser.press(Keys.TAB, Keys.SPACE)
    browser.until(lambda: browser.texts("output") == ["4 of 4 shown"])
    browser.first("[name=set]").send_keys("b-dev")
    assert shown(browser) == ["question_in_train"]


def test_a_link_leads_to_a_question_that_the_filter_hides(browser: Browser, folder: Path) -> None:
    browser.open((folder / "gold.html").as_uri())
    browser.first("[name=text]").send_keys("nowhere")
    assert shown(browser) == []
    browser.go("#a%2Ftrain%2F0002")
    target = browser.driver.find_element(By.ID, "a/train/0002")
    assert target.is_displayed() and len(shown(browser)) == 4
    assert [element.id for element in browser.all(":target")] == [target.id]


def test_without_a_script_every_finding_is_shown_and_no_control(browser: Browser, folder: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get((folder / "gold.html").as_uri())
        assert all(article.is_displayed() for article in browser.all("article"))
        assert not browser.first("form.filters").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("name", ["gold", "diff"])
def test_hostile_text_does_nothing(browser: Browser, folder: Path, name: str) -> None:
    browser.console()
    browser.open((folder / f"hostile_{name}.html").as_uri())
    assert browser.console() == [] and not browser.all("img, iframe, [onfocus], [onerror]")
    assert len(browser.all("script")) == (name == "gold")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
@pytest.mark.parametrize("name", ["gold", "diff", "hostile_gold", "hostile_diff"])
def test_a_page_fits_and_axe_finds_nothing(browser: Browser, folder: Path, name: str, width: int, scheme: str) -> None:
    browser.console()
    browser.look(width, scheme=scheme)
    browser.open((folder / f"{name}.html").as_uri())
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    axe = Path(str(distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js")))
    browser.run(axe.read_text(encoding="utf-8"))
    violations = browser.run("return axe.run(document).then((result) => result.violations)")
    assert [(item["id"], item["nodes"][0]["html"][:200]) for item in violations] == []
    assert browser.console() == []
