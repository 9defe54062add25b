"""Figures of models that know everything or nothing, the flags of a person and of the stage, and resuming."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import evaluate
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.datasets.answers import ANSWERS
from stages.datasets.verdicts import VERDICTS, Verdict
from stages.evaluate import EvaluateParams, main, model_name
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.execution.records import Outcome
from stages.lm import completions as samples
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.sampling.transformers_engine import TransformersEngine
from stages.scoring.figure_tables import evaluation_table
from stages.scoring.figures import greedy_figures, sample_figures
from tests.execution.world import make_database
from tests.hub import hub_of
from tests.workplace import EXECUTION, put_rows, set_arguments, write_params, write_prompts, write_questions

PARAMS: dict[str, Any] = {
    "engine": "transformers",
    "contract": "strict", "n": 4, "sampled_questions": None, "temperature": 1.0, "top_p": 1.0, "max_tokens": 6,
    "batch_size": 4, "seed": 5, "resamples": 500, "budget_floor": 1_000_000, "budget_factor": 50,
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
    made = greedy_figures(LEVELS, GREEDY, 5, 500) | sample_figures(SAMPLED)
    assert 0 <= made.pop("ex_low") < made["ex"] < made.pop("ex_high") <= 1
    assert made == {
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
    made = greedy_figures(LEVELS, [greedy] * 4, 5, 500)
    assert (made["ex"], made["ex_low"], made["ex_high"]) == (ex, ex, ex)


@pytest.mark.parametrize(("n", "ks"), [(1, ["1"]), (3, ["1", "2"]), (4, ["1", "2", "4"]), (7, ["1", "2", "4"])])
def test_k_goes_over_the_powers_of_two_up_to_n(n: int, ks: list[str]) -> None:
    made = sample_figures([[RIGHT] * n])
    assert list(made["pass_at"]) == list(made["maj_at"]) == ks


def test_difficulties_stand_from_the_easiest_to_the_hardest() -> None:
    levels = ["extra", "medium", "odd", "hard", "easy", "unknown"]
    figures = greedy_figures(levels, [RIGHT] * len(levels), 0, 100)
    assert list(figures["ex_difficulty"]) == ["easy", "medium", "hard", "extra", "unknown", "odd"]


@pytest.fixture
def folder(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with a database, four questions of which one's gold fails, a model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    write_params(evaluate=PARAMS, execution=EXECUTION)
    make_database(tmp_path / "data/databases")
    write_questions(GOLDS)
    write_prompts()
    put_rows("gold", [
        {"question_id": f"demo/train/{number:04}", "verdict": "exec_error" if "absent" in sql else "ok", "flags": ""}
        for number, sql in enumerate(GOLDS)
    ])  # fmt: skip
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    set_arguments(
        monkeypatch, "evaluate", "--workers=1", "--model=model", "--test-set=demo-train", "--metrics=metrics.json"
    )
    return tmp_path


def made() -> bytes:
    return Path("metrics.json").read_bytes()


def test_a_model_that_knows_nothing_is_right_nowhere_and_gives_the_same_bytes_twice(folder: Path) -> None:
    main()
    metrics = read_json(folder / "metrics.json")
    assert (metrics["questions"], metrics["dropped"], metrics["ex"]) == (3, {"gold_not_ok": 1}, 0.0)
    assert metrics["ex_difficulty"] == {"easy": 0.0, "hard": 0.0}
    first = made()
    main()
    assert made() == first


class Knowing:
    """An engine that gives the gold query greedily, and as its first sample; its other samples do not run."""

    name, version, block_size = "knowing", "1", 1

    def batches(self, asks: Sequence[PromptedQuestion]) -> list[list[int]]:
        return [[position] for position in range(len(asks))]

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        return None

    def sample(
        self, asks: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        golds = dict(pl.read_parquet("data/questions.parquet").select("question_id", "gold_sql").iter_rows())
        numbers = range(first, first + count)
        return [
            [Completion("SELECT" if number else golds[ask.question_id], "stop", 1, 0.0) for number in numbers]
            for ask in asks
        ]

    def report(self) -> dict[str, Any]:
        return {}


def test_a_model_that_answers_with_the_gold_is_right_everywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "open_engine", lambda *_: Knowing())
    main()
    metrics = read_json(folder / "metrics.json")
    assert (metrics["ex"], metrics["ex_low"], metrics["ex_high"]) == (1.0, 1.0, 1.0)
    assert metrics["ex_contract"] == {"spider": 1.0, "bird": 1.0, "strict": 1.0}
    assert (metrics["pass_at"], metrics["maj_at"]) == (
        {"1": 0.25, "2": 0.5, "4": 1.0}, {"1": 1.0, "2": 1.0, "4": 1.0},
    )  # fmt: skip
    assert metrics["ex_difficulty"] == {"easy": 1.0, "hard": 1.0}


@pytest.fixture
def answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """What the stage keeps of a model that gives the gold query greedily, and as its first sample."""
    monkeypatch.setattr(evaluate, "open_engine", lambda *_: Knowing())
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--answers=kept/answers.parquet"])
    main()
    return pl.read_parquet("kept/answers.parquet")


def test_the_greedy_answer_and_each_sample_to_each_question_are_kept(answers: pl.DataFrame) -> None:
    assert answers.schema == ANSWERS.columns
    assert answers.select("question_id", "sample").sort("question_id", "sample").rows() == [
        (f"demo/train/{number:04}", sample) for number in (0, 2, 3) for sample in (None, 0, 1, 2, 3)
    ]
    assert answers["answer_id"].head(5).to_list() == [
        f"model/demo/train/0000/{name}" for name in ("0000", "0001", "0002", "0003", "greedy")
    ]


def test_samples_are_drawn_for_as_many_questions_as_the_params_say_and_ex_is_of_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "open_engine", lambda *_: Knowing())
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--answers=answers.parquet"])
    write_params(evaluate=PARAMS | {"sampled_questions": 2}, execution=EXECUTION)
    main()
    metrics, answers = read_json(folder / "metrics.json"), pl.read_parquet("answers.parquet")
    assert (metrics["questions"], metrics["sampled_questions"], metrics["ex"]) == (3, 2, 1.0)
    assert answers.filter(pl.col("sample").is_null()).height == 3
    assert answers.filter(pl.col("sample").is_not_null())["question_id"].value_counts()["count"].to_list() == [4, 4]


def test_an_answer_has_what_the_model_said_and_what_executing_it_showed(answers: pl.DataFrame) -> None:
    right, failed = answers.row(4, named=True), answers.row(1, named=True)
    said = {"model": "model", "test_set": "demo-train", "question_id": "demo/train/0000", "logprob": 0.0, "tokens": 1}
    assert right.pop("steps") > 0 and "incomplete input" in failed.pop("error")
    assert right == said | {
        "answer_id": "model/demo/train/0000/greedy", "sample": None, "completion": GOLDS[0], "sql": GOLDS[0],
        **dict.fromkeys(("verdict_strict", "verdict_spider", "verdict_bird"), "match"),
        "error_class": None, "error": None, "rows": right["rows"],
    }  # fmt: skip
    assert failed == said | {
        "answer_id": "model/demo/train/0000/0001", "sample": 1, "completion": "SELECT", "sql": "SELECT",
        **dict.fromkeys(("verdict_strict", "verdict_spider", "verdict_bird"), "exec_error"),
        "error_class": "syntax", "steps": failed["steps"], "rows": failed["rows"],
    }  # fmt: skip


def test_the_answers_give_the_figures(answers: pl.DataFrame, folder: Path) -> None:
    metrics, right = read_json(folder / "metrics.json"), pl.col("verdict_strict") == "match"
    greedy, sampled = (answers.filter(pl.col("sample").is_null() == alone) for alone in (True, False))
    assert greedy.select(right.mean()).item() == metrics["ex"]
    assert sampled.select(right.mean()).item() == metrics["pass_at"]["1"]


def test_the_same_answers_are_kept_to_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        monkeypatch.setattr(sys, "argv", [*drop_flags("answers"), f"--answers={name}.parquet"])
        main()
    assert Path("first.parquet").read_bytes() == Path("second.parquet").read_bytes()


@pytest.mark.parametrize(
    ("model", "name"),
    [("models/sft/strong", "sft/strong"), ("./models/dpo/", "dpo"), ("someone/tiny", "someone/tiny"), ("my", "my")],
)
def test_a_model_of_the_pipeline_is_named_as_it_is_in_its_folder(model: str, name: str) -> None:
    assert model_name(model) == name


def test_a_stopped_run_goes_on_with_what_it_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    whole = made()
    with monkeypatch.context() as patched:
        patched.setattr(TransformersEngine, "sample", stop)
        main()
    assert made() == whole


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_answers_come_back_in_the_order_of_the_questions_whatever_the_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "open_engine", lambda *_: Backwards())
    main()
    assert read_json(folder / "metrics.json")["ex"] == 1.0


class Backwards(Knowing):
    def batches(self, asks: Sequence[PromptedQuestion]) -> list[list[int]]:
        return [[position] for position in reversed(range(len(asks)))]


def drop_flags(*names: str) -> list[str]:
    """The command line without these flags."""
    return [flag for flag in sys.argv if not flag.startswith(tuple(f"--{name}" for name in names))]


@pytest.fixture
def by_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a person calls it: without --metrics."""
    set_arguments(monkeypatch, "evaluate", "--model=model", "--test-set=demo-train", "--workers=1")
    return folder


