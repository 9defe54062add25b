import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import train_grpo
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, sha256_folder
from stages.core.layout import DATABASES
from stages.datasets.verdicts import VERDICTS
from stages.grpo.params import GrpoParams
from stages.grpo.trainer import grpo_config
from stages.train_grpo import main
from tests import ROOT
from tests.grpo.world import PARAMS, half_trained, write_database
from tests.test_train_sft import MODEL_FILES
from tests.workplace import EXECUTION, put_rows, set_arguments, write_params

BASE, MODEL = Path("models/sft/strong"), Path("models/grpo")
REPORT, LOG = Path("reports/train_grpo.json"), Path("reports/train_grpo")
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.1}


@pytest.fixture(scope="module")
def half(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sft_rows: pl.DataFrame) -> LlamaForCausalLM:
    return half_trained(model, tokenizer, sft_rows)


@pytest.fixture
def folder(
    tmp_path: Path, half: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sft_rows: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """A working directory with 24 questions that have pairs, one that has none, the base model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "train_grpo")
    half.save_pretrained(BASE)
    tokenizer.save_pretrained(BASE)
    write_database(DATABASES)
    rows = [row | {"db_id": "music", "gold_sql": row["completion"]} for row in sft_rows.head(25).to_dicts()]
    put_rows("questions", [row | {"source": "demo", "split": "train"} for row in rows])
    put_rows("prompts", rows)
    put_rows("gold", [row | {"verdict": "ok", "steps": 100, "flags": ""} for row in rows])
    pairs = [row | {"pair_id": f"{number:016x}"} for number, row in enumerate([*rows[:24], rows[0]])]
    put_rows("pairs", [pair | {"chosen": "a", "rejected": "b"} for pair in pairs])
    configure()
    return tmp_path


def configure(**changed: Any) -> None:
    """Writes params.yaml with these params of `train_grpo`."""
    write_params(train_grpo=PARAMS | {"models": ["grpo"]} | changed, execution=EXECUTION)


def outputs() -> list[str]:
    """Hashes of the model, the report and the curves."""
    return [sha256_folder(MODEL), sha256_file(REPORT), sha256_folder(LOG)]


def stop_before_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends when all steps are done, as if it were killed there."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_grpo, "save_model", stop)
        main()


@pytest.mark.parametrize("changed", [{}, {"lora": LORA, "beta": 0.1, "micro_batch": 4}], ids=["whole", "adapters"])
def test_a_training_stopped_after_its_last_checkpoint_ends_with_the_bytes_of_a_whole_one(
    changed: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(**changed)
    main()
    whole = outputs()
    assert {path.name for path in MODEL.iterdir()} == {*MODEL_FILES, *(["adapter"] if "lora" in changed else [])}
    stop_before_saving(monkeypatch)
    work = Path("models/grpo.partial")
    assert [mark.parent.name for mark in work.glob("*/whole")] == ["checkpoint-10"]
    state = json.loads((work / "checkpoint-10" / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"]) == (10, 12)
    main()
    assert outputs() == whole and not work.exists()
    assert sha256_file(MODEL / "model.safetensors") != sha256_file(BASE / "model.safetensors")


def test_the_report_tells_of_verdicts_rewards_and_groups_that_taught_nothing(folder: Path) -> None:
    configure(epochs=0.5, counterexamples=2)
    main()
    report = read_json(REPORT)
    assert list(report) == [
        "in", "trained_on", "dropped", "steps", "completions", "reward", "verdicts", "undecided", "groups",
        "equal_rewards", "right_by_accident",
    ]  # fmt: skip
    assert (report["in"], report["trained_on"], report["steps"], report["completions"]) == (24, 24, 3, 48)
    for part in ("first", "last"):
        assert list(report["verdicts"][part]) == list(VERDICTS)
        assert sum(report["verdicts"][part].values()) == pytest.approx(1, abs=1e-3)
    curves = {path.relative_to(LOG / "plots" / "metrics").as_posix() for path in LOG.rglob("*.tsv")}
    assert {"reward.tsv", "verdicts/match.tsv", "rewards/execution/mean.tsv"} <= curves
    assert "step_time.tsv" not in curves


def test_bfloat16_with_the_memory_savers_trains(folder: Path) -> None:
    configure(precision="bfloat16", gradient_checkpointing=True, epochs=0.5, top_p=0.9, temperature=0.7, beta=0.1)
    main()
    assert read_json(REPORT)["steps"] == 3


def test_a_prompt_that_leaves_no_room_for_max_tokens_is_left_out_and_counted(
    folder: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = pl.read_parquet("data/prompts.parquet").to_dicts()
    room = max(len(ids) for ids in tokenizer([row["prompt"] for row in prompts])["input_ids"])
    long = [row | {"prompt": "evidence: " + row["prompt"]} if number < 5 else row for number, row in enumerate(prompts)]
    put_rows("prompts", long)
    configure(max_length=room + PARAMS["max_tokens"], epochs=0.5)
    main()
    report = read_json(REPORT)
    assert (report["trained_on"], report["dropped"]) == (19, {"no_room_for_max_tokens": 5})
    configure(max_length=PARAMS["max_tokens"] + 1)
    with pytest.raises(UserError, match=r"no prompt leaves room for 20 of 21 tokens; raise `train_grpo.max_length`"):
        main()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"num_generations": 3}, "`train_grpo.num_generations` is 3; a step holds whole groups: give a number that "
         "divides `batch_size`, which is 16"),
        ({"num_generations": 1}, "`train_grpo.num_generations` is 1; input should be greater than or equal to 2"),
        ({"max_tokens": 128}, "`train_grpo.max_tokens` is 128; no prompt fits beside it into `max_length`, which is"),
        ({"runs": 1.0}, "`train_grpo.runs` is 1.0; input should be less than 1"),
        ({"temperature": 0.0}, "`train_grpo.temperature` is 0.0; input should be greater than 0"),
        ({"models": ["dpo"]}, "`train_grpo.models.0` is 'dpo'; input should be 'grpo'"),
    ],
)  # fmt: skip
def test_a_wrong_param_is_named(section: dict[str, Any], message: str, folder: Path) -> None:
    configure(**section)
    with pytest.raises(UserError) as caught:
        main()
    [sentence] = caught.value.sentences
    assert sentence.startswith(f"params.yaml: {message}")


def test_no_pairs_are_refused(folder: Path) -> None:
    put_rows("pairs", [])
    with pytest.raises(UserError, match=r"pairs.parquet holds no pairs; loosen `pairs.neg_filter`"):
        main()
    assert not MODEL.exists()


def test_with_vllm_trl_samples_on_the_gpu_that_trains(tmp_path: Path) -> None:
    config = grpo_config(GrpoParams.model_validate(PARAMS | {"engine": "vllm"}), tmp_path)
    assert (config.use_vllm, config.vllm_mode, config.vllm_max_model_length) == (True, "colocate", 128)
    assert not grpo_config(GrpoParams.model_validate(PARAMS), tmp_path).use_vllm


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_shards_of_weights_are_not_sampled_from(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UserError, match=f"samples with whole weights, and {name} shards them; set it to vllm"):
        grpo_config(GrpoParams.model_validate(PARAMS), tmp_path)


def test_dvc_has_no_such_stage_until_params_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", "params.yaml"):
        Path(name).write_text((ROOT / name).read_text())
    Repo.init(str(tmp_path), no_scm=True).close()
    assert grpo_stages(tmp_path) == []
    apply_overrides("params.yaml", ["train_grpo.models=[grpo]"])
    assert grpo_stages(tmp_path) == ["train_grpo@grpo"]
    lines, before = Path("params.yaml").read_text().splitlines(), (ROOT / "params.yaml").read_text().splitlines()
    assert [line for line in before if line not in lines] == ["  models: []"]


def grpo_stages(folder: Path) -> list[str]:
    with Repo(str(folder)) as repo:
        return [stage.addressing for stage in repo.index.stages if "grpo" in stage.addressing]
