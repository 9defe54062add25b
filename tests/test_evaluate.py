import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import evaluate
from stages.errors import UserError
from stages.evaluate import EvaluateParams, csv, main, metrics_of
from stages.files import read_json
from stages.lm import sampling
from stages.lm.sampling import Decoding
from stages.sql.compare import CONTRACT_NAMES, Contract
from stages.sql.judge import Outcome
from stages.sql.verdicts import VERDICTS, Verdict
from tests.sql.world import make_database, write_dataset, write_prompts, write_questions

PARAMS: dict[str, Any] = {
    "test_sets": ["demo-train"], "contract": "strict", "n": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 6,
    "batch_size": 4, "seed": 5, "resamples": 500, "budget_floor": 1_000_000, "budget_factor": 50,
    "wall_seconds": 20.0, "memory_mb": 512, "max_rows": 10_000, "result_mb": 20,
}  # fmt: skip
GOLDS = ["SELECT name FROM singer", "SELECT absent FROM singer", "SELECT country FROM singer", "SELECT age FROM singer"]


def params_of(**changed: Any) -> EvaluateParams:
    return EvaluateParams.model_validate(PARAMS | changed)


def outcome(verdict: Verdict, digest: str | None, but: dict[Contract, Verdict] | None = None) -> Outcome:
    """An outcome with this verdict under every contract `but` some."""
    verdicts = tuple((but or {}).get(name, verdict) for name in CONTRACT_NAMES)
    return Outcome(verdict, verdicts, None, None, 10, 1, digest)


RIGHT, WRONG, FAILED = outcome("match", "r"), outcome("mismatch", "w"), outcome("exec_error", None)
GREEDY = [
    RIGHT, outcome("mismatch", "w", but={"spider": "match", "bird": "match"}), FAILED,
    outcome("match", "r", but={"bird": "mismatch"}),
]  # fmt: skip
LEVELS = ["easy", "easy", "hard", "hard"]
SAMPLED = [
    [RIGHT, RIGHT, RIGHT, RIGHT],
    [WRONG, RIGHT, WRONG, FAILED],
    [FAILED, FAILED, FAILED, FAILED],
    [FAILED, RIGHT, RIGHT, WRONG],
]


def test_the_figures_are_those_computed_by_hand() -> None:
    made = metrics_of(LEVELS, GREEDY, SAMPLED, params_of())
    assert 0 <= made.pop("ex_low") < made["ex"] < made.pop("ex_high") <= 1
    assert made == {
        "questions": 4,
        "ex": 0.5,
        "ex_contract": {"spider": 0.75, "bird": 0.5, "strict": 0.5},
        "ex_difficulty": {"easy": 0.5, "hard": 0.5},
        "verdicts": {
            "match": 2, "mismatch": 1, "exec_error": 1, "over_budget": 0, "undecided": 0, "no_sql": 0, "gold_error": 0,
        },
        "pass_at": {"1": 0.4375, "2": 0.5833, "4": 0.75},  # of 4, 1, 0, 2 right samples: 1 - C(4-c, k) / C(4, k)
        "maj_at": {"1": 0.25, "2": 0.5, "4": 0.5},
    }  # fmt: skip
    assert list(made["verdicts"]) == list(VERDICTS)


@pytest.mark.parametrize(("greedy", "ex"), [(RIGHT, 1.0), (WRONG, 0.0)])
def test_where_all_are_alike_the_interval_is_a_point(greedy: Outcome, ex: float) -> None:
    made = metrics_of(LEVELS, [greedy] * 4, SAMPLED, params_of())
    assert (made["ex"], made["ex_low"], made["ex_high"]) == (ex, ex, ex)


@pytest.mark.parametrize(("n", "ks"), [(1, ["1"]), (3, ["1", "2"]), (4, ["1", "2", "4"]), (7, ["1", "2", "4"])])
def test_k_goes_over_the_powers_of_two_up_to_n(n: int, ks: list[str]) -> None:
    made = metrics_of(["easy"], [RIGHT], [[RIGHT] * n], params_of(n=n))
    assert list(made["pass_at"]) == list(made["maj_at"]) == ks


def test_a_csv_table_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(csv("k,pass_at_k", [(1, 0.5), (2, 0.75)]))
    assert pl.read_csv(tmp_path / "table.csv").rows() == [(1, 0.5), (2, 0.75)]


