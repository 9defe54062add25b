import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages import score
from stages.core.errors import UserError
from stages.execution.records import Item, Outcome
from stages.execution.worker_pool import Executor, Job, local
from tests import FIXTURES, ROOT
from tests.cached import records_in
from tests.execution.world import ENDLESS, counting, make_database
from tests.mutation.world import write_database
from tests.real import REAL

TEXTS = [
    ("SELECT name FROM singer", "SELECT s.name FROM singer AS s"),
    ("SELECT country FROM singer", "SELECT DISTINCT country FROM singer"),
    ("SELECT name FROM singer WHERE age > 45", "SELECT name FROM singer WHERE age > 35"),
    ("SELECT absent FROM singer", "SELECT name FROM singer"),
    ("SELECT age FROM singer", "SELECT agee FROM singer"),
    ("SELECT title FROM album", ENDLESS),
    ("SELECT count(*) FROM album", ""),
]
VERDICTS = ["match", "mismatch", "mismatch", "gold_error", "exec_error", "over_budget", "no_sql"]  # under strict
GOLDS, PREDICTIONS = [gold for gold, _ in TEXTS], [sql for _, sql in TEXTS]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: one database, and the texts above as Spider's authors would ship them."""
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "databases")
    write(GOLDS, PREDICTIONS)
    return tmp_path


def write(golds: Sequence[str], predictions: Sequence[str], db_ids: Sequence[str] = ("music",)) -> None:
    lines = [f"{gold}\t{db_ids[number % len(db_ids)]}\n" for number, gold in enumerate(golds)]
    Path("gold.sql").write_text("".join(lines))
    Path("predictions.txt").write_text("".join(f"{sql}\n" for sql in predictions))


def write_lines(path: str, rows: Sequence[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_set(rows: Sequence[tuple[int, str]]) -> None:
    """`set.jsonl`: several predictions a question."""
    write_lines("set.jsonl", [{"question_id": str(number), "sql": sql} for number, sql in rows])


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, Any]:
    """Scores with the usual flags before `flags`, and returns the metrics."""
    usual = ["--gold=gold.sql", "--predictions=predictions.txt", "--databases=databases", "--workers=1"]
    outputs = ["--json=metrics.json", "--per-item=items.jsonl", "--budget=100000"]
    monkeypatch.setattr(sys, "argv", ["score", *usual, *outputs, *flags])
    score.main()
    metrics: dict[str, Any] = json.loads(Path("metrics.json").read_text())
    return metrics


def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("items.jsonl").read_text().splitlines()]


def made() -> list[bytes]:
    return [Path(name).read_bytes() for name in ("metrics.json", "items.jsonl")]