def test_greedy_alone_prints_ex_and_asks_one_sample(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def count(engine: Any, asks: Any, decoding: Decoding, cache: Any) -> Iterator[Any]:
        asked.append((decoding.n, decoding.temperature))
        return samples.sample_all(engine, asks, decoding, cache)

    monkeypatch.setattr("stages.scoring.model_answers.sample_all", count)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--greedy"])
    main()
    told = capsys.readouterr().out
    assert asked == [(1, 0.0)]
    assert told.startswith("model (model) on demo-train\nquestions          3\nEX              0.00  (0.00–0.00)")
    assert "pass@" not in told and "left out: 1 gold_not_ok" in told
    assert not (by_hand / "metrics.json").exists()


def test_samples_alone_print_pass_and_maj_at_k(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--samples=8"])
    main()
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if "@" in line] == [
        f"{figure}@{k}" for figure in ("pass", "maj") for k in (1, 2, 4, 8)
    ]
    assert "EX" not in told


def test_by_hand_the_figures_are_those_of_the_stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    of_stage = read_json(folder / "metrics.json")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", drop_flags("metrics"))
    main()
    assert evaluation_table(of_stage) == capsys.readouterr().out.partition("\n")[2].strip()


@pytest.mark.parametrize("flags", [["--greedy", "--samples=2"], ["--samples=0"], ["--samples=many"]])
def test_flags_that_do_not_fit_end_with_status_2(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, *flags])
    with pytest.raises(SystemExit, match="2"):
        main()


