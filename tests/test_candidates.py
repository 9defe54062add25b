import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import candidates
from stages.candidates import CandidatesParams, candidate_rows, main, report_of
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.tables import read_any
from stages.datasets.catalog import DATASETS
from stages.datasets.questions import held_back_databases
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.sampling.transformers_engine import TransformersEngine
from tests.fake_endpoint import Endpoint, Fault
from tests.workplace import put_rows, set_arguments, write_params, write_prompts, write_questions

PARAMS: dict[str, Any] = {
    "engine": "transformers", "model": "sft/weak", "split": "train", "questions": "all",
    "n": 2, "temperature": 1.0, "top_p": 1.0, "max_tokens": 6, "seed": 3, "batch_size": 4, "max_questions": None,
}  # fmt: skip
DECODING = Decoding(2, 1.0, 1.0, 6, 3)
ASKS = [PromptedQuestion("demo/train/0000", "music", "a?"), PromptedQuestion("demo/train/0001", "music", "b?")]


def sample(completion: str, **changed: Any) -> Completion:
    return replace(Completion(completion, "stop", 3, -1.5), **changed)


def rows_of(*completions: Sequence[str], model_version: str = "v1", decoding: Decoding = DECODING) -> pl.DataFrame:
    """The rows for a question each with its completions."""
    samples = [[sample(completion) for completion in row] for row in completions]
    return candidate_rows(ASKS[: len(samples)], samples, decoding, "weak", model_version)


def test_a_row_holds_the_sample_its_sql_and_where_it_came_from() -> None:
    (row, _) = rows_of(["```sql\nSELECT 1\n```", ""]).to_dicts()
    assert len(row.pop("candidate_id")) == 16
    assert row == {
        "question_id": "demo/train/0000", "sample": 0, "completion": "```sql\nSELECT 1\n```", "sql": "SELECT 1",
        "model": "weak", "model_version": "v1", "temperature": 1.0, "top_p": 1.0, "max_tokens": 6, "seed": 3,
        "prompt_sha256": hashlib.sha256(b"a?").hexdigest(), "finish_reason": "stop", "tokens": 3, "logprob": -1.5,
    }  # fmt: skip


def test_equal_completions_are_candidates_of_their_own() -> None:
    assert rows_of(["SELECT 1", "SELECT 1"], ["SELECT 1", "SELECT 1"])["candidate_id"].n_unique() == 4


@pytest.mark.parametrize(
    "other",
    [
        rows_of(["SELECT 2"]),
        rows_of(["SELECT 1 "]),
        rows_of(["SELECT 1"], model_version="v2"),
        rows_of(["SELECT 1"], decoding=replace(DECODING, temperature=0.5)),
        rows_of(["SELECT 1"], decoding=replace(DECODING, seed=4)),
    ],
    ids=["text", "space", "model", "temperature", "seed"],
)
def test_a_candidates_id_depends_on_its_text_its_model_and_how_it_was_sampled(other: pl.DataFrame) -> None:
    assert other["candidate_id"][0] != rows_of(["SELECT 1"])["candidate_id"][0]


def test_a_candidates_id_does_not_depend_on_how_many_samples_there_are() -> None:
    more = rows_of(["SELECT 1", "SELECT 2", "SELECT 3"], decoding=replace(DECODING, n=3))
    assert more["candidate_id"][:2].to_list() == rows_of(["SELECT 1", "SELECT 2"])["candidate_id"].to_list()


def test_the_report_counts_questions_and_samples() -> None:
    cut = sample(" ", tokens=6, finish_reason="length")
    made = [[sample("SELECT 1"), sample("SELECT 1")], [cut, sample("SELECT 2")]]
    dropped = {"not_train": 1, "over_max_questions": 3}
    assert report_of(6, dropped, candidate_rows(ASKS, made, DECODING, "weak", "v1")) == {
        "in": 6, "asked": 2, "dropped": {"not_train": 1, "over_max_questions": 3}, "out": 4, "distinct_sql": 3,
        "finish_reason": {"length": 1, "stop": 3}, "no_sql": 1, "tokens": 15,
    }  # fmt: skip