def command(*flags: str) -> list[str]:
    usual = ["--gold=gold.sql", "--predictions=predictions.txt", "--databases=databases", "--workers=1"]
    return [sys.executable, "-m", "stages.score", *usual, *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each call of the engine had to execute."""
    counts: list[int] = []

    def engine_of(*_: object) -> Executor[Item, Outcome]:
        def counted(
            job: Job[Item, Outcome], tasks: Sequence[Item], chunks: list[list[int]]
        ) -> Iterator[dict[int, Outcome]]:
            counts.append(sum(map(len, chunks)))
            one: Executor[Item, Outcome] = local(1)
            return one(job, tasks, chunks)

        return counted

    monkeypatch.setattr(score, "engine_of", engine_of)
    return counts


def test_every_prediction_gets_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run(monkeypatch)
    assert [item["verdict"] for item in items()] == VERDICTS
    assert metrics["verdicts"] == {
        "match": 1, "mismatch": 2, "exec_error": 1, "over_budget": 1, "undecided": 0, "no_sql": 1, "gold_error": 1,
    }  # fmt: skip
    assert metrics["ex"] == {"spider": 0.2857, "bird": 0.2857, "strict": 0.1429}
    assert (metrics["contract"], metrics["budget"], metrics["questions"], metrics["left_out"]) == (
        "strict", 100_000, 7, 0,
    )  # fmt: skip
    assert metrics["flips"] == {"spider_bird": 0, "spider_strict": 1, "bird_strict": 1}


@pytest.mark.parametrize(("contract", "verdict"), [("spider", "match"), ("bird", "match"), ("strict", "mismatch")])
def test_the_contract_decides_the_verdicts(monkeypatch: pytest.MonkeyPatch, contract: str, verdict: str) -> None:
    metrics = run(monkeypatch, "--contract", contract)
    assert items()[1]["verdict"] == verdict
    assert metrics["verdicts"]["match"] == metrics["matches"][contract] == round(7 * metrics["ex"][contract])


def spider_json() -> None:
    rows = [{"db_id": "music", "query": gold, "question": "?"} for gold in GOLDS]
    Path("gold.json").write_text(json.dumps(rows))


def bird_json() -> None:
    rows = [{"question_id": 700 + number, "db_id": "music", "SQL": gold} for number, gold in enumerate(GOLDS)]
    Path("gold.json").write_text(json.dumps(rows))


def gold_jsonl() -> None:
    write_lines("gold.jsonl", [{"db_id": "music", "gold_sql": gold} for gold in GOLDS])


def gold_parquet() -> None:
    pl.DataFrame({"db_id": "music", "gold_sql": GOLDS}).write_parquet("gold.parquet")


GOLD_FORMATS: list[tuple[Callable[[], None], str]] = [
    (spider_json, "gold.json"), (bird_json, "gold.json"), (gold_jsonl, "gold.jsonl"), (gold_parquet, "gold.parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("write_gold", "path"), GOLD_FORMATS)
def test_each_format_of_gold_gives_the_same_metrics(
    monkeypatch: pytest.MonkeyPatch, write_gold: Callable[[], None], path: str
) -> None:
    run(monkeypatch)
    usual = made()
    write_gold()
    run(monkeypatch, "--gold", path)
    assert made() == usual


def with_db_ids() -> None:
    Path("given.txt").write_text("".join(f"{sql}\tmusic\n" for sql in PREDICTIONS))


def bird_predictions() -> None:
    rows = {str(number): f"{sql}\t----- bird -----\tmusic" for number, sql in enumerate(PREDICTIONS)}
    Path("given.json").write_text(json.dumps(rows))


def json_list() -> None:
    Path("given.json").write_text(json.dumps(PREDICTIONS))


def jsonl() -> None:
    rows = [{"index": number, "sql": sql} for number, sql in enumerate(PREDICTIONS)]
    write_lines("given.jsonl", rows[::-1])


def parquet() -> None:
    frame = pl.DataFrame({"question_id": map(str, range(7)), "sql": PREDICTIONS, "sample": 0, "model": "weak"})
    frame.reverse().write_parquet("given.parquet")


PREDICTION_FORMATS: list[tuple[Callable[[], None], str]] = [
    (with_db_ids, "given.txt"), (bird_predictions, "given.json"), (json_list, "given.json"), (jsonl, "given.jsonl"),
    (parquet, "given.parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("write_predictions", "path"), PREDICTION_FORMATS)
def test_each_format_of_predictions_gives_the_same_metrics(
    monkeypatch: pytest.MonkeyPatch, write_predictions: Callable[[], None], path: str
) -> None:
    run(monkeypatch)
    usual = made()
    write_predictions()
    run(monkeypatch, "--predictions", path)
    assert made() == usual


def test_the_difficulty_that_a_gold_file_gives_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"db_id": "music", "SQL": gold, "difficulty": ("simple", "challenging")[number % 2]}
        for number, gold in enumerate(GOLDS)
    ]
    Path("gold.json").write_text(json.dumps(rows))
    metrics = run(monkeypatch, "--gold=gold.json")
    assert metrics["ex_difficulty"] == {
        "simple": {"questions": 4, "spider": 0.25, "bird": 0.25, "strict": 0.25},
        "challenging": {"questions": 3, "spider": 0.3333, "bird": 0.3333, "strict": 0.0},
    }


def test_an_item_tells_what_happened_to_one_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    first, _, _, unknown, failed, over, none = items()
    assert list(first) == ["index", "db_id", "verdict", "error", "steps", "rows"]
    assert [item["index"] for item in items()] == list(range(7))
    assert (first["db_id"], first["error"], first["rows"]) == ("music", None, 4) and first["steps"] > 0
    assert "no such column: agee" in failed["error"] and failed["rows"] == 0
    assert over["steps"] > 100_000
    assert (none["steps"], none["rows"]) == (0, 0)
    assert (unknown["steps"], unknown["rows"]) == (None, None) and "no such column: absent" in unknown["error"]


def test_items_of_a_set_also_have_their_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS[:2], [])
    write_set([(0, GOLDS[0]), (1, "SELECT 1"), (0, "SELECT 2")])
    run(monkeypatch, "--predictions=set.jsonl")
    assert list(items()[0]) == ["index", "sample", "db_id", "verdict", "error", "steps", "rows"]
    assert [(item["index"], item["sample"]) for item in items()] == [(0, 0), (0, 1), (1, 0)]


def test_what_is_printed_are_the_figures_of_the_json_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "predictions.txt against gold.sql",
        "              easy    all",
        "questions        7      7",
        "EX spider    28.57  28.57  (0.00–71.43)",
        "EX bird      28.57  28.57  (0.00–71.43)",
        "EX strict    14.29  14.29  (0.00–42.86)",
        "verdicts of 7 predictions (strict): 1 match, 2 mismatch, 1 exec_error, 1 over_budget, 1 no_sql, 1 gold_error",
    ]


def test_a_larger_budget_lets_a_prediction_end(monkeypatch: pytest.MonkeyPatch) -> None:
    write([counting(2_000).replace("2000", "2000 /* gold */"), "SELECT 20000"], [counting(2_000), counting(20_000)])
    run(monkeypatch, "--budget=1000")
    assert [item["verdict"] for item in items()] == ["match", "over_budget"]  # the first may take 50 times its gold's
    run(monkeypatch, "--budget=1000000")
    assert [item["verdict"] for item in items()] == ["match", "match"]


def test_any_number_of_workers_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--soft-f1", "--cache=one", "--workers=1")
    one = made()
    run(monkeypatch, "--soft-f1", "--cache=four", "--workers=4")
    assert made() == one


def test_a_second_run_executes_nothing_and_writes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, executed: list[int]
) -> None:
    run(monkeypatch)
    first = made()
    run(monkeypatch)
    assert executed == [len(TEXTS)] and made() == first


def test_golds_are_audited_once_and_an_unstable_order_does_not_count(
    monkeypatch: pytest.MonkeyPatch, executed: list[int]
) -> None:
    golds = ["SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY name"]
    write(golds, ["SELECT name FROM singer ORDER BY age, name DESC"] * 2)
    for _ in range(2):
        run(monkeypatch)
        assert [item["verdict"] for item in items()] == ["match", "mismatch"]
    assert executed == [2, 2]  # the golds, then the predictions; nothing the second time


def test_a_deleted_cache_changes_no_byte(
    monkeypatch: pytest.MonkeyPatch, executed: list[int], cache_folder: Path
) -> None:
    run(monkeypatch)
    first = made()
    shutil.rmtree(cache_folder)
    run(monkeypatch)
    assert executed == [len(TEXTS)] * 2 and made() == first


def test_a_grown_set_executes_only_what_is_new(monkeypatch: pytest.MonkeyPatch, executed: list[int]) -> None:
    write(GOLDS[:2], [])
    samples = [(number, sql) for number in (0, 1) for sql in (GOLDS[number], "SELECT name, age FROM singer")]
    write_set(samples)
    run(monkeypatch, "--predictions=set.jsonl")
    write_set([*samples, (0, "SELECT age FROM singer"), (1, GOLDS[1]), (1, "SELECT age FROM singer")])
    run(monkeypatch, "--predictions=set.jsonl")
    assert executed == [4, 2]


def test_equal_predictions_of_a_question_are_executed_once(
    monkeypatch: pytest.MonkeyPatch, executed: list[int]
) -> None:
    write(GOLDS[:2], [])
    write_set([(0, "SELECT 1")] * 5 + [(1, "SELECT 1")] * 5)
    assert run(monkeypatch, "--predictions=set.jsonl")["predictions"] == 10
    assert executed == [2]


def test_pass_and_majority_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    write(["SELECT name FROM singer", "SELECT count(*) FROM album"], [])
    right, wrong = "SELECT name FROM singer WHERE 1", "SELECT age FROM singer"
    write_set([
        (0, right), (0, wrong), (0, "SELECT age FROM singer WHERE 1"),  # two texts, one wrong answer
        (1, "SELECT nope"), (1, "SELECT 3"), (1, "SELECT 4"),
    ])  # fmt: skip
    metrics = run(monkeypatch, "--predictions=set.jsonl")
    assert metrics["ex"]["strict"] == 0.3333
    assert metrics["pass_at"] == {"1": 0.3333, "2": 0.6667, "3": 1.0}
    assert metrics["maj_at"] == {"1": 0.5, "2": 0.5, "3": 0.0}  # the last: most say the ages; 3 came before 4


def test_a_suite_tells_apart_what_one_database_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    golds = ["SELECT name FROM singer WHERE age >= 40", "SELECT name FROM singer", "SELECT age FROM singer"]
    write(golds, ["SELECT name FROM singer WHERE age > 35", "SELECT singer.name FROM singer", "SELECT 1"])
    make_suite("same", "UPDATE singer SET name = 'x'")
    assert run(monkeypatch, "--suite=suite")["ts"] == 0.6667
    make_suite("other", "UPDATE singer SET age = 37 WHERE age = 30")
    metrics = run(monkeypatch, "--suite=suite")
    assert metrics["ts"] == 0.3333 and metrics["ex"]["strict"] == 0.6667


def test_what_macos_puts_beside_the_databases_of_a_suite_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS[:1], GOLDS[:1])
    make_suite("same", "UPDATE singer SET name = 'x'")
    Path("suite/music/._same.sqlite").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X")
    assert run(monkeypatch, "--suite=suite")["ts"] == 1
    Path("suite/music/same.sqlite").unlink()
    assert "suite/music/*.sqlite does not exist" in refusal(monkeypatch, "--suite=suite")[0]


def make_suite(name: str, change: str) -> None:
    path = Path("suite/music") / f"{name}.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("databases/music/music.sqlite", path)
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()


def accidents() -> None:
    """A prediction that means what its gold means, two that do so on one database alone, and one that fails."""
    emails = "email FROM customer WHERE email IS NOT NULL"
    golds = ["SELECT name FROM customer WHERE age > 35", "SELECT count(*) FROM customer", f"SELECT DISTINCT {emails}"]
    predictions = ["SELECT name FROM customer WHERE 35 < age", "SELECT 60", f"SELECT {emails}", "SELECT"]
    write([*golds, golds[1]], predictions, ["shop"])
    make_shop()


def make_shop() -> None:
    Path("databases/shop").mkdir(exist_ok=True)
    script = (FIXTURES / "mutation" / "shop.sql").read_text(encoding="utf-8")
    write_database(Path(), script).rename("databases/shop/shop.sqlite")


def test_ex_that_survives_counts_what_matches_also_on_counterexample_databases(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accidents()
    metrics = run(monkeypatch, "--counterexamples=8")
    assert metrics["ex"]["strict"] == 0.75 and metrics["ex_survived"] == 0.25
    assert "EX that survives (strict): 25.00" in capsys.readouterr().out.splitlines()
    assert "ex_survived" not in run(monkeypatch)


def test_an_item_tells_the_witness_of_a_match_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    accidents()
    run(monkeypatch, "--counterexamples=8")
    assert [item["verdict"] for item in items()] == ["match", "match", "match", "exec_error"]
    assert [item["witness"] is None for item in items()] == [True, False, False, True]
    witness = json.loads(items()[1]["witness"])
    assert witness["candidate"] == "(60)" != witness["gold"] and witness["changes"]
    run(monkeypatch)
    assert "witness" not in items()[0]


def test_the_contract_decides_what_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    accidents()
    for contract, share in (("spider", 0.5), ("bird", 0.5), ("strict", 0.25)):
        assert run(monkeypatch, "--counterexamples=8", "--contract", contract)["ex_survived"] == share


def test_each_sample_of_a_question_has_its_own_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    write(["SELECT count(*) FROM customer"], [], ["shop"])
    make_shop()
    write_set([(0, "SELECT 60"), (0, "SELECT count(id) FROM customer"), (0, "SELECT 60"), (0, "SELECT 5")])
    assert run(monkeypatch, "--predictions=set.jsonl", "--counterexamples=8")["ex_survived"] == 0.25
    assert [item["sample"] for item in items() if item["witness"]] == [0, 2]
    assert items()[0]["witness"] == items()[2]["witness"]


def test_counterexamples_are_the_same_with_any_number_of_workers_and_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, executed: list[int]
) -> None:
    accidents()
    run(monkeypatch, "--counterexamples=8")
    first = made()
    run(monkeypatch, "--counterexamples=8")
    assert executed == [4, 3] and made() == first  # the predictions, and the questions with a match


def test_counterexamples_of_no_match_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS[:1], ["SELECT age FROM singer"])
    assert run(monkeypatch, "--counterexamples=8")["ex_survived"] == 0
    assert items()[0]["witness"] is None


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many"])
def test_a_number_of_counterexamples_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, f"--counterexamples={value}")
    assert f"argument --counterexamples: '{value}' is not a whole number above 0" in capsys.readouterr().err


def test_soft_f1_counts_the_cells_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    golds = ["SELECT name, age FROM singer", "SELECT name FROM singer", "SELECT 1"]
    write(golds, ["SELECT name FROM singer", "SELECT name FROM singer", "SELECT nope"])
    assert run(monkeypatch, "--soft-f1")["soft_f1"] == 0.5556  # of each row of the first 1 of 2 cells: 2/3; 1; 0


def test_a_right_prediction_that_does_more_is_slower_and_a_wrong_one_counts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(["SELECT 300000"] * 2, [counting(300_000), "SELECT 1"])
    slow = run(monkeypatch, "--ves=2", "--budget=10000000")
    assert 0 < slow["ves"] < 0.1 and slow["r_ves"] == 0.25  # √(1/4) for the slowest, of two questions
    write([counting(300_000)] * 2, ["SELECT 300000", "SELECT 1"])
    fast = run(monkeypatch, "--ves=2", "--budget=10000000")
    assert fast["ves"] > 1 and fast["r_ves"] == 0.559  # √1.25 for the fastest


def refusal(monkeypatch: pytest.MonkeyPatch, *flags: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        run(monkeypatch, *flags)
    return list(caught.value.sentences)


def test_all_wrong_paths_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--gold=nope.sql", "--predictions=databases", "--databases=gold.sql", "--suite=predictions.txt"]
    assert refusal(monkeypatch, *flags) == [
        "--gold nope.sql is no file; give the path of one",
        "--predictions databases is no file; give the path of one",
        "--databases gold.sql is no folder; give the path of one",
        "--suite predictions.txt is no folder; give the path of one",
    ]


@pytest.mark.parametrize("flag", ["--json", "--per-item"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("databases", "it is there, and no file"), ("/dev/null", "it is there, and no file"),
        ("gold.sql", "it is the file of --gold"), ("databases/../predictions.txt", "it is the file of --predictions"),
        ("gold.sql/x.json", "Not a directory"), ("/proc/nope/x.json", "No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, executed: list[int], flag: str, path: str, reason: str
) -> None:
    if path.startswith("/") and not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    (sentence,) = refusal(monkeypatch, flag, path)
    assert sentence == f"{flag} {path} cannot be written: {reason}; give the path of another file"
    assert not executed


def test_one_file_for_both_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (sentence,) = refusal(monkeypatch, "--json=same", "--per-item=same")
    assert "--json same cannot be written: it is the file of --per-item" in sentence


def test_predictions_that_do_not_fit_the_gold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS, PREDICTIONS[:3])
    (sentence,) = refusal(monkeypatch)
    assert "predictions.txt has 3 lines, but there are 7 gold questions" in sentence


def test_missing_databases_are_all_named_and_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS, PREDICTIONS, db_ids=["music", "tour", "art"])
    fix = "put the database there, or leave its questions out with --allow-missing"
    assert refusal(monkeypatch) == [
        f"databases/art/art.sqlite does not exist (questions: 2); {fix}",
        f"databases/tour/tour.sqlite does not exist (questions: 2); {fix}",
    ]
    assert list(Path("databases").iterdir()) == [Path("databases/music")]


def test_questions_without_a_database_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(GOLDS, PREDICTIONS, db_ids=["music", "tour", "art"])
    metrics = run(monkeypatch, "--allow-missing")
    assert (metrics["questions"], metrics["left_out"]) == (3, 4)
    assert [item["index"] for item in items()] == [0, 3, 6]
    assert "left out, as there is no database: 4 questions (art 2, tour 2)" in capsys.readouterr().out


def test_no_question_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS, PREDICTIONS, db_ids=["tour", "art"])
    (sentence,) = refusal(monkeypatch, "--allow-missing")
    assert "--allow-missing leaves no question: databases has none of the databases" in sentence


def test_databases_are_found_in_several_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    make_database(Path("test_database"), "art")
    shutil.copytree("databases/music", "test_database/music")  # the same in both
    write(GOLDS, PREDICTIONS, ["music", "art"])
    metrics = run(monkeypatch, "--databases=test_database")
    assert (metrics["questions"], metrics["left_out"]) == (7, 0)
    assert [item["verdict"] for item in items()] == VERDICTS
    assert run(monkeypatch, "--databases", "databases", "test_database")["left_out"] == 0


def test_a_database_that_two_folders_have_differently_is_refused_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_database(Path("other"))
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM album").connection.commit()
    connection.close()
    (sentence,) = refusal(monkeypatch, "--databases=other")
    assert sentence.startswith(
        "the database `music` is another one in other/music/music.sqlite than in databases/music/music.sqlite; "
    )


def test_a_database_that_no_folder_has_is_missing_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other").mkdir()
    write(GOLDS, PREDICTIONS, ["music", "art"])
    (sentence,) = refusal(monkeypatch, "--databases=other")
    assert sentence.startswith("databases/art/art.sqlite or other/art/art.sqlite does not exist (questions: 3); put")


def test_predictions_in_fences_are_executed_with_them_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(GOLDS[:2], ["```sql SELECT name FROM singer ```", "SELECT country FROM singer"])
    metrics = run(monkeypatch)
    assert [item["verdict"] for item in items()] == ["exec_error", "match"]
    assert metrics["fenced"] == 1
    assert "\n1 of 2 predictions stand in code fences, which the official" in capsys.readouterr().out


def test_lines_that_spiders_evaluator_cuts_or_takes_whole_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(GOLDS[:3], ["SELECT name FROM singer\tWHERE 1 = 2\tmusic", "error", "SELECT name FROM singer\tmusic"])
    metrics = run(monkeypatch)
    assert [item["verdict"] for item in items()] == ["match", "exec_error", "mismatch"]
    assert (metrics["cut_at_tab"], metrics["without_db_id"], metrics["fenced"]) == (1, 1, 0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("1 of 3 predictions hold a tab that may be SQL: only what is before")
    assert lines[2].startswith("1 of 3 predictions have no db_id after them")


def test_files_that_are_no_databases_are_refused_with_those_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOLDS, PREDICTIONS, db_ids=["music", "tour"])
    make_suite("empty", "SELECT 1")
    Path("suite/music/empty.sqlite").write_bytes(b"")
    Path("suite/music/text.sqlite").write_text("This is a text. " * 50)
    sentences = refusal(monkeypatch, "--suite=suite")
    assert [sentence.split(" (")[0] for sentence in sentences] == [
        "suite/music/empty.sqlite is not an SQLite database",
        "suite/music/text.sqlite is not an SQLite database",
        "databases/tour/tour.sqlite does not exist",
        "suite/tour/*.sqlite does not exist",
    ]


def test_a_folder_that_cannot_be_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (sentence,) = refusal(monkeypatch, "--cache=gold.sql")
    assert "gold.sql/records.sqlite cannot be used" in sentence and "--cache" in sentence


def test_an_engine_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_ENGINE", "spark")
    (sentence,) = refusal(monkeypatch)
    assert sentence == "SENSE_ENGINE is `spark`; set it to local or ray"


def test_ray_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (sentence,) = refusal(monkeypatch, "--engine=ray")
    assert "--engine ray needs --ray-address (or RAY_ADDRESS)" in sentence


@pytest.mark.parametrize(("flag", "value"), [
    ("--ves", "0"), ("--ves", "1.5"), ("--budget", "x"), ("--budget", "-3"), ("--workers", "0"), ("--contract", "ours"),
])  # fmt: skip
def test_a_flag_with_a_nonsense_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, f"{flag}={value}")
    error = capsys.readouterr().err
    assert f"argument {flag}: " in error and repr(value) in error


def test_a_mistake_ends_the_process_with_status_2_and_without_a_traceback() -> None:
    ended = subprocess.run(command("--gold=nope.sql"), env=environment(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "error: --gold nope.sql is no file; give the path of one\n"
    assert ended.stdout == ""


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        command("--json=metrics.json"), env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path("metrics.json").exists()


@pytest.mark.usefixtures("heeded_interrupts")
def test_ctrl_c_ends_it_at_once_and_the_same_command_goes_on(cache_folder: Path) -> None:
    golds = [f"SELECT {number}" for number in range(60)]  # what has one gold comes back together
    write(golds, [counting(200_000 + number) for number in range(60)])
    flags = ["--budget=1000000000", "--json=metrics.json", "--per-item=items.jsonl"]
    process = subprocess.Popen(command(*flags), env=environment(), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not records_in(cache_folder):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.splitlines() == ["interrupted"]
    assert not Path("metrics.json").exists()
    first = len(records_in(cache_folder))
    assert 0 < first < 60
    subprocess.run(command(*flags), env=environment(), check=True, capture_output=True)
    resumed = made()
    assert len(records_in(cache_folder)) == 60
    subprocess.run(command(*flags, "--cache=other"), env=environment(), check=True, capture_output=True)
    assert made() == resumed


@pytest.mark.realdata
def test_a_real_system_on_spider_has_the_figures_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    system = REAL / "predictions" / "spider_dev" / "c3_chatgpt"
    metrics = run(
        monkeypatch, f"--gold={REAL}/spider/dev.json", f"--predictions={system}.txt", "--contract=spider",
        f"--databases={REAL}/spider/database", "--allow-missing", "--workers=2", "--budget=20000000",
    )  # fmt: skip
    assert (metrics["questions"], metrics["left_out"]) == (972, 62)
    assert metrics["ex"] == {"spider": 0.8282, "bird": 0.7912, "strict": 0.8076}
    assert metrics["ex_difficulty"] == {
        "easy": {"questions": 232, "spider": 0.9353, "bird": 0.9397, "strict": 0.9138},
        "medium": {"questions": 416, "spider": 0.8606, "bird": 0.7764, "strict": 0.8413},
        "hard": {"questions": 160, "spider": 0.8, "bird": 0.8187, "strict": 0.7812},
        "extra": {"questions": 164, "spider": 0.622, "bird": 0.5915, "strict": 0.5976},
    }
    assert metrics["matches"] == {"spider": 805, "bird": 769, "strict": 785}
    official = system.with_suffix(".official_exec").read_text().split()
    assert [str(int(item["verdict"] == "match")) for item in items()] == [flag for flag in official if flag != "-"]


@pytest.mark.realdata
def test_a_real_system_on_bird_has_the_flags_that_its_authors_published(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = REAL / "predictions" / "bird_superhero"
    system = folder / "artessay_base_openai_gpt_4o_vanillalinker"
    metrics = run(
        monkeypatch, f"--gold={folder}/gold_2023.sql", f"--predictions={system}.txt", "--contract=bird",
        f"--databases={REAL}/bird/dev_databases", "--workers=2", "--budget=20000000",
    )  # fmt: skip
    published = system.with_suffix(".published_exec").read_text().split()
    assert [str(int(item["verdict"] == "match")) for item in items()] == published
    assert metrics["matches"]["bird"] == 104 and metrics["ex"]["bird"] == 0.8062