def test_outside_of_the_repository_a_sentence_says_where_to_run_it(by_hand: Path) -> None:
    Path("params.yaml").unlink()
    with pytest.raises(UserError, match=r"params.yaml does not exist; run this from the root"):
        main()


def test_a_model_of_the_hub_is_evaluated_at_its_commit(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub_of(monkeypatch, by_hand) as hub:
        sha = hub.model("someone/tiny").commit({file.name: file.read_bytes() for file in Path("model").iterdir()})
        monkeypatch.setattr(sys, "argv", [*drop_flags("model"), "--model=someone/tiny", "--greedy"])
        main()
        assert capsys.readouterr().out.startswith(f"someone/tiny ({sha}) on demo-train\n")
        monkeypatch.setattr(sys, "argv", [*sys.argv, f"--revision={sha[:-1]}x", "--metrics=metrics.json"])
        with pytest.raises(UserError, match="the model `someone/tiny` has no revision"):
            main()
        monkeypatch.setattr(sys, "argv", [*sys.argv, f"--revision={sha}"])
        main()
        assert read_json(by_hand / "metrics.json")["commit"] == sha


def test_a_prompt_that_does_not_fit_the_context_counts_as_wrong_and_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = pl.read_parquet("data/prompts.parquet").to_dicts()
    prompts[0]["prompt"] = "name " * 200
    put_rows("prompts", prompts)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--answers=answers.parquet"])
    main()
    without = pl.read_parquet("answers.parquet").filter(pl.col("completion").is_null())
    assert without.select("question_id", "sql", "verdict_strict", "tokens", "logprob").unique().rows() == [
        ("demo/train/0000", "", "no_sql", None, None)
    ]
    metrics = read_json(folder / "metrics.json")
    assert (metrics["questions"], metrics["longer_than_context"]) == (3, 1)


def test_a_test_set_is_the_questions_of_one_source_and_split(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_questions("0003", source="other", split="dev")
    write_prompts()
    monkeypatch.setattr(evaluate, "open_engine", lambda *_: Knowing())
    main()
    assert read_json(folder / "metrics.json")["questions"] == 2
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=other-dev"])
    main()
    assert read_json(folder / "metrics.json")["questions"] == 1


def change_questions(number: str, **changed: str) -> None:
    rows = pl.read_parquet("data/questions.parquet").to_dicts()
    put_rows("questions", [
        row | (changed if row["question_id"].endswith(number) else {}) for row in rows
    ])  # fmt: skip


def test_a_test_set_that_is_not_there_names_those_that_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_questions("0003", source="other", split="dev")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=spider-dev"])
    with pytest.raises(UserError, match=r"`spider-dev`; there are: demo-train, other-dev; correct --test-set, or `te"):
        main()
    assert not (folder / "metrics.json").exists()


def test_a_test_set_without_a_usable_gold_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_questions("0001", source="other", split="dev")  # the one whose gold fails
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=other-dev"])
    with pytest.raises(UserError, match=r"questions.parquet has no question of test set `other-dev` with a usable"):
        main()


def test_a_gold_that_changed_after_validation_is_refused(folder: Path) -> None:
    pl.read_parquet("data/gold.parquet").with_columns(verdict=pl.lit("ok")).write_parquet("data/gold.parquet")
    with pytest.raises(UserError, match=r"gold.parquet has changed since reports/validation/gold.json"):
        main()


def test_all_mistakes_are_told_at_once_and_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "open_engine", stop)
    (folder / "model" / "model.safetensors").unlink()
    params = {name: value for name, value in PARAMS.items() if name != "n"}
    write_params(evaluate=params, execution=EXECUTION)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=spider-dev", "--revision=v1", "--engine=local"])
    with pytest.raises(UserError) as caught:
        main()
    assert [sentence.split("; ")[0] for sentence in caught.value.sentences] == [
        "--revision is v1, but --model model is a folder",
        "params.yaml: `evaluate.n` is missing",
        "there is no test set `spider-dev`",
        "the model `model` has no weights in safetensors, and pickled ones can run code",
    ]


def test_a_place_that_cannot_be_written_is_told_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "open_engine", stop)
    monkeypatch.setattr(
        sys, "argv", [*sys.argv, "--cache=/proc/none", "--metrics=/proc/m.json", "--answers=/proc/a.parquet"]
    )
    with pytest.raises(UserError) as caught:
        main()
    assert [sentence.split(": ")[0].split(" (")[0] for sentence in caught.value.sentences] == [
        "--metrics /proc/m.json cannot be written", "--answers /proc/a.parquet cannot be written",
        "the cache /proc/none/records.sqlite cannot be used",
    ]  # fmt: skip


def test_a_model_that_is_nowhere_is_told_beside_another_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--test-set=spider-dev", "--model=models/sft/absent"])
    with pytest.raises(UserError) as caught:
        main()
    assert [sentence.split(";")[0].split(",")[0] for sentence in caught.value.sentences] == [
        "there is no test set `spider-dev`", "`models/sft/absent` is no folder",
    ]  # fmt: skip


def test_a_receipt_that_is_missing_is_told(folder: Path) -> None:
    Path("reports/validation/gold.json").unlink()
    with pytest.raises(UserError, match=r"gold.json does not exist; run `dvc repro`"):
        main()


def test_nothing_is_downloaded_for_a_test_set_that_is_not_there(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_of(monkeypatch, by_hand) as hub:
        monkeypatch.setattr(sys, "argv", [*drop_flags("model", "test-set"), "--model=a/b", "--test-set=spider-dev"])
        with pytest.raises(UserError, match="no test set `spider-dev`"):
            main()
        assert not hub.asked
