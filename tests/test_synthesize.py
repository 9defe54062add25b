"""The stage `synthesize`: what each source gives, what is reported, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages import synthesize
from stages.core.errors import UserError, run_stage
from stages.core.files import read_json
from stages.core.layout import DATABASES, RAW, SYNTHETIC_DATABASES
from stages.core.tables import read_any
from stages.corpora.rewrites import apply_rewrites
from stages.datasets.catalog import DATASETS
from stages.validate import orphans
from stages.validation.suites import failed_expectations, read_suite
from tests import ROOT
from tests.cached import records_in
from tests.execution.world import make_database
from tests.fake_endpoint import KEY, Endpoint
from tests.synthesis.world import ALBUMS, SINGERS, inline, work_here
from tests.workplace import EXECUTION, put_rows, set_arguments, write_params, write_questions

BUDGET = {"requests": None, "tokens": None, "cost": None}
SECTION = {
    "source": "endpoint", "endpoint": "endpoints/own.yaml", "file": None, "items": 6, "questions_per_database": 3,
    "votes": 2, "repair_rounds": 1, "budget": BUDGET, "step_budget": 10**6, "temperature": 0.8, "max_tokens": 200,
    "seed": 1, "demo": {"mistake_rate": 0.3},
}  # fmt: skip
DEMO = {
    "seed": 1, "domains": ["music", "bank"], "strong_domains": 1, "train_databases": 3, "dev_databases": 1,
    "test_databases": 1, "train_questions": 5, "dev_questions": 2, "test_questions": 2,
}  # fmt: skip
ENTRIES = [
    {
        "domain": "music", "schema": f"{SINGERS['create']}; {ALBUMS['create']}",
        "rows": {"singer": SINGERS["rows"], "album": ALBUMS["rows"]},
        "question": f"Which of the singers are older than {age} years?", "sql": sql.format(age),
    }
    for age, sql in (
        (20, "SELECT stage_name FROM singer WHERE age > {}"), (30, "SELECT stage_name FROM singer WHERE years > {}"),
        (45, "SELECT stage_name, country FROM singer WHERE age > {}"),
    )
]  # fmt: skip
"""A file whose second query fails."""
Stage = Callable[..., dict[str, Any]]


def set_up(**changed: Any) -> None:
    """Writes params.yaml and the file of the endpoint."""
    write_params(synthesize=SECTION | changed, execution=EXECUTION, corpus={"demo": DEMO})
    Path("models/endpoints").mkdir(parents=True, exist_ok=True)
    settings = {"model": "strong", "version": "1", "api": "chat", "logprobs": False}
    with Path("models/endpoints/own.yaml").open("w") as file:
        YAML().dump({"endpoint": settings | {"input_price": 2.0, "output_price": 8.0}}, file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with train questions for the style."""
    monkeypatch.chdir(tmp_path)
    make_database(DATABASES)
    write_questions([f"SELECT name FROM singer WHERE age > {number}" for number in range(4)])
    return tmp_path