@pytest.fixture
def folder(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with ten questions (the last of split dev), their prompts, a model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "candidates")
    questions = write_questions(["SELECT 1"] * 10).to_dicts()
    put_rows("questions", [*questions[:-1], questions[-1] | {"split": "dev"}])
    write_prompts()
    model.save_pretrained("models/sft/weak")
    tokenizer.save_pretrained("models/sft/weak")
    change_params()
    return tmp_path


def change_params(preference_share: float = 0.0, **changed: Any) -> None:
    write_params(candidates=PARAMS | changed, sft={"preference_share": preference_share})


def write_endpoint() -> None:
    """An endpoint's file, and params that name it."""
    told = {"model": "weak", "version": "1", "api": "chat", "logprobs": False}
    told |= {"input_price": None, "output_price": None}
    Path("models/endpoints").mkdir()
    with Path("models/endpoints/weak.yaml").open("w") as file:
        YAML().dump({"endpoint": told}, file)
    change_params(engine="openai", model="endpoints/weak.yaml")


def made() -> tuple[bytes, bytes]:
    return Path("data/candidates.parquet").read_bytes(), Path("reports/candidates.json").read_bytes()


def test_every_train_question_gets_n_candidates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    table = read_any(folder / "data/candidates.parquet")
    assert table.columns == list(DATASETS["candidates"].columns)
    counts = table.group_by("question_id").agg(pl.col("sample").sort())
    assert dict(counts.sort("question_id").rows()) == {f"demo/train/{number:04}": [0, 1] for number in range(9)}
    assert table["candidate_id"].is_unique().all()
    assert (table["tokens"] <= 6).all() and (table["logprob"] < 0).all()
    assert table["prompt_sha256"].n_unique() == 9
    report = read_json(folder / "reports/candidates.json")
    assert (report["in"], report["asked"], report["out"]) == (10, 9, 18)
    assert capsys.readouterr().out.startswith("candidates: 18 rows, 1 questions dropped (not_train 1), ")


def test_more_samples_keep_the_first_ones(folder: Path) -> None:
    main()
    few = read_any(folder / "data/candidates.parquet")
    change_params(n=4)
    main()
    more = read_any(folder / "data/candidates.parquet")
    assert more.height == 36
    assert set(few["candidate_id"]) == set(more.filter(pl.col("sample") < 2)["candidate_id"])


def test_more_samples_are_the_very_ones_of_a_run_that_makes_all(folder: Path, cache_folder: Path) -> None:
    change_params(n=4)
    main()
    change_params(n=8)
    main()
    added = made()
    shutil.rmtree(cache_folder)
    main()
    assert made() == added


