import json
from html import unescape

import polars as pl

from stages.audit.report import MEANINGS, MOST_SHOWN, page_of, summary_of
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS
from stages.datasets.verdicts import GOLD_FLAGS, GOLD_VERDICTS

HOSTILE = "<script>alert('1')</script> \" onload=x & </pre> {{ 7 * 7 }}"
COUNTS = {
    "duplicates": {"compared": 2, "match": 2},
    "versions": {HOSTILE: {"compared": 8, "mismatch": 8}},
    "leakage": {"b-dev": {
        "questions": 5, "questions_in_train": 1, "databases": 3, "databases_in_train": 2, "golds_in_train": 4,
    }},
}  # fmt: skip


def tables(flags: list[str], verdicts: list[str] | None = None, text: str = "x") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Questions of the sets `a-train` and `b-dev` in turn, and their gold with these flags."""
    questions, gold = [], []
    for number, flag in enumerate(flags):
        source, split = ("a", "train") if number % 2 == 0 else ("b", "dev")
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
    questions, gold = tables(["empty,limit_tie", ""], ["ok", "exec_error"])
    page = page_of(questions, gold, COUNTS)
    for kind, evidence in (("empty", "told x"), ("limit_tie", "told x"), ("exec_error", "failed x")):
        assert f'<a href="#{kind}">' in page
        section = page.partition(f'<section id="{kind}">')[2].partition("</section>")[0]
        assert evidence in section and section.count("<article>") == 1
    assert '<section id="null_first">' not in page and 'href="#null_first"' not in page


def test_hostile_text_stays_text_and_nothing_comes_from_elsewhere() -> None:
    questions, gold = tables(["empty", ""], ["ok", "undecided"], HOSTILE)
    page = page_of(questions, gold, COUNTS)
    assert "<script" not in page and "http" not in page and "src=" not in page
    assert page.count("<pre>") == page.count("</pre>") == 2
    assert unescape(page).count(HOSTILE) == 9  # four texts a finding, and the name of the version


def test_more_findings_than_are_shown_are_told_and_the_page_is_the_same_each_time() -> None:
    questions, gold = tables(["empty"] * (MOST_SHOWN + 1_234))
    page = page_of(questions, gold, COUNTS)
    assert page.count("<article>") == MOST_SHOWN
    assert "1,234 more are not shown here" in page
    assert page == page_of(questions, gold.reverse(), COUNTS)


def test_a_page_without_findings_can_be_made() -> None:
    page = page_of(*tables(["", ""]), {"duplicates": {"compared": 0}, "versions": {}, "leakage": {}})
    assert "<section" not in page and "Leakage" not in page and "Other golds" not in page