@pytest.fixture
def stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Runs the stage, its workers in this process, and returns its report."""
    work_here(monkeypatch)
    monkeypatch.setattr(synthesize, "engine_of", lambda args: inline)

    def run(*flags: str, **changed: Any) -> dict[str, Any]:
        set_up(**changed)
        set_arguments(monkeypatch, "synthesize", *flags)
        synthesize.main()
        return dict(read_json(Path("reports/synthesize.json")))

    return run


@pytest.fixture
def strong(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """An endpoint that writes data: each database has a table of its own, every fourth query fails at first."""
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        content = json.dumps(text_of(body["messages"][-1]["content"], body["seed"]))
        choice = {"message": {"content": f"```json\n{content}\n```"}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 300, "completion_tokens": 40}}

    endpoint.respond = answer
    return endpoint


def text_of(prompt: str, seed: int) -> dict[str, Any]:
    if "Design a SQLite database" in prompt:
        create = f"CREATE TABLE visit{seed} (visit_id INTEGER PRIMARY KEY, points INTEGER)"
        rows = [[number, 10 * number] for number in range(1, 9)]
        return {"tables": [{"name": f"visit{seed}", "create": create, "rows": rows}]}
    if "Write one new question" in prompt:
        fails = seed % 4 == 0
        (table,) = re.findall(r"CREATE TABLE (visit\d+)", prompt)
        text = f"What is {seed}, and how many {table} have more than {seed % 70} points?"
        return {"question": text, "sql": query_of(table, text) + (" AND bad" if fails else "")}
    (table,) = re.findall(r"CREATE TABLE (visit\d+)", prompt)
    return {"sql": query_of(table, prompt)}


def query_of(table: str, text: str) -> str:
    number, points = re.findall(r"What is (\d+), and how many \w+ have more than (\d+) points", text)[-1]
    return f"SELECT {number}, count(*) FROM {table} WHERE points > {points}"


def outputs(folder: Path) -> dict[str, bytes]:
    """The dataset, its databases and the report."""
    paths = [Path("data/synthetic.parquet"), Path("reports/synthesize.json"), *SYNTHETIC_DATABASES.rglob("*.*")]
    return {path.as_posix(): path.read_bytes() for path in sorted(paths) if path.is_file()}


def rows() -> pl.DataFrame:
    return read_any(Path("data/synthetic.parquet"))


def errors_of(stage: Stage, **changed: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        stage(**changed)
    assert not Path("data/synthetic.parquet").exists() and not Path("reports/synthesize.json").exists()
    return list(caught.value.sentences)


def test_without_strong_data_the_dataset_is_empty_and_the_folder_there(stage: Stage) -> None:
    counts = {"in": 0, "out": 0, "dropped": {}, "repaired": 0}
    assert stage(source="none", endpoint=None, items=None) == {"source": "none"} | counts
    assert rows().is_empty() and rows().columns == list(DATASETS["synthetic"].columns)
    assert list(SYNTHETIC_DATABASES.iterdir()) == []


def test_an_endpoint_makes_so_many_items_as_are_wanted(
    stage: Stage, strong: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    report = stage()
    accepted = rows().filter(pl.col("refusal").is_null())
    assert (report["source"], report["ended_by"], report["out"], accepted.height) == ("endpoint", "items", 6, 6)
    assert report["in"] == rows().height == report["out"] + sum(report["dropped"].values())
    assert report["spent"]["requests"] == sum(report["requests"].values()) == len(strong.requests)
    assert report["spent"]["prompt_tokens"] == 300 * len(strong.requests)
    assert report["spent"]["cost"] == pytest.approx(len(strong.requests) * (300 * 2 + 40 * 8) / 1e6)
    assert report["repaired"] == accepted["first_sql"].count() > 0
    assert set(accepted["vote_share"]) == {1.0} and set(accepted["votes"]) == {2}
    assert set(rows()["model"]) == {"strong"} and "mistakes" not in report
    assert capsys.readouterr().out.startswith(f"synthesize: {report['in']} rows, {report['in'] - 6} refused (")


def test_the_report_has_every_field(stage: Stage, strong: Endpoint) -> None:
    assert list(stage()) == [
        "source", "ended_by", "in", "out", "dropped", "repaired", "no_item", "databases", "domains", "difficulties",
        "concepts", "requests", "spent",
    ]  # fmt: skip


def test_the_dataset_meets_its_suite(stage: Stage, strong: Endpoint) -> None:
    stage()
    suite = read_suite(ROOT / "schemas/synthetic.json")
    assert failed_expectations(rows(), suite, orphans(rows(), suite)) == []


def test_an_answer_that_is_blank_does_not_break_the_suite(stage: Stage, strong: Endpoint) -> None:
    plain = strong.respond
    assert plain
    blank = {"choices": [{"message": {"content": '{"question": " ", "sql": " "}'}, "finish_reason": "stop"}]}
    strong.respond = lambda path, body: (
        blank if body["seed"] % 3 == 0 and "Write one new" in body["messages"][-1]["content"] else plain(path, body)
    )
    report = stage()
    assert report["no_item"]["wrong_form"] > 0
    suite = read_suite(ROOT / "schemas/synthetic.json")
    assert failed_expectations(rows(), suite, orphans(rows(), suite)) == []


def test_only_databases_that_items_ask_are_kept(stage: Stage, strong: Endpoint) -> None:
    stage()
    assert {path.name for path in SYNTHETIC_DATABASES.iterdir()} == set(rows()["db_id"])
    assert not SYNTHETIC_DATABASES.with_name("synthetic_databases.partial").exists()


def test_a_question_shows_two_train_questions_for_the_style(stage: Stage, strong: Endpoint) -> None:
    stage()
    prompts = [body["messages"][-1]["content"] for body in strong.requests]
    shown = [prompt for prompt in prompts if "Write one new question" in prompt]
    assert shown and all(prompt.count("sql: SELECT name FROM singer") == 2 for prompt in shown)


def test_a_second_run_pays_nothing_and_writes_the_same_bytes(stage: Stage, strong: Endpoint, folder: Path) -> None:
    stage()
    first, paid = outputs(folder), len(strong.requests)
    stage()
    assert outputs(folder) == first and len(strong.requests) == paid


def test_workers_of_their_own_write_the_same_bytes(
    stage: Stage, strong: Endpoint, folder: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    stage()
    first = outputs(folder)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    for name, value in {"OPENAI_BASE_URL": f"{strong.address}/v1", "OPENAI_API_KEY": KEY, "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    for workers in ("1", "2"):
        cache = tmp_path_factory.mktemp("cache")
        set_arguments(monkeypatch, "synthesize", "--workers", workers, "--cache", str(cache))
        synthesize.main()
        assert outputs(folder) == first


def test_a_run_that_is_killed_half_way_goes_on_where_it_was(
    stage: Stage, strong: Endpoint, folder: Path, cache_folder: Path
) -> None:
    stage()
    whole, needed = outputs(folder), len(strong.requests)
    for path in cache_folder.iterdir():
        path.unlink()
    strong.requests.clear()
    strong.then = {needed // 2: (402, {}, b'{"error": {"message": "payment required"}}')}
    with pytest.raises(UserError, match="payment required"):
        stage()
    assert outputs(folder) == whole, "a run that fails leaves the last result as it is"
    strong.then = {}
    stage()
    assert len(strong.requests) == needed + 1 and outputs(folder) == whole


def test_other_checks_pay_for_nothing_twice(stage: Stage, strong: Endpoint) -> None:
    stage(votes=0, repair_rounds=0)
    seeds = [body["seed"] for body in strong.requests]
    stage(votes=1, repair_rounds=0, step_budget=5 * 10**6)
    stage(votes=2, repair_rounds=1)
    asked = [body["seed"] for body in strong.requests]
    assert asked[: len(seeds)] == seeds and len(set(asked)) == len(asked)


@pytest.mark.parametrize(("name", "limit"), [("requests", 9), ("tokens", 12_000), ("cost", 0.03)])
def test_a_budget_is_never_exceeded_and_named(stage: Stage, strong: Endpoint, name: str, limit: float) -> None:
    report = stage(budget=BUDGET | {name: limit}, items=500)
    spent = report["spent"] | {"tokens": report["spent"]["prompt_tokens"] + report["spent"]["completion_tokens"]}
    assert report["ended_by"] == name and 0 < spent[name] <= limit
    paid = len(strong.requests)
    assert stage(budget=BUDGET | {name: limit}, items=500) == report and len(strong.requests) == paid


def test_a_budget_of_nothing_gives_an_empty_dataset(stage: Stage, strong: Endpoint) -> None:
    report = stage(budget=BUDGET | {"requests": 0})
    assert (report["ended_by"], report["in"], report["out"], strong.requests) == ("requests", 0, 0, [])
    assert rows().is_empty()


def test_the_key_is_in_no_output_cache_or_log(
    stage: Stage, strong: Endpoint, folder: Path, cache_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strong.faults = [(500, {}, KEY.encode())]
    stage()
    files = [path for place in (folder, cache_folder) for path in place.rglob("*") if path.is_file()]
    assert records_in(cache_folder) and not [path for path in files if KEY.encode() in path.read_bytes()]
    output = capfd.readouterr()
    assert KEY not in output.out + output.err


@pytest.mark.parametrize(
    ("key", "sentence"),
    [(None, "OPENAI_API_KEY is not set"), ("sk-wrong-key-of-1234", "the endpoint refuses to be asked for `strong`")],
)
def test_a_missing_or_wrong_key_ends_with_a_sentence_and_status_2(
    stage: Stage, strong: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    key: str | None, sentence: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", key) if key else monkeypatch.delenv("OPENAI_API_KEY")
    strong.refuse = lambda body: (401, {}, json.dumps({"error": {"message": f"Incorrect API key: {key}"}}).encode())
    set_up()
    set_arguments(monkeypatch, "synthesize")
    with pytest.raises(SystemExit) as ended:
        run_stage(synthesize.main)
    output = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in output and "Traceback" not in output
    assert key is None or key not in output


def test_the_demo_reports_what_became_of_its_mistakes(stage: Stage) -> None:
    report = stage(source="demo", endpoint=None, items=20, votes=3)
    assert (report["out"], report["ended_by"], report["spent"]["cost"]) == (20, "items", 0.0)
    assert len(report["domains"]) == 1 and set(report["mistakes"]) > {"none"}
    assert sum(row["accepted"] + row["repaired"] for row in report["mistakes"].values()) == 20
    suite = read_suite(ROOT / "schemas/synthetic.json")
    assert failed_expectations(rows(), suite, orphans(rows(), suite)) == []


def test_the_demo_without_mistakes_refuses_nothing_for_a_mistake(stage: Stage, folder: Path) -> None:
    report = stage(source="demo", endpoint=None, items=10, demo={"mistake_rate": 0.0})
    assert list(report["mistakes"]) == ["none"] and report["repaired"] == 0
    first = outputs(folder)
    assert stage(source="demo", endpoint=None, items=10, demo={"mistake_rate": 0.0}) == report
    assert outputs(folder) == first


def test_the_demo_without_domains_of_its_own_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(source="demo", endpoint=None)
    set_arguments(monkeypatch, "synthesize")
    text = Path("params.yaml").read_text()
    for old, new in (("strong_domains: 1", "strong_domains: 0"), (text[text.index("  demo:\n    seed"):], "  demo:\n")):
        Path("params.yaml").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=r"corpus.demo"):
            synthesize.main()


def write_file(name: str = "mine") -> None:
    (RAW / name).mkdir(parents=True)
    (RAW / name / "data.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES))


def test_a_file_is_checked_without_a_model(stage: Stage) -> None:
    write_file()
    report = stage(source="file", file="mine", endpoint=None, items=None, votes=0, repair_rounds=0)
    assert (report["ended_by"], report["in"], report["out"], report["dropped"]) == ("file", 3, 2, {"exec_error": 1})
    assert "spent" not in report
    assert rows().select("item_id", "model", "model_version", "votes", "vote_share").row(0) == (
        "strong/file/000000", "file", "", 0, None,
    )  # fmt: skip


def test_a_file_is_repaired_by_an_endpoint(stage: Stage, strong: Endpoint) -> None:
    write_file()
    sql = "SELECT stage_name FROM singer WHERE age > 30"
    strong.respond = lambda path, body: {
        "choices": [{"message": {"content": json.dumps({"sql": sql})}, "finish_reason": "stop"}]
    }
    report = stage(source="file", file="mine", items=None, votes=0)
    assert (report["out"], report["repaired"], report["requests"]["repair_query"]) == (3, 1, 1)
    assert rows()["first_sql"].to_list() == [None, ENTRIES[1]["sql"], None]


def test_a_missing_file_is_told(stage: Stage) -> None:
    (sentence,) = errors_of(stage, source="file", file="mine", endpoint=None, votes=0, repair_rounds=0)
    assert sentence.startswith("data/raw/mine has neither data.jsonl nor data.json")


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        ({"source": "endpoint", "endpoint": None}, ["so give `endpoint`"]),
        ({"source": "file", "file": None}, ["so give `file`"]),
        ({"source": "file", "file": "mine", "endpoint": None}, ["the votes and repairs of a file ask an endpoint"]),
        ({"source": "demo", "items": None}, ["which has no end; give `items`"]),
        ({"source": "web"}, ["`synthesize.source` is 'web'"]),
        ({"file": "../mine"}, ["`synthesize.file` is '../mine'"]),
        ({"items": 0, "votes": -1}, ["`synthesize.items` is 0", "`synthesize.votes` is -1"]),
        ({"questions_per_database": 0}, ["`synthesize.questions_per_database` is 0"]),
        ({"budget": BUDGET | {"requests": -1}}, ["`synthesize.budget.requests` is -1"]),
        ({"budget": BUDGET | {"money": 1}}, ["`synthesize.budget.money` is not a param"]),
        ({"budget": {"requests": 1}}, ["`synthesize.budget.tokens` is missing", "`synthesize.budget.cost` is missing"]),
        ({"demo": {"mistake_rate": 2}}, ["`synthesize.demo.mistake_rate` is 2"]),
        ({"temperature": "warm"}, ["`synthesize.temperature` is 'warm'"]),
        ({"endpoint": "endpoints/none.yaml"}, ["models/endpoints/none.yaml"]),
    ],
)  # fmt: skip
def test_wrong_params_are_told(stage: Stage, strong: Endpoint, changed: dict[str, Any], sentences: list[str]) -> None:
    told = errors_of(stage, **changed)
    assert len(told) == len(sentences)
    assert all(part in sentence for part, sentence in zip(sentences, told, strict=True))
    assert strong.requests == []


def test_a_budget_of_cost_needs_prices(stage: Stage, strong: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(budget=BUDGET | {"cost": 1.0})
    path = Path("models/endpoints/own.yaml")
    path.write_text(path.read_text().replace("input_price: 2.0", "input_price: null"))
    set_arguments(monkeypatch, "synthesize")
    with pytest.raises(UserError, match=r"`synthesize.budget.cost` needs prices; give both in models/endpoints/own"):
        synthesize.main()
    assert strong.requests == []


def write_failing_golds() -> None:
    golds = ["SELECT names FROM singer", "SELECT name FROM singer ORDER BY age DESC LIMIT 2", "SELECT name FROM singer"]
    questions = write_questions(golds)
    known = [("exec_error", "no such column: names", "", ""), ("ok", None, "limit_tie", "a tie"), ("ok", None, "", "")]
    put_rows("gold", [
        {"question_id": question_id, "verdict": verdict, "error": error, "flags": flags, "findings": findings}
        for question_id, (verdict, error, flags, findings) in zip(questions["question_id"], known, strict=True)
    ])  # fmt: skip


def test_golds_that_fail_are_rewritten_for_the_corpus(
    stage: Stage, strong: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_failing_golds()
    sql = "SELECT name FROM singer WHERE age >= 40"
    strong.respond = lambda path, body: {
        "choices": [{"message": {"content": json.dumps({"sql": sql})}, "finish_reason": "stop"}]
    }
    set_up()
    set_arguments(monkeypatch, "synthesize", "--repair", "out/rewrites.jsonl")
    synthesize.main()
    written = [json.loads(line) for line in Path("out/rewrites.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in written] == ["demo/train/0000", "demo/train/0001"]
    assert {row["gold_sql"] for row in written} == {sql} and written[0]["vote_share"] == 1.0
    assert "no such column: names" in written[0]["problem"] and "a tie" in written[1]["problem"]
    shown = json.loads(capsys.readouterr().out)
    assert (shown["in"], shown["out"], shown["dropped"]) == (2, 2, {})
    questions = read_any(Path("data/questions.parquet")).with_columns(other_golds=pl.lit("")).to_dicts()
    assert apply_rewrites(questions, Path("out/rewrites.jsonl")) == {"applied": 2, "without_question": 0}
    assert not Path("data/synthetic.parquet").exists()


def test_a_repair_of_golds_needs_an_endpoint_and_rounds(stage: Stage) -> None:
    for changed in ({"source": "none", "endpoint": None}, {"repair_rounds": 0}):
        with pytest.raises(UserError, match=r"--repair asks an endpoint; give `synthesize.endpoint`"):
            stage("--repair", "rewrites.jsonl", **changed)
