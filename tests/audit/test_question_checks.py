import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.audit.question_checks import AuditedQuestion, doubles, question_findings, words
from stages.datasets.verdicts import Verdict
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Outcome, Rules
from stages.execution.sandbox import Database
from stages.execution.worker_pool import local
from tests import FIXTURES
from tests.execution.world import LIMITS, make_database

CASE = json.loads((FIXTURES / "gold" / "questions.json").read_text(encoding="utf-8"))
RULES = Rules("strict", Budget(1_000_000, 1), LIMITS)
GOLD = GoldQuestion("music.sqlite", "SELECT 1", "ok", 9)
ONE = AuditedQuestion("a/train/0000", "a-train", "train", "music", "Which?", "", "", GOLD)


@pytest.fixture
def asked(tmp_path: Path) -> list[AuditedQuestion]:
    paths = {db_id: make_database(tmp_path, db_id) for db_id in ("music", "other")}
    made = []
    for number, (source, split, db_id, question, sql, others) in enumerate(CASE["rows"]):
        gold = Database(paths[db_id]).execute(sql, 1_000_000, LIMITS)
        judged = GoldQuestion(str(paths[db_id]), sql, gold.status, gold.steps)
        name, told = f"{source}/{split}/{number:04}", json.dumps(others) if others else ""
        made.append(AuditedQuestion(name, f"{source}-{split}", split, db_id, question, "", told, judged))
    return sorted(made, key=lambda one: one.question_id)


def test_the_same_words_with_another_evidence_are_another_question() -> None:
    other = replace(ONE, question_id="a/train/0001", judged=GoldQuestion("music.sqlite", "SELECT 2", "ok", 9))
    assert doubles([ONE, other]) == [[ONE, other]]
    assert doubles([ONE, replace(other, evidence="oldest means born first")]) == []


def test_doubles_versions_and_leaks_are_found_with_their_evidence_and_counted(asked: list[AuditedQuestion]) -> None:
    findings, counts = question_findings(asked, lambda items: judge(items, RULES, local(1)))
    assert {str(int(name[-4:])): found for name, found in findings.items() if found} == CASE["findings"]
    assert counts == CASE["counts"]


def outcomes(verdict: Verdict) -> Any:
    def judged(items: Sequence[Item]) -> list[Outcome]:
        return [Outcome(verdict, (verdict,) * 3, None, None, None, None, None) for _ in items]

    return judged


@pytest.mark.parametrize("verdict", ["undecided", "match"])
def test_what_a_safety_net_leaves_open_is_no_finding_and_is_counted(verdict: Verdict) -> None:
    double = replace(ONE, question_id="b", judged=replace(ONE.judged, gold_sql="SELECT 2"))
    findings, counts = question_findings([replace(ONE, other_golds='{"1": "SELECT 3"}'), double], outcomes(verdict))
    assert findings == {"a/train/0000": {}, "b": {}}
    assert counts["duplicates"] == {"compared": 1, verdict: 1}
    assert counts["versions"] == {"1": {"compared": 1, verdict: 1}}


def test_long_sql_in_evidence_is_cut_to_500_characters() -> None:
    others = json.dumps({"1": "SELECT " + "x" * 1000})
    findings, _ = question_findings([replace(ONE, other_golds=others)], outcomes("mismatch"))
    told = findings[ONE.question_id]["versions_disagree"].partition(": ")[2]
    assert len(told) == 500 and told.endswith("x…")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Who?", "who", True), (" Who  is\tit ?!", "who is it", True), ("Who's 1.5?", "who's 1.5.", True),
     ("Who?", "Whom?", False), ("1.5", "15", False), ("STRASSE", "straße", True)],
)  # fmt: skip
def test_questions_are_the_same_but_for_case_space_and_final_punctuation(one: str, other: str, same: bool) -> None:
    assert (words(one) == words(other)) is same


@given(st.text())
def test_the_words_of_words_are_the_same(question: str) -> None:
    assert words(f"  {question} ?") == words(question)