@pytest.fixture
def folder(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with a database, four questions of which one's gold fails, a model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    with Path("params.yaml").open("w") as file:
        YAML().dump({"evaluate": PARAMS}, file)
    make_database(tmp_path / "databases")
    write_questions(tmp_path, GOLDS)
    write_prompts(tmp_path)
    write_dataset(tmp_path, "gold", [
        {"question_id": f"demo/train/{number:04}", "verdict": "exec_error" if "absent" in sql else "ok", "flags": ""}
        for number, sql in enumerate(GOLDS)
    ])  # fmt: skip
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    monkeypatch.setattr(sys, "argv", [
        "evaluate", "--questions=questions.parquet", "--questions-receipt=questions.json", "--gold=gold.parquet",
        "--gold-receipt=gold.json", "--prompts=prompts.parquet", "--prompts-receipt=prompts.json",
        "--databases=databases", "--workers=1", "--model=model", "--test-set=demo-train", "--metrics=metrics.json",
        "--samples=samples.csv", "--difficulty=difficulty.csv",
    ])  # fmt: skip
    return tmp_path


def made() -> list[bytes]:
    return [Path(name).read_bytes() for name in ("metrics.json", "samples.csv", "difficulty.csv")]


def test_a_model_that_knows_nothing_is_right_nowhere_and_gives_the_same_bytes_twice(folder: Path) -> None:
    main()
    metrics = read_json(folder / "metrics.json")
    assert (metrics["questions"], metrics["dropped"], metrics["ex"]) == (3, {"gold_not_ok": 1}, 0.0)
    assert metrics["ex_difficulty"] == {"easy": 0.0, "hard": 0.0}
    first = made()
    main()
    assert made() == first


def answer_gold(questions: pl.DataFrame, model: Path, decodings: Sequence[Decoding], *_: Any) -> list[list[list[str]]]:
    """A model that gives the gold query greedily, and as its first sample; its other samples do not run."""
    return [[[sql, *["SELECT"] * (decoding.n - 1)] for sql in questions["gold_sql"]] for decoding in decodings]


def test_a_model_that_answers_with_the_gold_is_right_everywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "answer", answer_gold)
    main()
    metrics = read_json(folder / "metrics.json")
    assert (metrics["ex"], metrics["ex_low"], metrics["ex_high"]) == (1.0, 1.0, 1.0)
    assert metrics["ex_contract"] == {"spider": 1.0, "bird": 1.0, "strict": 1.0}
    assert pl.read_csv("samples.csv").rows() == [(1, 0.25, 1.0), (2, 0.5, 1.0), (4, 1.0, 1.0)]
    assert pl.read_csv("difficulty.csv").rows() == [("easy", 1.0), ("hard", 1.0)]


def test_a_stopped_run_goes_on_with_what_it_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    whole = made()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(evaluate, "metrics_of", stop)
        main()
    assert list(folder.glob("metrics.json.partial/0/*.json"))
    with monkeypatch.context() as patched:
        patched.setattr(sampling, "sample_batch", stop)
        main()
    assert made() == whole
    assert not (folder / "metrics.json.partial").exists()


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_answers_come_back_in_the_order_of_the_questions_whatever_the_batches(folder: Path) -> None:
    questions = pl.DataFrame({
        "question_id": ["a", "b", "c"], "prompt": ["singer(name)\nquestion: Which?\nsql:\n", "x?", "y? y?"],
    })  # fmt: skip
    together, alone = (
        evaluate.answer(questions, folder / "model", params_of().decodings(), size, folder / str(size))
        for size in (3, 1)
    )
    assert together == alone
    assert [[len(row) for row in rows] for rows in together] == [[1, 1, 1], [4, 4, 4]]


def test_a_test_set_is_the_questions_of_one_source_and_split(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_questions("0003", source="other", split="dev")
    write_prompts(folder)
    monkeypatch.setattr(evaluate, "answer", answer_gold)
    main()
    assert read_json(folder / "metrics.json")["questions"] == 2
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=other-dev"])
    main()
    assert read_json(folder / "metrics.json")["questions"] == 1


def change_questions(number: str, **changed: str) -> None:
    rows = pl.read_parquet("questions.parquet").to_dicts()
    write_dataset(Path(), "questions", [
        row | (changed if row["question_id"].endswith(number) else {}) for row in rows
    ])  # fmt: skip


def test_a_test_set_that_is_not_there_names_those_that_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_questions("0003", source="other", split="dev")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=spider-dev"])
    with pytest.raises(UserError, match=r"no test set `spider-dev`; there are: demo-train, other-dev; correct it"):
        main()
    assert not (folder / "metrics.json").exists()


def test_a_test_set_without_a_usable_gold_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_questions("0001", source="other", split="dev")  # the one whose gold fails
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=other-dev"])
    with pytest.raises(UserError, match=r"questions.parquet has no question of test set `other-dev` with a usable"):
        main()


@pytest.mark.parametrize(
    ("test_sets", "message"), [([], "at least 1 item"), (["a-dev", "a-dev"], "name each test set once")]
)
def test_test_sets_are_named_once_and_are_not_none(test_sets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params_of(test_sets=test_sets)


def test_a_gold_that_changed_after_validation_is_refused(folder: Path) -> None:
    pl.read_parquet("gold.parquet").with_columns(verdict=pl.lit("ok")).write_parquet("gold.parquet")
    with pytest.raises(UserError, match=r"gold.parquet has changed since gold.json was written"):
        main()
