"""What people see of a comparison, on the page and in the terminal."""

from dataclasses import replace

import pytest

from stages.diffing.changelog import item_of
from stages.diffing.comparison import Comparison, compare
from stages.diffing.flip_reasons import REASONS
from stages.diffing.formatting import STALE
from stages.diffing.page import page_of
from stages.diffing.terminal import MOST_SHOWN, text_of
from tests.diffing.world import keyed, version
from tests.pages.hostile import HOSTILE, parsed, texts_of


def comparison(text: str = "x") -> Comparison:
    """Two versions of which about everything differs, with `text` wherever a text can be."""
    texts = {"question_id": text, "error": text}
    old = version(
        text, {"exec_results": {"contract": text}}, {text: {"ex": 0.5, "ex_low": 0.4, "ex_high": 0.6, text: 1}},
        pairs=keyed("pairs", text, chosen=f"{text} 1"),
        exec_results=keyed("exec_results", text, "b", verdict="match", sql=f"{text} 1", **texts),
        questions=keyed("questions", text, question=text, gold_sql=f"{text} 1"),
        gold=keyed("gold", text, verdict="ok", flags=""),
    )  # fmt: skip
    new = version(
        text, {"exec_results": {"contract": 2, text: text}},
        {text: {"ex": 0.625, "ex_low": 0.5, "ex_high": 0.75, text: 1234}},
        pairs=keyed("pairs", text, "added", chosen=f"{text} 2"),
        exec_results=keyed("exec_results", text, "b", verdict="exec_error", sql=f"{text} 2", **texts),
        questions=keyed("questions", text, question=text, gold_sql=f"{text} 2"),
        gold=keyed("gold", text, verdict="exec_error", flags=""), prompts=keyed("prompts", text),
    )  # fmt: skip
    return compare(old, replace(new, commit="0123456789", stale={text: [text]}))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_any_field_stays_text(text: str) -> None:
    page, harmless = page_of(comparison(text)), page_of(comparison("y" * len(text)))
    ours = {"del", "ins", "mark"}  # more or fewer of these, as a text has more or fewer words
    assert [element for element in parsed(page).elements if element[0] not in ours] == [
        element for element in parsed(harmless).elements if element[0] not in ours
    ]
    assert not [link for link in parsed(page).links if not link.startswith("#")]
    assert not set(page) & {"\u2028", "\u202e"}
    assert texts_of(page, text) > 30


def test_the_page_shows_params_rows_labels_ex_and_metrics() -> None:
    page = page_of(comparison())
    for shown in (
        "<td>exec_results.contract</td><td>&#34;x&#34;</td><td>2</td>", "<td>exec_results.x</td><td>–</td>",
        "only in new", "chosen 1", "2 of 2 candidates in both have another verdict",
        '<td>match</td><td class="text">exec_error</td><td>2</td><td class="text">sql + gold</td>',
        REASONS["sql"], '<p><span class="label">sql</span> x <del>1</del> → x <ins>2</ins></p>', "50.0 (40.0–60.0)",
        "<td>1</td><td>1,234</td><td>+1,233</td>", "New: x (0123456).",
    ):  # fmt: skip
        assert shown in page, shown


def test_only_reasons_that_occur_are_explained() -> None:
    assert REASONS["sql"] in page_of(comparison()) and REASONS["code"] not in page_of(comparison())
    assert "  gold: " in text_of(comparison()) and "  code: " not in text_of(comparison())


def test_equal_versions_make_a_page_and_a_text_without_differences() -> None:
    same = version("v", pairs=keyed("pairs", "a"))
    page, text = page_of(compare(same, same)), text_of(compare(same, same))
    assert "The same." in page and "None differs." in page and "<article" not in page
    assert text.splitlines() == [
        "old  v", "new  v", "", "params: the same", "",
        "rows   old  new  added  removed  changed",
        "pairs    1    1      0        0        0", "",
        "labels: not known of both versions", "",
        "metrics: 0 of 0 differ",
    ]  # fmt: skip


