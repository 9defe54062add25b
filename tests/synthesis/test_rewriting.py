"""`python -m stages.synthesize --repair`: real golds that fail, mended by a scripted endpoint."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import gold, synthesize
from stages.core.layout import RAW
from stages.corpora.rewrites import apply_rewrites
from tests import FIXTURES
from tests.fake_endpoint import Endpoint, Fault
from tests.fake_endpoint import endpoint as endpoint
from tests.real import REAL
from tests.workplace import EXECUTION, accept, put_rows, set_arguments, write_params

pytestmark = pytest.mark.realdata
CASES: list[dict[str, str]] = YAML(typ="safe").load(FIXTURES / "synthesis" / "bad_golds.yaml")
FOLDERS = {"document_management": REAL / "spider" / "database", "superhero": REAL / "bird" / "dev_databases"}
REWRITES = RAW / "rewrites.jsonl"


def params_of(**changed: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "source": "none", "endpoint": "endpoints/strong.yaml", "file": None, "items": 1, "questions_per_database": 1,
        "votes": 2, "repair_rounds": 2, "budget": {"requests": 100, "tokens": None, "cost": None},
        "step_budget": 50_000_000, "temperature": 0.0, "max_tokens": 500, "seed": 1, "demo": {"mistake_rate": 0.0},
    }  # fmt: skip
    return params | changed


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> Counter[tuple[str, str]]:
    """A working directory with the bad golds and an endpoint that repairs each at the second try, and votes rightly.
    How often it was asked, by question_id and kind."""
    monkeypatch.chdir(tmp_path)
    for db_id, folder in FOLDERS.items():
        shutil.copytree(folder / db_id, Path("data/databases") / db_id)
    names = ("question_id", "db_id", "question", "gold_sql")
    rest = {"source": "real", "split": "train", "evidence": "", "other_golds": "", "difficulty": "hard"}
    put_rows("questions", [{**rest, "origin": "human", **{name: case[name] for name in names}} for case in CASES])
    Path("models/endpoints").mkdir(parents=True)
    with Path("models/endpoints/strong.yaml").open("w") as file:
        settings = {"model": "strong", "version": "1", "api": "chat", "logprobs": False}
        YAML().dump({"endpoint": settings | {"input_price": None, "output_price": None}}, file)
    dropped: dict[str, list[str]] = {"drop_flags": []}
    budget = {"step_budget": 50_000_000}
    write_params(gold=budget, sft=dropped, pairs=dropped, synthesize=params_of(), execution=EXECUTION)
    set_arguments(monkeypatch, "gold", "--workers", "1", "--cache", "cache")
    gold.main()
    accept("gold")
    counts: Counter[tuple[str, str]] = Counter()

    def answer(body: dict[str, Any]) -> Fault:
        text = body["messages"][-1]["content"]
        case = next(case for case in CASES if case["question"] in text)
        kind = "repair" if "The problem:" in text else "vote"
        counts[case["question_id"], kind] += 1
        first = kind == "repair" and counts[case["question_id"], kind] == 1
        message = {"content": json.dumps({"sql": case["wrong" if first else "right"]})}
        response = {
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        }  # fmt: skip
        return 200, {}, json.dumps(response).encode()

    endpoint.refuse = answer
    return counts


def repair(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    RAW.mkdir(parents=True, exist_ok=True)
    set_arguments(monkeypatch, "synthesize", "--repair", str(REWRITES), "--workers", "1", "--cache", "cache")
    synthesize.main()
    return [json.loads(line) for line in REWRITES.read_text().splitlines()]


def test_known_bad_golds_are_mended_and_the_old_sql_is_kept(
    requests: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrites = repair(monkeypatch)
    assert {row["question_id"]: (row["old_sql"], row["gold_sql"]) for row in rewrites} == {
        case["question_id"]: (case["gold_sql"], case["right"]) for case in CASES
    }
    assert all(row["vote_share"] == 1.0 and row["model"] == "strong" for row in rewrites)
    assert all(requests[case["question_id"], "repair"] == 2 for case in CASES)


def test_a_second_run_asks_nothing(requests: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    first = repair(monkeypatch)
    asked = requests.total()
    assert repair(monkeypatch) == first and requests.total() == asked


def test_rewrites_become_golds_of_origin_rewrite(
    requests: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repair(monkeypatch)
    rows = [
        {"question_id": case["question_id"], "gold_sql": case["gold_sql"], "other_golds": "", "origin": "human"}
        for case in CASES
    ]
    assert apply_rewrites(rows, REWRITES) == {"applied": len(CASES), "without_question": 0}
    for row, case in zip(rows, CASES, strict=True):
        assert (row["gold_sql"], row["origin"]) == (case["right"], "rewrite")
        assert json.loads(row["other_golds"]) == {"before_rewrite": case["gold_sql"]}
