"""The explorer of the report in Chromium: filters, a question, a pair, two models; and nothing of the data runs."""

import base64
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest

from stages.core.display import visible
from tests.browser.chromium import Browser, Keys
from tests.browser.reading import Reading, rows_of
from tests.browser.world import HOSTILE, Row, Tables, large, page_with, small

pytestmark = pytest.mark.browser

WIDTHS, SCHEMES = (360, 800, 1400), ("light", "dark")
VIEWS = {
    "report": "#report",
    "list": "#/questions",
    "filtered": "#/questions?flag=pair&verdict=mismatch",
    "nothing": "#/questions?text=nowhere",
    "question": "#/question/demo%2F0001?at=2",
    "pair": "#/question/demo%2F0006",
    "unknown": "#/question/none",
    "compare": "#/compare?a=sft%2Fstrong&b=dpo&show=all",
}
HOSTILE_VIEWS = [
    "#/questions?text=hostile",
    "#/compare?a=dpo&show=all&" + urlencode({"b": HOSTILE[0]}).replace("+", "%20"),
]


@dataclass
class World:
    meta: Row
    tables: Tables
    url: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return _written(tmp_path_factory.mktemp("small") / "index.html", *small())


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return _written(tmp_path_factory.mktemp("large") / "index.html", *large())


def _written(path: Path, meta: Row, tables: Tables) -> World:
    path.write_text(page_with(meta, tables), encoding="utf-8")
    return World(meta, tables, path.as_uri())


def _address(filters: dict[str, str]) -> str:
    return "#/questions?" + urlencode(filters).replace("+", "%20")


def _status_is(browser: Browser, text: str) -> bool:
    return browser.texts("#explorer-status") == [text]


def _total(browser: Browser) -> int:
    return int(browser.texts("#explorer-status")[0].split(" of ")[0].replace(",", ""))


# The address


def test_without_a_route_the_page_shows_the_report_alone(browser: Browser, world: World) -> None:
    browser.open(world.url)
    assert browser.first("#report").is_displayed() and not browser.first("#explorer").is_displayed()


