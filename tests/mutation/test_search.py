"""What the search finds: mistakes are parted from their golds, and other ways to write a gold are not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.cache.result_cache import Cache
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.execution.worker_pool import local
from stages.mutation.findings import Question, Witness
from stages.mutation.search import Searcher
from stages.mutation.witnesses import find_witnesses
from tests import FIXTURES, ROOT
from tests.mutation.world import again, kinds, search, settings_of, write_database

FOLDER = FIXTURES / "mutation"
MISTAKES: list[dict[str, Any]] = json.loads((FOLDER / "mistakes.json").read_text(encoding="utf-8"))
REWRITINGS: list[dict[str, Any]] = json.loads((FOLDER / "rewritings.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("shop"), (FOLDER / "shop.sql").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", MISTAKES, ids=[case["mistake"] for case in MISTAKES])
def test_a_mistake_gets_a_witness(shop: Path, case: dict[str, Any]) -> None:
    findings = search(shop, case["gold"], case["candidate"], contract=case["contract"])
    assert kinds(findings) == [case.get("kind", "rows")]


@pytest.mark.parametrize("case", REWRITINGS, ids=[case["rewriting"] for case in REWRITINGS])
def test_another_way_to_write_the_gold_survives(shop: Path, case: dict[str, Any]) -> None:
    findings = search(shop, case["gold"], case["candidate"], contract=case["contract"])
    assert kinds(findings) == ["survived"]


@pytest.mark.parametrize("contract", CONTRACT_NAMES)
def test_no_gold_has_a_witness_against_itself(shop: Path, contract: Contract) -> None:
    searcher = Searcher(settings_of(contract))
    for gold in sorted({case["gold"] for case in (*MISTAKES, *REWRITINGS)}):
        findings = searcher(Question(str(shop), gold, (again(gold), f"  {gold} ;")))
        assert kinds(findings) == ["survived" if findings.candidates[0].tried else "untested", "survived"]
        assert findings.candidates[1].tried == 0  # it is not executed


@pytest.mark.parametrize(
    ("gold", "steady"),
    [
        ("product ORDER BY category LIMIT 3", "product ORDER BY id LIMIT 3"),
        ("product ORDER BY stock LIMIT 3", "product ORDER BY stock IS NULL, stock, id LIMIT 3"),
        ("customer ORDER BY score LIMIT 3", "customer ORDER BY CAST(score AS INTEGER), id LIMIT 3"),
    ],
    ids=["a tie at the limit", "NULL in the order", "numbers as text in the order"],
)
def test_a_mutant_on_which_the_gold_is_unstable_is_void(shop: Path, gold: str, steady: str) -> None:
    unstable, stable = (search(shop, sql, again(sql)) for sql in (f"SELECT id FROM {gold}", f"SELECT id FROM {steady}"))
    assert unstable.void > 20 and stable.void == 0


def test_where_every_mutant_is_void_the_candidates_are_untested(shop: Path) -> None:
    findings = search(shop, "SELECT name FROM (SELECT name, 1 AS one FROM customer) ORDER BY one LIMIT 1", "SELECT 1")
    assert kinds(findings) == ["untested"] and (findings.kept, findings.void) == (0, 40) and findings.problem is None


def test_a_candidate_that_fails_everywhere_is_untested(shop: Path) -> None:
    gold = "SELECT id FROM customer WHERE age > 40"
    findings = search(shop, gold, "SELECT gone FROM customer", "SELECT id FROM customer")
    assert kinds(findings) == ["untested", "rows"]


def test_candidates_with_other_cases_of_a_literal_are_told_apart(shop: Path) -> None:
    gold = "SELECT id FROM customer WHERE city = 'Oslo'"
    texts = [gold, gold.replace("Oslo", "oslo"), gold.replace("Oslo", "OSLO"), gold.lower().replace("oslo", "Oslo")]
    assert kinds(search(shop, gold, *texts)) == ["survived", "rows", "rows", "survived"]


def test_candidates_of_equal_tokens_share_one_finding(shop: Path) -> None:
    gold, candidate = "SELECT id FROM customer WHERE age > 40", "SELECT id FROM customer WHERE age > 41"
    as_written, in_lower_case = search(shop, gold, candidate, candidate.lower().replace(" ", "\n") + ";").candidates
    assert as_written == in_lower_case and as_written.witness


def test_a_gold_that_the_parser_cannot_read_has_no_neighbours_and_its_candidates_are_tried(shop: Path) -> None:
    gold = "SELECT id FROM customer WHERE CAST(age AS UNSIGNED BIG INT) > 40"
    findings = search(shop, gold, "SELECT id FROM customer WHERE age >= 40", "SELECT id FROM customer WHERE age >= 41")
    assert kinds(findings) == ["rows", "survived"]
    assert findings.neighbours == 0 < findings.kept


def test_a_witness_says_which_mutant_what_was_changed_and_the_first_row_that_differs(shop: Path) -> None:
    gold, candidate = "SELECT id, city FROM customer WHERE age > 40", "SELECT id, city FROM customer WHERE age >= 40"
    (finding,) = search(shop, gold, candidate).candidates
    assert finding.witness is not None and finding.number and finding.tried >= finding.number
    witness = Witness(**finding.witness)
    assert witness.gold == "none" and witness.candidate.startswith("(") and witness.candidate_rows > witness.gold_rows
    assert witness.changes and all(change.startswith("customer: ") for change in witness.changes)


def test_mutants_are_kept_up_to_their_number_and_one_of_them_parts_each_candidate(shop: Path) -> None:
    conditions = "amount = 2 AND age > 30 AND city = 'Oslo'"
    gold = f"SELECT name FROM customer JOIN orders ON customer.id = customer_id WHERE {conditions}"
    candidates = [case["candidate"] for case in MISTAKES] + [again(gold)]
    few, many = (search(shop, gold, *candidates, mutants=mutants) for mutants in (1, 10))
    assert few.kept == 1 and many.kept > 1 and few.parted < many.parted <= many.neighbours
    assert {finding.number for finding in many.candidates if finding.witness} <= set(range(1, many.kept + 1))


QUESTIONS = [(case["gold"], (case["candidate"], case["gold"])) for case in (*MISTAKES, *REWRITINGS)]


def test_any_number_of_workers_with_and_without_cache_gives_the_same_findings(shop: Path, tmp_path: Path) -> None:
    questions = [Question(str(shop), gold, candidates) for gold, candidates in QUESTIONS]
    by_one_worker, by_two_workers, cached = (
        find_witnesses(questions, settings_of(), local(workers), Cache(folder))
        for workers, folder in ((1, tmp_path / "one"), (2, tmp_path / "two"), (1, tmp_path / "one"))
    )
    assert by_one_worker == by_two_workers == cached
    assert by_one_worker == list(map(Searcher(settings_of()), questions))


HASHING = """
import hashlib, sys
from pathlib import Path
from stages.mutation.changes import make_mutant
from stages.mutation.constants import constants_of
from stages.mutation.image import image_of
from stages.mutation.real_rows import read_real_rows
from stages.mutation.rules import mine
database = read_real_rows(Path(sys.argv[1]))
rules, constants = mine(database), constants_of(sys.argv[2:])
mutants = [make_mutant(database, rules, constants, 5, number, aimed) for number in range(30) for aimed in (False, True)]
print(hashlib.sha256(b"".join(image_of(database, mutant) for mutant in mutants)).hexdigest())
"""


@pytest.mark.parametrize("script", ["shop.sql", "league.sql"])
def test_the_bytes_of_mutants_do_not_depend_on_how_texts_are_hashed(tmp_path: Path, script: str) -> None:
    path = write_database(tmp_path, (FOLDER / script).read_text(encoding="utf-8"))
    command = [sys.executable, "-c", HASHING, str(path), *(gold for gold, _ in QUESTIONS)]
    environments = [{**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed} for seed in ("0", "1")]
    first, second = (subprocess.check_output(command, env=environment) for environment in environments)
    assert first == second


def test_another_seed_makes_other_mutants_of_the_same_kinds(shop: Path) -> None:
    gold, candidate = "SELECT id FROM customer WHERE age > 40", "SELECT id FROM customer WHERE age >= 40"
    question = Question(str(shop), gold, (candidate,))
    findings = [Searcher(settings_of(seed=seed))(question) for seed in (1, 1, 2)]
    assert findings[0] == findings[1] != findings[2]
    assert {kinds(each)[0] for each in findings} == {"rows"}
