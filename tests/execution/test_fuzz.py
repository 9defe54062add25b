"""Thousands of broken queries: each gets a verdict, and nothing else happens."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.datasets.verdicts import ERROR_CLASSES, VERDICTS
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Rules
from stages.execution.worker import Worker
from stages.execution.worker_pool import local
from tests import FIXTURES
from tests.execution.world import CROSS_JOIN, ENDLESS, LIMITS, make_database
from tests.real import REAL

QUERIES = (FIXTURES / "sql" / "queries.sql").read_text(encoding="utf-8").splitlines()
RULES = Rules("strict", Budget(floor=100_000, factor=10, gold=2_000_000), replace(LIMITS, wall_seconds=5), 100)
NUMBERS = ["0", "-1", "9223372036854775807", "9223372036854775808", "1e999", "0x7fffffffffffffff", "1.5", "99999999"]
CHARACTERS = "'\"`[](){};,.*=<>!|&%_?:@#$\\\0\n\t é😀\ud83dA0-/+~"
WORDS = ["SELECT", "FROM", "NULL", "DISTINCT", "JOIN", "UNION ALL", "(", ")", "*", "NOT", "LIMIT", "OVER", ";", "IN"]


def tokens_of(sql: str) -> list[str]:
    return re.findall(r"\w+|\s+|.", sql, re.DOTALL)


def mutated(sql: str, others: Sequence[str], chance: random.Random) -> str:
    """`sql` with one to four changes of a kind that models, and people who mean harm, make."""
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        tokens = tokens_of(sql)
        places = [place for place, token in enumerate(tokens) if not token.isspace()]
        if not places:
            return sql
        one, two = sorted(chance.choices(places, k=2))
        match chance.randrange(10):
            case 0:
                tokens[one], tokens[two] = tokens[two], tokens[one]
            case 1:
                del tokens[one : one + chance.randint(1, 3)]
            case 2:
                tokens[two:two] = tokens[one:two] * chance.randint(1, 3)
            case 3:
                other = tokens_of(chance.choice(others))
                tokens[one:] = other[chance.randrange(len(other)) :]
            case 4:
                tokens[one:two] = ["(", chance.choice(others), ")"]
            case 5:
                tokens.insert(one, "".join(chance.choices(CHARACTERS, k=chance.randint(1, 5))))
            case 6:
                tokens.insert(one, f" {chance.choice(WORDS)} ")
            case 7:
                tokens = [chance.choice("'\"`") if token in "'\"`" else token for token in tokens]
            case 8:
                tokens = [chance.choice(NUMBERS) if token.isdecimal() else token for token in tokens]
            case 9:
                tokens[one] = "".join(chance.sample(tokens[one], len(tokens[one])))
        sql = "".join(tokens)[:5_000]
    return sql


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def contents(items: Sequence[Item]) -> dict[Path, str]:
    """Every file beside the databases of `items`, with its hash."""
    folders = {Path(question.database).parent for question, _ in items}
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path: sha256(path.read_bytes()).hexdigest() for path in files}


def assert_only_verdicts(items: Sequence[Item]) -> None:
    judge(items[:1], RULES, local(2))  # what is opened once and for all is open now
    files, before = open_files(), contents(items)
    outcomes = judge(items, RULES, local(2))
    assert len(outcomes) == len(items)
    for outcome in outcomes:
        assert {outcome.verdict, *outcome.verdicts} <= set(VERDICTS)
        assert outcome.error_class is None or outcome.error_class in ERROR_CLASSES
        assert (outcome.error is None) == (outcome.verdict in ("match", "mismatch"))
    assert {outcome.verdict for outcome in outcomes} >= {"match", "mismatch", "exec_error"}  # not all is nonsense
    assert open_files() == files
    assert contents(items) == before


def test_a_thousand_mutated_queries_end_with_verdicts_only(tmp_path: Path) -> None:
    chance = random.Random(0)
    path = str(make_database(tmp_path))
    golds, others = chance.choices(QUERIES, k=1_000), [*QUERIES, ENDLESS, CROSS_JOIN]
    assert_only_verdicts([(GoldQuestion(path, gold), mutated(gold, others, chance)) for gold in golds])


@pytest.mark.realdata
def test_ten_thousand_mutated_real_predictions_end_with_verdicts_only() -> None:
    chance = random.Random(0)
    predictions: dict[GoldQuestion, list[str]] = {}
    for question, sql in real_predictions():
        predictions.setdefault(question, []).append(sql)
    items = []
    for question in chance.choices(list(predictions), k=10_000):
        others = predictions[question]
        items.append((question, mutated(chance.choice(others), others, chance)))
    assert_only_verdicts(items)


def real_predictions() -> Iterator[tuple[GoldQuestion, str]]:
    questions = json.loads((REAL / "spider" / "dev.json").read_text(encoding="utf-8"))
    for file in sorted((REAL / "predictions" / "spider_dev").glob("*.txt")):
        lines = file.read_text(encoding="utf-8").splitlines()
        for question, sql in zip(questions, lines, strict=False):
            path = REAL / "spider" / "database" / question["db_id"] / f"{question['db_id']}.sqlite"
            if path.exists() and sql.strip():
                yield GoldQuestion(str(path), question["query"]), sql


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_database(tmp_path_factory.mktemp("music")))


@cache
def worker(floor: int) -> Worker:
    return Worker(replace(RULES, budget=Budget(floor, factor=0, gold=2_000_000)))


@given(
    gold=st.sampled_from(QUERIES), other=st.sampled_from([*QUERIES, ENDLESS, CROSS_JOIN]), seed=st.integers(0, 10**6),
    way=st.sampled_from(["same", "wrapped", "other", "mutated"]),
    floor=st.sampled_from([0, 10, 20, 30, 50, 100, 300, 999, 1_001, 2_500]),
)  # fmt: skip
def test_a_smaller_budget_never_turns_a_match_into_a_mismatch_or_back(
    music: str, gold: str, other: str, seed: int, way: str, floor: int
) -> None:
    sql = {
        "same": f"{gold} ", "wrapped": f"SELECT * FROM ({gold})", "other": other,
        "mutated": mutated(gold, QUERIES, random.Random(seed)),
    }[way]  # fmt: skip
    item = (GoldQuestion(music, gold), sql)
    much = worker(100_000)(item).verdicts
    little = worker(floor)(item).verdicts
    for with_much, with_little in zip(much, little, strict=True):
        assert with_little in (with_much, "over_budget")