class Asked:
    """The samples that the engine is asked for: (questions, first, count) of each call. It stops at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
        self.calls: list[tuple[int, int, int]] = []
        sample = TransformersEngine.sample

        def counted(engine: Any, asks: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int) -> Any:
            if len(self.calls) == stop_at:
                raise KeyboardInterrupt
            self.calls.append((len(asks), first, count))
            return sample(engine, asks, decoding, first, count)

        monkeypatch.setattr(TransformersEngine, "sample", counted)


def test_a_higher_n_makes_only_the_samples_that_are_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    asked = Asked(monkeypatch)
    main()
    assert asked.calls == []
    change_params(n=5)
    main()
    assert asked.calls == [(4, 4, 4), (4, 4, 4), (1, 4, 4)]  # nine questions in batches of four


def test_a_stopped_run_goes_on_with_the_batches_it_kept(
    folder: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main()
    whole = made()
    shutil.rmtree(cache_folder)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        Asked(patched, stop_at=2)
        main()
    asked = Asked(monkeypatch)
    main()
    assert asked.calls == [(1, 0, 4)]
    assert made() == whole


@pytest.mark.parametrize("changed", [{"seed": 4}, {"n": 5}, {"temperature": 2.0}])
def test_samples_of_other_params_change_nothing(changed: dict[str, Any], folder: Path, cache_folder: Path) -> None:
    main()
    change_params(**changed)
    main()
    after_others = made()
    shutil.rmtree(cache_folder)
    main()
    assert made() == after_others


def test_questions_whose_prompt_is_longer_than_the_context_are_left_out_and_counted(folder: Path) -> None:
    rows = pl.read_parquet("data/prompts.parquet").to_dicts()
    put_rows("prompts", [rows[0] | {"prompt": "singer " * 200}, *rows[1:]])
    main()
    assert read_json(folder / "reports/candidates.json")["dropped"]["longer_than_context"] == 1
    assert read_json(folder / "reports/candidates.json")["asked"] == 8
    assert "demo/train/0000" not in read_any(folder / "data/candidates.parquet")["question_id"]


def test_a_run_whose_prompts_are_all_longer_than_the_context_is_refused(folder: Path) -> None:
    change_params(max_tokens=128)
    with pytest.raises(UserError) as caught:
        main()
    assert str(caught.value) == (
        "no prompt fits the context of the model `weak` with 128 more tokens; lower `candidates.max_tokens` or "
        "`prompts.max_tokens`"
    )
    assert not list(folder.glob("data/candidates*"))


def test_the_report_holds_what_the_engine_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransformersEngine, "report", lambda engine: {"cost": 0.25})
    main()
    assert read_json(folder / "reports/candidates.json")["cost"] == 0.25


@pytest.mark.parametrize(("engine", "named"), [("vllm", "sft/weak"), ("openai", "endpoints/example.yaml")])
def test_other_engines_make_the_same_columns(
    engine: str, named: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = TransformersEngine(folder / "models/sft/weak", 4)
    monkeypatch.setattr(candidates, "open_engine", lambda *asked: opened if asked[0] == engine else None)
    change_params(engine=engine, model=named)
    main()
    assert read_any(folder / "data/candidates.parquet").height == 18


def test_questions_that_an_endpoint_refuses_are_counted_by_reason(folder: Path, endpoint: Endpoint) -> None:
    prompts = dict(pl.read_parquet("data/prompts.parquet").select("prompt", "question_id").rows())
    refusals = {"demo/train/0001": "flagged by our content filter", "demo/train/0004": "prompt is too long"}
    refusals |= {"demo/train/0005": "not this one", "demo/train/0006": "was blocked for its content"}

    def refuse(body: dict[str, Any]) -> Fault | None:
        message = refusals.get(prompts[body["messages"][0]["content"]])
        return (400, {}, f'{{"error": {{"message": "{message}"}}}}'.encode()) if message else None

    endpoint.refuse = refuse
    write_endpoint()
    for _ in range(2):
        main()
        report = read_json(folder / "reports/candidates.json")
        assert report["dropped"] == {
            "not_train": 1, "seen_by_sft": 0, "over_max_questions": 0, "longer_than_context": 1, "filtered": 2,
            "refused": 1, "no_answer": 0,
        }  # fmt: skip
        assert (report["asked"], report["out"]) == (5, 10)
    asked = read_any(folder / "data/candidates.parquet")["question_id"]
    assert not set(asked) & set(refusals)


def test_an_endpoint_that_refuses_every_question_is_told(folder: Path, endpoint: Endpoint) -> None:
    endpoint.refuse = lambda body: (400, {}, b'{"error": {"code": "content_filter"}}')
    write_endpoint()
    with pytest.raises(UserError, match=r"gives no samples of `weak` for any question \(filtered 9\)"):
        main()
    assert not list(folder.glob("data/candidates*"))


def test_another_split_is_asked_where_the_params_say_so(folder: Path) -> None:
    change_params(split="dev")
    main()
    assert read_any(folder / "data/candidates.parquet")["question_id"].unique().to_list() == [
        "demo/train/0009"
    ]
    assert read_json(folder / "reports/candidates.json")["dropped"] == {
        "not_dev": 9, "seen_by_sft": 0, "over_max_questions": 0, "longer_than_context": 0,
    }  # fmt: skip


def test_unseen_questions_are_those_of_the_databases_that_sft_does_not_see(folder: Path) -> None:
    questions = write_questions(["SELECT 1"] * 10, [f"music_{number}" for number in range(5)])
    held_back = questions.filter(pl.col("db_id").is_in(held_back_databases(questions, 0.4)))
    change_params(preference_share=0.4, questions="unseen")
    main()
    assert set(read_any(folder / "data/candidates.parquet")["question_id"]) == set(held_back["question_id"])
    assert read_json(folder / "reports/candidates.json")["dropped"]["seen_by_sft"] == 6


def test_unseen_questions_that_are_not_there_are_refused(folder: Path) -> None:
    change_params(questions="unseen")
    with pytest.raises(UserError, match=r"`sft.preference_share` is 0.0, which holds back no database; raise that, or"):
        main()


def test_questions_without_a_prompt_are_refused_and_nothing_is_written(folder: Path) -> None:
    put_rows("prompts", pl.read_parquet("data/prompts.parquet").to_dicts()[2:])
    with pytest.raises(UserError, match=r"prompts has no row for 2 questions \(the first: demo/train/0000\)"):
        main()
    assert not list(folder.glob("data/candidates*"))


def test_prompts_that_changed_after_validation_are_refused(folder: Path) -> None:
    pl.read_parquet("data/prompts.parquet").with_columns(prompt=pl.lit("x")).write_parquet("data/prompts.parquet")
    with pytest.raises(UserError, match=r"prompts.parquet has changed since reports/validation/prompts.json"):
        main()


def test_questions_of_other_splits_alone_are_refused(folder: Path) -> None:
    questions = pl.read_parquet("data/questions.parquet").with_columns(split=pl.lit("test")).to_dicts()
    put_rows("questions", questions)
    with pytest.raises(UserError, match=r"data/questions.parquet has no question of split `train`"):
        main()


def test_a_cache_that_cannot_be_used_is_told_before_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "open_engine", None)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--cache=/proc/none"])
    with pytest.raises(UserError, match=r"the cache /proc/none/records.sqlite cannot be used"):
        main()


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        CandidatesParams.model_validate(PARAMS | {"temperature": 0.0})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"engine": "file"}, "`candidates.model` is 'sft/weak'; give imported, as `engine` is file"),
        ({"engine": "openai"}, "`candidates.model` is 'sft/weak'; give a file that tells of an endpoint (endpoints/"),
        ({"model": "imported"}, "`candidates.model` is 'imported'; give a trained model (sft/weak or sft/strong), as"),
        ({"engine": "vllm", "model": "endpoints/example.yaml"}, "give a trained model (sft/weak or sft/strong), as"),
        ({"model": "nothere"}, "`candidates.model` is 'nothere'; give a trained model (sft/weak or sft/strong), as"),
        ({"model": "dpo"}, "`candidates.model` is 'dpo'; give a trained model (sft/weak or sft/strong), as"),
        ({"engine": "vlm"}, "`candidates.engine` is 'vlm'; input should be 'transformers', 'vllm', 'openai' or 'file'"),
    ],
)
def test_an_engine_and_a_model_that_do_not_fit_are_refused(
    changed: dict[str, Any], sentence: str, folder: Path
) -> None:
    change_params(**changed)
    with pytest.raises(UserError) as caught:
        main()
    assert len(caught.value.sentences) == 1 and sentence in caught.value.sentences[0]
