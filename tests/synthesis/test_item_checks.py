from pathlib import Path

import pytest

from stages.execution.worker_pool import local
from stages.synthesis.item_checks import CHECKS, Verifier
from tests.execution.world import ENDLESS
from tests.synthesis.world import item, music, verifier

QUESTION = "How old is each singer?"
RIGHT, RIGHT_NAMES = "SELECT age FROM singer", "SELECT stage_name FROM singer"


@pytest.fixture
def checks(in_this_process: None, tmp_path: Path) -> Verifier:
    return verifier(tmp_path)


@pytest.mark.parametrize(
    ("question", "sql", "refusal", "passed"),
    [
        (QUESTION, RIGHT, "", "english,names,runs,no_empty,no_limit_tie"),
        ("¿Qué edad tiene cada cantante?", RIGHT, "not_english", ""),
        ("How old is 'Ada'?", RIGHT, "unused_name", "english"),
        ("What is the stage name of each singer?", RIGHT, "unused_name", "english"),
        (QUESTION, "SELECT years FROM singer", "exec_error", "english,names"),
        (QUESTION, "SELECT age FROM", "exec_error", "english,names"),
        (QUESTION, "SELECT age FROM singer\0", "exec_error", "english,names"),
        (QUESTION, "SELECT age FROM singer; SELECT 1", "exec_error", "english,names"),
        (QUESTION, f"SELECT {'(' * 3000}age{')' * 3000} FROM singer", "exec_error", "english,names"),
        (QUESTION, ENDLESS, "over_budget", "english,names"),
        (QUESTION, f"{RIGHT} WHERE age > 99", "empty", "english,names,runs"),
        (QUESTION, f"{RIGHT} ORDER BY age DESC LIMIT 1", "", "english,names,runs,no_empty,no_limit_tie"),
        (QUESTION, f"{RIGHT_NAMES} ORDER BY age DESC LIMIT 2", "limit_tie", "english,names,runs,no_empty"),
    ],
)  # fmt: skip
def test_an_item_gets_its_refusal_and_the_checks_that_it_passed(
    checks: Verifier, tmp_path: Path, question: str, sql: str, refusal: str, passed: str
) -> None:
    checked = item(music(tmp_path), question, sql)
    checks.check([checked])
    assert (checked.refusal, ",".join(checked.passed)) == (refusal, passed)
    assert bool(checked.problem) == bool(refusal)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM singer", "DROP TABLE singer", "UPDATE singer SET age = 1", "INSERT INTO album VALUES (9, 1, 'x')",
        "CREATE TABLE x (a)", "ATTACH 'stolen.sqlite' AS x", "VACUUM INTO 'stolen.sqlite'", "PRAGMA user_version = 5",
        "SELECT age FROM singer; DELETE FROM singer",
    ],
)  # fmt: skip
def test_sql_that_writes_fails_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    database = music(tmp_path)
    before = database.file.read_bytes()
    checked = item(database, QUESTION, sql)
    verifier(tmp_path).check([checked])
    assert checked.refusal == "exec_error"
    assert database.file.read_bytes() == before and [path.name for path in database.file.parent.iterdir()] == [
        database.file.name
    ]
    assert not (tmp_path / "stolen.sqlite").exists()


@pytest.mark.parametrize(
    ("votes", "agreeing", "refusal"),
    [
        ([RIGHT, RIGHT, RIGHT], 3, ""),
        ([RIGHT, "SELECT 1", "SELECT 2"], 1, ""),
        ([RIGHT, "SELECT 1", "SELECT 1"], 1, "outvoted"),
        ([RIGHT, RIGHT, "SELECT 1", "SELECT 1"], 2, ""),
        ([f"{RIGHT} ORDER BY age", "SELECT nothing", ""], 1, ""),
        (["SELECT nothing", "", "DELETE FROM singer"], 0, "outvoted"),
        (["SELECT 1", "SELECT 2", "SELECT 3"], 0, "outvoted"),
        ([RIGHT, ENDLESS, ENDLESS], 1, ""),
    ],
)
def test_an_item_is_accepted_unless_another_result_has_more_votes(
    checks: Verifier, tmp_path: Path, votes: list[str], agreeing: int, refusal: str
) -> None:
    voted = item(music(tmp_path), QUESTION, RIGHT)
    voted.votes = votes
    checks.count_votes([voted])
    assert (voted.agreeing, voted.refusal, voted.passed) == (agreeing, refusal, [] if refusal else ["votes"])


def test_without_votes_nothing_is_counted(checks: Verifier, tmp_path: Path) -> None:
    unvoted = item(music(tmp_path), QUESTION, RIGHT)
    checks.count_votes([unvoted])
    assert (unvoted.refusal, unvoted.passed) == ("", [])


def test_the_first_rows_are_those_that_people_read(checks: Verifier, tmp_path: Path) -> None:
    database = music(tmp_path)
    two_rows = "SELECT stage_name, age FROM singer WHERE singer_id < 3"
    items = [item(database, QUESTION, sql) for sql in (two_rows, "SELECT nothing", ENDLESS, "DELETE FROM singer")]
    assert checks.first_rows(items) == [["'Ada', 30", "'Bea', 40"], [], [], []]
    (shown,) = checks.first_rows([item(database, QUESTION, "SELECT printf('%1000d', 1) FROM singer, album")])
    assert [len(row) for row in shown] == [200] * 5


def test_workers_find_what_this_process_finds(tmp_path: Path, in_this_process: None) -> None:
    database = music(tmp_path)
    queries = [RIGHT, "DELETE FROM singer", f"{RIGHT} WHERE age > 99", "SELECT stage_name FROM singer LIMIT 2"]
    results = []
    for checks in (verifier(tmp_path / "here"), verifier(tmp_path / "workers", local(2))):
        items = [item(database, QUESTION, sql, number) for number, sql in enumerate(queries)]
        for each in items:
            each.votes = [RIGHT, "SELECT 1"]
        checks.check(items)
        checks.count_votes([each for each in items if not each.refusal])
        results.append([(each.refusal, each.problem, each.passed, each.agreeing) for each in items])
    assert results[0] == results[1]


def test_the_checks_have_the_names_that_an_item_lists(checks: Verifier, tmp_path: Path) -> None:
    checked = item(music(tmp_path), QUESTION, RIGHT)
    checked.votes = [RIGHT]
    checks.check([checked])
    checks.count_votes([checked])
    assert tuple(checked.passed) == CHECKS