def test_a_route_shows_the_explorer_alone(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    assert browser.first("#explorer").is_displayed() and not browser.first("#report").is_displayed()


def test_an_anchor_of_the_report_leads_out_of_the_explorer(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    browser.go("#funnel")
    assert browser.first("#funnel").is_displayed() and not browser.first("#explorer").is_displayed()


def test_back_undoes_a_filter(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    browser.go("#/questions?split=dev")
    browser.driver.back()
    browser.until(lambda: _total(browser) == world.meta["questions"])
    assert browser.first("select[name=split]").get_property("value") == ""


def test_back_from_a_question_returns_to_its_place_in_the_list(browser: Browser, large_world: World) -> None:
    browser.open(large_world.url + "#/questions")
    browser.run("scrollTo(0, 200000)")
    browser.frame()
    index = browser.run(
        "return [...document.querySelectorAll('#explorer-list li')]"
        ".find((row) => row.getBoundingClientRect().top > 100).dataset.index"
    )
    browser.first(f"#explorer-list li[data-index='{index}'] a").click()
    browser.until(lambda: browser.route().startswith("#/question/"))
    browser.settle()
    browser.driver.back()
    browser.until(lambda: browser.first("#explorer-list").is_displayed())
    browser.settle()
    assert abs(browser.run("return scrollY") - 200_000) < 400
    assert browser.run("return document.activeElement.closest('li').dataset.index") == index


@pytest.mark.parametrize("number", [0, 77, 231])
def test_a_link_leads_to_one_question(browser: Browser, world: World, number: int) -> None:
    question = Reading(world.tables).questions[number]
    browser.open(f"{world.url}#/question/{urlencode({'': question['question_id']}).replace('+', '%20')[1:]}")
    assert browser.texts("h1#explorer-title") == [visible(question["question"])]


def test_a_link_to_no_question_says_so(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/question/none%ff")
    assert browser.texts("#explorer-title") == ["No such question"]


@pytest.mark.parametrize(
    "route", ["#/toString", "#/__proto__/constructor", "#/", "#/questions?show=toString&__proto__=1"]
)
def test_an_address_of_no_view_shows_the_list(browser: Browser, world: World, route: str) -> None:
    browser.open(world.url + route)
    assert _total(browser) == world.meta["questions"]


def test_the_link_past_the_navigation_keeps_the_view(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions?split=dev")
    browser.run("document.querySelector('a.skip').focus()")
    browser.press(Keys.ENTER)
    assert browser.route() == "#/questions?split=dev"
    assert browser.run("return document.activeElement.id") == "main"


def test_previous_and_next_stay_in_the_filter(browser: Browser, world: World) -> None:
    ids = [question["question_id"] for question in Reading(world.tables).matching({"flag": "pair"})]
    browser.open(world.url + "#/questions?flag=pair")
    browser.all("#explorer-list a")[1].click()
    for name, place in (("Next", 2), ("Next", 3), ("Previous", 2)):
        browser.settle()
        next(link for link in browser.all("nav.steps a") if name in link.text).click()
        browser.until(partial(_status_is, browser, ids[place]))
    assert "flag=pair" in browser.route()


# Filters


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"split": "dev"},
        {"source": "demo", "difficulty": "hard"},
        {"database": "world_1", "verdict": "match"},
        {"flag": "pair"},
        {"flag": "empty"},
        {"model": "candidates"},
        {"model": "dpo", "verdict": "mismatch"},
        {"model": "dpo", "verdict": "mismatch", "sample": "greedy"},
        {"sample": "greedy"},
        {"model": "candidates", "sample": "greedy"},
        {"verdict": "no_sql"},
        {"text": "OLDER than  17"},
        {"text": "demo/00 nobody"},
        {"split": "dev", "flag": "none"},
        {"model": "none"},
        {"verdict": "none"},
        {"database": "__proto__"},
        {"flag": "toString"},
        {"source": HOSTILE[0]},
        {"text": "limit", "model": "dpo"},
    ],
    ids=str,
)
def test_a_filter_keeps_the_questions_and_counts_that_a_plain_reading_gives(
    browser: Browser, world: World, filters: dict[str, str]
) -> None:
    reading = Reading(world.tables)
    browser.open(world.url + _address(filters))
    keys = browser.run(
        "return [...document.querySelectorAll('#explorer-facets a')]"
        ".map((link) => [link.dataset.key, link.querySelector('.count').textContent])"
    )
    counts = {
        f"{name}={visible(value)}": str(count)
        for name, values in reading.facets(filters).items()
        for value, count in values.items()
    }
    assert _total(browser) == len(reading.matching(filters))
    assert {key: count for key, count in keys if count != "0"}.items() <= counts.items()
    assert all(key in dict(keys) for key in counts if key.startswith(("split=t", "source=d", "verdict=m")))


def test_a_choice_in_the_form_stands_in_the_address(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    browser.first("select[name=difficulty] option[value=hard]").click()
    browser.until(lambda: browser.route() == "#/questions?difficulty=hard")
    browser.settle()
    assert _total(browser) == len(Reading(world.tables).matching({"difficulty": "hard"}))


def test_typed_words_filter_and_stand_in_the_address(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    browser.first("input[name=text]").send_keys("older 22")
    browser.until(lambda: browser.route() == "#/questions?text=older%2022")
    browser.until(lambda: _total(browser) == len(Reading(world.tables).matching({"text": "older 22"})))
    assert browser.run("return document.activeElement.name") == "text"


def test_a_bar_filters_and_a_second_click_takes_it_back(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions")
    states = []
    for _ in range(2):
        browser.first("#explorer-facets a[data-key='verdict=mismatch']").click()
        browser.run("return new Promise((done) => setTimeout(done, 50))")
        browser.settle()
        bar = browser.first("#explorer-facets a[data-key='verdict=mismatch']")
        assert bar == browser.driver.switch_to.active_element
        states.append((browser.route(), bar.get_attribute("aria-current")))
    assert states == [("#/questions?verdict=mismatch", "true"), ("#/questions", None)]


def test_the_number_of_results_is_announced(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions?split=dev")
    assert browser.first("[role=status]").text == "77 of 242 questions"


def test_a_filter_of_the_demo_s_size_is_timed(
    browser: Browser, large_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.open(large_world.url + "#/questions")
    for filters in (
        {"split": "dev"},
        {"text": "kind 77 above"},
        {"text": "count name"},
        {"model": "dpo", "verdict": "match"},
        {},
    ):
        browser.go(_address(filters))
    times = browser.run(
        "return performance.getEntriesByType('measure').map((entry) => [entry.name, Math.round(entry.duration)])"
    )
    with capsys.disabled():
        print("\nmilliseconds:", times)


# The list


def test_the_list_holds_few_rows_wherever_it_is(browser: Browser, large_world: World) -> None:
    browser.look(1400, 4000)
    browser.open(large_world.url + "#/questions")
    for place in (0, 500_000, 1_000_000, 10_000_000):
        browser.run("scrollTo(0, arguments[0])", place)
        browser.frame()
        assert 20 < len(browser.all("#explorer-list li")) < 100


def test_keys_move_through_the_list(browser: Browser, large_world: World) -> None:
    browser.open(large_world.url + "#/questions")
    browser.run("document.querySelector('#explorer-list a').focus()")
    places = []
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.END, Keys.PAGE_UP, Keys.HOME, Keys.PAGE_DOWN):
        browser.press(key)
        browser.frame()
        places.append(int(browser.run("return document.activeElement.closest('li').dataset.index")))
    assert places[:4] == [1, 2, 1, 22_167] and places[4] < 22_167 and places[5] == 0 and places[6] > 1


def test_the_row_in_focus_stays_when_the_page_is_scrolled(browser: Browser, large_world: World) -> None:
    browser.open(large_world.url + "#/questions")
    browser.run("document.querySelector('#explorer-list a').focus(); scrollTo(0, 900000)")
    browser.until(
        lambda: (
            max(
                browser.run(
                    "return [...document.querySelectorAll('#explorer-list li')].map((row) => +row.dataset.index)"
                )
            )
            > 1_000
        )
    )
    assert browser.run("return document.activeElement.closest('li').dataset.index") == "0"


# A question, a pair, two models


def test_the_first_difference_is_marked_in_both_results(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/question/demo%2F0001")
    assert browser.texts("tr.differs") == ["'singer 2'2← missing in this query", "'far away'77← not in the gold"]


def test_outcomes_tell_who_gave_them_and_their_verdicts(browser: Browser, world: World) -> None:
    number = 6
    tables = {name: rows_of(table) for name, table in world.tables.items()}
    outcomes = [row for row in tables["outcomes"] if row["question"] == number]
    browser.open(world.url + "#/question/demo%2F0006")
    cards = browser.texts("#explorer-detail section:nth-of-type(2) article")
    assert len(cards) == len(outcomes)
    for place, outcome in enumerate(
        outcomes, next(i for i, row in enumerate(tables["outcomes"]) if row["question"] == number)
    ):
        samples = sum(row["outcome"] == place for row in tables["candidates"])
        assert any(
            outcome["sql"] in card and card.startswith(outcome["verdict"]) and f"{samples} sample" in card
            for card in cards
        )


def test_a_verdict_under_another_contract_is_shown_where_it_differs(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/question/demo%2F0006")
    assert [text for text in browser.texts(".answer") if text.startswith("under")] == ["under bird: mismatch"]


def test_a_pair_marks_the_tokens_that_differ(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/question/demo%2F0006")
    assert (browser.texts("ins"), browser.texts("del")) == (["DESC"], ["ASC LIMIT 0"])


def test_beside_no_sql_nothing_is_marked(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/compare?a=sft%2Fweak&b=dpo&show=all&text=demo%2F0004")
    assert browser.texts("article pre")[0] == "" and browser.texts("mark") == []


def test_a_pair_of_long_texts_without_a_common_token_is_shown_whole(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/question/long%2Funlike")
    assert [len(text.split()) for text in browser.texts("ins, del")] == [5_000, 5_000]


@pytest.mark.parametrize("show", ["", "won", "lost", "both_wrong", "both_right", "all"])
def test_two_models_are_compared_as_a_plain_reading_does(browser: Browser, world: World, show: str) -> None:
    groups = Reading(world.tables).compared("sft/strong", "dpo")
    names = {"": ["won", "lost"], "all": list(groups)}.get(show, [show])
    differing = sum(differs for name in names for _, differs in groups[name])
    browser.open(world.url + f"#/compare?a=sft%2Fstrong&b=dpo&show={show}")
    assert [int(text) for text in browser.texts(".counts .count")] == [len(group) for group in groups.values()]
    assert browser.texts("#explorer-status")[0].endswith(f"{differing} listed")
    assert len(browser.all("article")) == min(20, differing)


def test_a_choice_of_models_stands_in_the_address(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/compare?split=dev")
    browser.first("select[name=a] option[value='sft/weak']").click()
    browser.until(lambda: "a=sft%2Fweak" in browser.route() and "split=dev" in browser.route())


# What the data may hold


def test_nothing_of_the_data_runs(browser: Browser, world: World) -> None:
    reading = Reading(world.tables)
    hostile = [
        urlencode({"": row["question_id"]}).replace("+", "%20")[1:] for row in reading.matching({"text": "hostile"})
    ]
    assert len(hostile) == len(HOSTILE)
    browser.open(world.url)
    for route in (*HOSTILE_VIEWS, *(f"#/question/{name}" for name in hostile)):
        browser.go(route)
        browser.open_details()
        assert browser.run(
            "return [window.__pwned ?? null, document.querySelectorAll('script').length, document.images.length]"
        ) == [None, 3, 0]
        assert not browser.run("return [...document.links].some((link) => !link.getAttribute('href').startsWith('#'))")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_each_text_is_shown_as_python_shows_it_in_every_place(browser: Browser, world: World, text: str) -> None:
    number = HOSTILE.index(text)
    question = Reading(world.tables).matching({"text": "hostile"})[number]
    browser.open(f"{world.url}#/question/{urlencode({'': question['question_id']}).replace('+', '%20')[1:]}")
    shown = "\n".join(browser.texts("#explorer"))
    assert browser.texts("#explorer-title") == [visible(text)]
    assert shown.count(visible(text)) > 25 and shown == visible(shown)


def test_a_mark_that_turns_text_around_is_set_off(browser: Browser, world: World) -> None:
    browser.open(world.url + "#/questions?text=txt.exe")
    assert "\\u202e" in browser.texts("#explorer-list .control")


def test_a_damaged_page_says_so(browser: Browser, tmp_path: Path, world: World) -> None:
    page = page_with(world.meta, world.tables)
    (tmp_path / "index.html").write_text(re.sub(r'(id="tables">.{2000}).*?<', r"\1<", page), encoding="utf-8")
    browser.open((tmp_path / "index.html").as_uri() + "#/questions")
    assert browser.texts("#explorer-detail")[0].startswith("The data could not be read")


# Every view, size and colour


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(browser: Browser, world: World, width: int, scheme: str) -> None:
    browser.look(width, scheme=scheme)
    browser.open(world.url)
    findings = []
    for route in (*VIEWS.values(), HOSTILE_VIEWS[0]):
        browser.go(route)
        browser.open_details()
        findings += [(route, *finding) for finding in browser.axe()]
    assert findings == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_view_scrolls_sideways(browser: Browser, world: World, width: int) -> None:
    browser.look(width)
    browser.open(world.url)
    hostile = [
        f"#/question/{urlencode({'': row['question_id']}).replace('+', '%20')[1:]}"
        for row in Reading(world.tables).matching({"text": "hostile"})
    ]
    for route in (*VIEWS.values(), *HOSTILE_VIEWS, *hostile):
        browser.go(route)
        browser.open_details()
        assert browser.run("return document.documentElement.scrollWidth") <= width, route


@pytest.mark.parametrize("route", ["#/questions", "#/question/demo%2F0006", "#/compare?show=all"])
def test_a_view_prints_on_few_pages(browser: Browser, large_world: World, route: str) -> None:
    browser.open(large_world.url + route)
    printed = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) < 15


def test_nothing_moves_for_who_wants_no_motion(browser: Browser, world: World) -> None:
    browser.look(1400, motion="reduce")
    browser.open(world.url + "#/questions")
    durations = (
        "return [...document.querySelectorAll('*')].map((element) => getComputedStyle(element).transitionDuration)"
    )
    assert set(browser.run(durations)) == {"0s"}