def test_the_terminal_tells_how_many_metrics_it_leaves_out_and_the_page_has_all() -> None:
    names = [f"metric {number}" for number in range(MOST_SHOWN + 3)]
    sides = [version("v", metrics={"r.json": dict.fromkeys(names, number)}) for number in (1, 2)]
    differences = compare(*sides)
    assert f"metrics: {MOST_SHOWN + 3} of {MOST_SHOWN + 3} differ" in text_of(differences)
    assert "    and 3 more; --json and --html have all" in text_of(differences)
    assert all(f"<td>{name}</td>" in page_of(differences) for name in names)


def test_a_file_of_metrics_that_one_version_lacks_takes_one_line_in_the_terminal() -> None:
    text = text_of(compare(version(), version(metrics={"r.json": {"a": 1, "b": 2}})))
    assert text.endswith("metrics: 2 of 2 differ\n  r.json: only in new")


QUESTIONS = keyed("questions", "demo/train/0001", question="How many singers?", gold_sql="SELECT count(*) FROM singer")


def test_a_pair_is_shown_with_its_question_its_gold_and_what_differs_between_its_sides() -> None:
    pair = keyed("pairs", "f00d", question_id="demo/train/0001", chosen="SELECT a FROM t", rejected="SELECT b FROM t")
    empty = keyed("pairs").clear()
    page = page_of(compare(version(pairs=empty, questions=QUESTIONS), version(pairs=pair, questions=QUESTIONS)))
    article = page.partition("<article>")[2].partition("</article>")[0]
    assert '<span class="chip">added</span> demo/train/0001 · <code>f00d</code>' in article
    assert '<p dir="auto">How many singers?</p>' in article
    assert "<pre>SELECT <mark>a</mark> FROM t</pre>" in article and "<pre>SELECT <mark>b</mark> FROM t</pre>" in article
    assert '<p class="label">gold</p>\n<pre>SELECT count(*) FROM singer</pre>' in article


def test_a_null_is_no_text() -> None:
    old, new = (version(pairs=keyed("pairs", "a", chosen="NULL", witness=witness)) for witness in (None, "NULL"))
    page = page_of(compare(old, new))
    assert '<span class="label">witness</span> <span class="soft">NULL</span> → NULL</p>' in page


def test_a_long_value_is_cut_on_the_page_with_its_length() -> None:
    old, new = (version("v", pairs=keyed("pairs", "a", chosen=letter * 5000)) for letter in "xy")
    page = page_of(compare(old, new))
    assert "… 4,400 more characters …" in page and "x" * 5000 not in page


def test_stale_stages_are_shown_wherever_a_comparison_is() -> None:
    reasons = {"publish": ["pairs.neg_limit: 1 -> 2", "data/pairs.parquet", "models/dpo"], "a<b": ["c"]}
    differences = compare(version("v1"), replace(version("v`2"), stale=reasons))
    text = text_of(differences)
    assert f"stages of new that are {STALE}\n  publish  pairs.neg_limit: 1 -> 2, data/pairs.parquet and 1 more" in text
    assert "\n  a<b      c\n" in text and "stages of old" not in text
    page = page_of(differences)
    assert f"<p>Stages of new that are {STALE}:</p>" in page and "<li>a&lt;b: c</li>" in page
    assert "<li>publish: pairs.neg_limit: 1 -&gt; 2, data/pairs.parquet and 1 more</li>" in page
    assert item_of(differences).endswith(f"  - Stages of `v'2` that are {STALE}: `publish`, `a<b`.\n")
    assert differences.as_json()["stale"] == {"old": {}, "new": reasons}


def test_an_export_is_said_to_have_no_params_and_no_metrics() -> None:
    differences = compare(replace(version(params=None), metrics=None), version(metrics={"r.json": {"a": 1}}))
    assert differences.as_json()["params"] is differences.as_json()["metrics"] is None
    assert "params: not known of both" in text_of(differences) and "metrics: not known of both" in text_of(differences)
    assert page_of(differences).count("Not known of both: an export has none.") == 2
