import json
from collections.abc import Sequence

import polars as pl
import pytest

from stages.audit.report import LEAKAGE_FLAGS, MEANINGS, MOST_SHOWN, page_of, summary_of
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS
from stages.datasets.verdicts import GOLD_FLAGS, GOLD_VERDICTS, GoldFlag
from stages.sft import UNUSABLE
from tests.pages.hostile import HOSTILE, parsed, texts_of

NO_COUNTS: dict[str, object] = {"duplicates": {"compared": 0}, "versions": {}, "leakage": {}}


def counts_of(text: str = "x") -> dict[str, object]:
    leakage = {"questions": 5, "questions_in_train": 1, "databases": 3, "databases_in_train": 2, "golds_in_train": 4}
    return {
        "duplicates": {"compared": 2, "match": 2}, "versions": {text: {"compared": 8, "mismatch": 8}},
        "leakage": {text: leakage},
    }  # fmt: skip


def page(
    flags: list[str], verdicts: list[str] | None = None, sft: Sequence[GoldFlag] = (), pairs: Sequence[GoldFlag] = ()
) -> str:
    return page_of(*tables(flags, verdicts), counts_of(), {"sft": sft, "pairs": pairs})


def tables(flags: list[str], verdicts: list[str] | None = None, text: str = "x") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Questions of the sets `a-train` and `b-dev` in turn, and their gold with these flags."""
    questions, gold = [], []
    for number, flag in enumerate(flags):
        source, split = ("a", "train") if number % 2 == 0 else ("b", "dev")
        source = source if text == "x" else f"{source}{text}"
        name, verdict = f"{source}/{split}/{number:04}", verdicts[number] if verdicts else "ok"
        questions.append({
            "question_id": name, "source": source, "split": split, "db_id": text, "question": text, "gold_sql": text,
        })  # fmt: skip
        findings = json.dumps(dict.fromkeys(flag.split(","), f"told {text}")) if flag else ""
        error = None if verdict == "ok" else f"failed {text}"
        gold.append({"question_id": name, "verdict": verdict, "error": error, "flags": flag, "findings": findings})
    return pl.DataFrame(questions, schema=QUESTIONS.columns), pl.DataFrame(gold, schema=GOLD.columns)


def test_verdicts_and_flags_are_counted_in_all_and_for_each_set() -> None:
    questions, gold = tables(["empty,limit_tie", "empty", "", ""], ["ok", "ok", "exec_error", "ok"])
    summary = summary_of(questions, gold, 3)
    zeros = dict.fromkeys(GOLD_FLAGS, 0), dict.fromkeys(GOLD_VERDICTS, 0)
    assert summary == {
        "questions_in": 4, "rows_out": 4, "verdicts": zeros[1] | {"ok": 3, "exec_error": 1},
        "flags": zeros[0] | {"empty": 2, "limit_tie": 1}, "not_audited": 3,
        "sets": {
            "a-train": {
                "questions": 2, "verdicts": zeros[1] | {"ok": 1, "exec_error": 1},
                "flags": zeros[0] | {"empty": 1, "limit_tie": 1},
            },
            "b-dev": {"questions": 2, "verdicts": zeros[1] | {"ok": 2}, "flags": zeros[0] | {"empty": 1}},
        },
    }  # fmt: skip


def test_every_flag_and_every_bad_verdict_has_its_meaning_on_the_page() -> None:
    assert set(MEANINGS) == {*GOLD_FLAGS, *GOLD_VERDICTS} - {"ok"}


def test_each_finding_stands_under_its_kind_with_its_evidence() -> None:
    html = page(["empty,limit_tie", ""], ["ok", "exec_error"])
    for kind, evidence in (("empty", "told x"), ("limit_tie", "told x"), ("exec_error", "failed x")):
        assert f'<a href="#{kind}">' in html
        section = html.partition(f'<section id="{kind}">')[2].partition("</section>")[0]
        assert evidence in section and section.count("<article") == 1
    assert '<section id="null_first">' not in html and 'href="#null_first"' not in html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_any_field_stays_text(text: str) -> None:
    flags, verdicts = ["empty,limit_tie", "question_in_train", ""], ["ok", "ok", "undecided"]
    drop: dict[str, list[GoldFlag]] = {"sft": ["empty"], "pairs": []}
    hostile = page_of(*tables(flags, verdicts, text), counts_of(text), drop)
    harmless = page_of(*tables(flags, verdicts), counts_of(), drop)
    assert parsed(hostile).elements == parsed(harmless).elements
    assert {link.partition("#")[0] for link in parsed(hostile).links} <= {"", "index.html"}
    assert not set(hostile) & {"\u2028", "\u202e"}
    assert texts_of(hostile, text) >= 4 * 5  # four texts a finding, of which there are four; and the sets


def test_the_id_of_a_question_is_an_anchor_once_and_leads_to_the_explorer() -> None:
    html = page(["empty,limit_tie", "", "empty"])
    assert [html.count(f'id="a/train/000{number}"') for number in (0, 1, 2)] == [1, 0, 1]
    assert html.count('<a href="index.html#/question/a%2Ftrain%2F0000">a/train/0000</a>') == 2


def test_an_id_is_encoded_as_the_explorer_decodes_it() -> None:
    questions, gold = (frame.with_columns(question_id=pl.lit("ä b/(1)#?%")) for frame in tables(["empty"]))
    html = page_of(questions, gold, NO_COUNTS, {"sft": [], "pairs": []})
    assert 'href="index.html#/question/%C3%A4%20b%2F(1)%23%3F%25"' in html


def test_a_finding_can_be_filtered_by_what_the_controls_offer() -> None:
    html = page(["empty", "limit_tie"])
    assert '<article id="a/train/0000" data-kind="empty" data-set="a-train" data-database="x">' in html
    for values in (["empty", "limit_tie"], ["a-train", "b-dev"], ["x"]):
        options = "".join(f'<option value="{value}">{value}</option>' for value in values)
        assert f'<option value="">all</option>{options}</select>' in html
    assert '<form class="filters" role="search" aria-label="Findings" hidden>' in html  # shown by the script alone


def fates(html: str) -> dict[str, str]:
    """Kind of finding to what its row in the overview says of train questions."""
    rows = html.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[2:]
    return dict(zip(MEANINGS, (row.rpartition("</span>")[0].rpartition(">")[2] for row in rows), strict=True))


def test_each_kind_says_whether_its_train_questions_train() -> None:
    shown = fates(page([""], sft=["empty", "limit_tie"], pairs=["limit_tie", "null_first"]))
    assert shown == dict.fromkeys(MEANINGS, "trains") | {
        "empty": "left out of sft", "limit_tie": "left out of sft and pairs", "null_first": "left out of pairs",
        **dict.fromkeys(UNUSABLE, "left out of sft and pairs"), **dict.fromkeys(LEAKAGE_FLAGS, "in test sets only"),
    }  # fmt: skip


def test_a_question_says_what_all_its_flags_and_its_verdict_do() -> None:
    html = page(["empty,limit_tie", "empty", "empty", "", ""], ["ok"] * 4 + ["undecided"], sft=["limit_tie"])
    articles = [article.partition("</p>")[0] for article in html.split("<article ")[1:]]
    chips = [article.rpartition("</span>")[0].rpartition(">")[2] for article in articles]
    assert chips == ["left out of sft and pairs", "left out of sft", "trains", "test set", "left out of sft"]


def test_more_findings_than_are_shown_are_told_and_the_page_is_the_same_each_time() -> None:
    questions, gold = tables(["empty"] * (MOST_SHOWN + 1_234))
    drop: dict[str, list[GoldFlag]] = {"sft": [], "pairs": []}
    html = page_of(questions, gold, counts_of(), drop)
    assert html.count("<article ") == MOST_SHOWN
    assert "1,234 more are not shown here" in html
    assert html == page_of(questions, gold.reverse(), counts_of(), drop)


def test_a_page_without_findings_can_be_made() -> None:
    html = page_of(*tables(["", ""]), NO_COUNTS, {"sft": [], "pairs": []})
    assert not any(part in html for part in ("<section", "<form", "Leakage", "Other golds"))
