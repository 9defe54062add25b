import copy
import json
import sys
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from ruamel.yaml import YAML
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast

from stages import train_dpo
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, sha256_folder
from stages.core.params import read_params
from stages.core.receipts import write_receipt
from stages.core.tables import COLUMNS, write_table
from stages.train_dpo import Name, TrainDpoParams, changes, main
from tests.test_train_sft import MODEL_FILES
from tests.training.test_objectives import PARAMS as OBJECTIVE_PARAMS
from tests.training.test_objectives import params_of

PARAMS: dict[str, Any] = OBJECTIVE_PARAMS
OBJECTIVES = get_args(Name)
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0}


@pytest.fixture(scope="module")
def pairs(sft_rows: pl.DataFrame) -> pl.DataFrame:
    """48 pairs: the right completion against one that asks for another column or is cut short."""
    rows = [
        {
            "pair_id": f"{number:016x}", "question_id": row["question_id"], "db_id": "music", "prompt": row["prompt"],
            "chosen": row["completion"], "rejected": row["completion"].replace("WHERE", "GROUP BY")[: 9 + number],
            "chosen_id": None, "rejected_id": f"{number:016x}", "rejected_verdict": "mismatch", "similarity": 0.5,
            "witness": None,
        }
        for number, row in enumerate(sft_rows.head(48).to_dicts())
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COLUMNS["pairs"])


@pytest.fixture
def folder(
    tmp_path: Path, pairs: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with the pairs, their receipt, the base model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [
        "train_dpo", "--pairs=pairs.parquet", "--pairs-receipt=receipt.json", "--base=base", "--model=models/dpo",
        "--report=report.json", "--live=live",
    ])  # fmt: skip
    model.save_pretrained("base")
    tokenizer.save_pretrained("base")
    write_pairs(pairs)
    write_params()
    return tmp_path


def write_pairs(rows: pl.DataFrame) -> None:
    write_table(rows, Path("pairs.parquet"), "pairs")
    write_receipt(Path("receipt.json"), "pairs", rows.height, True, Path("pairs.parquet"))


def write_params(**changed: Any) -> None:
    with Path("params.yaml").open("w") as file:
        YAML().dump({"train_dpo": PARAMS | changed}, file)


def made() -> list[str]:
    return [sha256_folder(Path("models")), sha256_file(Path("report.json")), sha256_folder(Path("live"))]


def curve(name: str) -> list[float]:
    """The logged values of one metric, from the file that `dvc plots` reads."""
    return pl.read_csv(f"live/plots/metrics/{name}.tsv", separator="\t")[name.split("/")[-1]].to_list()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_training_stopped_after_its_last_checkpoint_ends_with_the_bytes_of_a_whole_one_and_no_pickle(
    objective: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(objective=objective, epochs=1.0 if objective == "kto" else 2.0)  # 12 steps
    main()
    whole = made()
    assert {path.name for path in (folder / "models").rglob("*")} == {"dpo", *MODEL_FILES}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_dpo, "save_model", stop)
        main()
    work = folder / "models" / "dpo.partial"
    assert [mark.parent.name for mark in work.glob("*/whole")] == ["checkpoint-10"]
    state = json.loads((work / "checkpoint-10" / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"]) == (10, 12)
    main()
    assert made() == whole and not work.exists()


@pytest.mark.parametrize("objective", ["cdpo", "kto", "simpo"])
def test_the_report_of_an_objective_has_the_same_keys_in_each_run(objective: str, folder: Path) -> None:
    write_params(objective=objective, epochs=0.5)
    main()
    report = read_json(folder / "report.json")
    kto = objective == "kto"
    assert list(report) == [
        "objective", "in", "trained_on", "dropped", *(["completions"] if kto else []), "steps", "first_loss",
        "last_loss", "chosen_logprob_change", "rejected_logprob_change", *([] if kto else ["reward_accuracy"]),
    ]  # fmt: skip
    assert (report["objective"], report["in"], report["trained_on"]) == (objective, 48, 48)


@pytest.mark.parametrize(("objective", "start"), [("dpo", 0.6931), ("cdpo", 0.6931), ("ipo", 1.5625), ("kto", 0.5)])
def test_training_starts_at_a_log_ratio_of_0_and_widens_it(objective: str, start: float, folder: Path) -> None:
    write_params(
        objective=objective, epochs=4.0, kto={"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    )
    main()
    report = read_json(folder / "report.json")
    assert report["first_loss"] == start
    assert report["steps"] == (48 if objective == "kto" else 24)
    margins = curve("rewards/margins")
    assert margins[0] == pytest.approx(0, abs=1e-4) and min(margins[1:]) > 0.1
    assert report["chosen_logprob_change"] > report["rejected_logprob_change"]


def test_a_training_shorter_than_a_logged_window_tells_of_its_last_step_too(folder: Path) -> None:
    write_params(epochs=1.0)
    main()
    report = read_json(folder / "report.json")
    assert report["steps"] == 6 and len(curve("loss")) == 2
    assert report["last_loss"] < report["first_loss"] and report["chosen_logprob_change"] != 0


def test_the_last_steps_count_each_alike_and_the_first_not_at_all() -> None:
    history = [{"step": float(step), "loss": 1.0, "rewards/chosen": float(at)} for at, step in enumerate((1, 10, 12))]
    assert changes(history, 0.5)["chosen_logprob_change"] == round((9 * 1 + 2 * 2) / 11 / 0.5, 4)
    many = [{"step": float(step), "loss": float(step)} for step in (1, *range(10, 130, 10), 129)]
    assert changes(many, 0.5)["last_loss"] == round((10 * sum(range(40, 130, 10)) + 9 * 129) / 99, 4)
    assert changes(history[:1], 0.5)["chosen_logprob_change"] == 0


def test_kto_tells_nothing_of_a_label_that_it_did_not_see(folder: Path, pairs: pl.DataFrame) -> None:
    write_pairs(pairs.head(8))
    write_params(objective="kto", batch_size=2, epochs=0.2)
    main()
    report = read_json(folder / "report.json")
    changed = [report[f"{side}_logprob_change"] for side in ("chosen", "rejected")]
    assert report["steps"] == 2 and changed.count(None) == 1


@pytest.mark.parametrize("objective", ["cdpo", "ipo", "kto", "simpo", "orpo", "cpo", "dpo_sft"])
def test_micro_batches_change_no_loss(objective: str, folder: Path) -> None:
    found = []
    for micro_batch in (None, 2):
        write_params(objective=objective, micro_batch=micro_batch, save_steps=20)
        main()
        found.append(curve("loss"))
    assert len(found[0]) == (4 if objective == "kto" else 3)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("objective", ["cdpo", "kto", "orpo"])
def test_adapters_start_at_the_reference_and_end_merged_into_the_model(objective: str, folder: Path) -> None:
    write_params(objective=objective, lora=LORA)
    main()
    assert {path.name for path in (folder / "models" / "dpo").iterdir()} == {*MODEL_FILES, "adapter"}
    assert {path.name for path in (folder / "models" / "dpo" / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    assert curve("rewards/margins")[0] == pytest.approx(0, abs=1e-4)
    assert curve("rewards/margins")[-1] > 0


@pytest.mark.parametrize("lora", [None, LORA, LORA | {"dropout": 0.3}])
@pytest.mark.parametrize("kind", ["modules", "functions"])
def test_the_dropout_of_the_base_is_off_with_adapters_and_without(
    kind: str, lora: dict[str, Any] | None, folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    if kind == "modules":
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0.5)
        GPT2LMHeadModel(config).save_pretrained("base")
    else:
        dropping = copy.deepcopy(model.config)
        dropping.attention_dropout = 0.5
        dropping.save_pretrained("base")
    write_params(lora=lora, epochs=1.0)
    main()
    assert curve("rewards/margins")[0] == pytest.approx(0, abs=1e-4)


def test_the_dropout_of_adapters_counts(folder: Path) -> None:
    found = []
    for dropout in (0.0, 0.5):
        write_params(lora=LORA | {"dropout": dropout}, epochs=1.0)
        main()
        found.append(sha256_folder(Path("models")))
    assert found[0] != found[1]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_only_the_block_of_the_chosen_objective_is_read(objective: str) -> None:
    own = params_of(objective)
    for name in OBJECTIVES:
        changed = TrainDpoParams.model_validate(own.model_dump() | {name: PARAMS[name] | {"beta": 9.0}})
        assert (changed.read() != own.read()) == (name == objective)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kto": PARAMS["kto"] | {"epsilon": 0.1}},
         "`train_dpo.kto.epsilon` is not a param; `train_dpo.kto` knows: beta, desirable_weight, undesirable_weight"),
        ({"simpo": {"beta": 2.0}}, "`train_dpo.simpo.gamma` is missing; set it"),
        ({"cdpo": {"beta": 0.1, "epsilon": 0.5}}, "`train_dpo.cdpo.epsilon` is 0.5; input should be less than 0.5"),
        ({"robust": {"beta": 0.1, "epsilon": 0.0}}, "`train_dpo.robust.epsilon` is 0.0; input should be greater than"),
        ({"beta": 0.1}, "`train_dpo.beta` is not a param; `train_dpo` knows: lora, seed, epochs"),
        ({"objective": "ppo"}, "`train_dpo.objective` is 'ppo'; input should be 'dpo', 'cdpo', 'robust'"),
        ({"objective": "kto", "micro_batch": 1},
         "`train_dpo.objective` is 'kto'; it wants `batch_size` and `micro_batch` of 2 or more; raise them"),
        ({"micro_batch": 3}, "`train_dpo.micro_batch` is 3; give a number that divides `batch_size`, which is 8"),
        ({"seed": 2**32}, "`train_dpo.seed` is 4294967296; input should be less than 4294967296"),
        ({"ipo": {"beta": float("inf")}}, "`train_dpo.ipo.beta` is inf; input should be a finite number"),
        ({"lora": LORA | {"r": 4}}, "`train_dpo.lora.r` is not a param; `train_dpo.lora` knows: rank, alpha, dropout"),
    ],
)  # fmt: skip
def test_a_wrong_param_is_told_whichever_objective_is_chosen(
    changed: dict[str, Any], told: str, folder: Path
) -> None:
    write_params(**changed)
    with pytest.raises(UserError) as caught:
        read_params("train_dpo", TrainDpoParams)
    assert [sentence.startswith(f"params.yaml: {told}") for sentence in caught.value.sentences] == [True]


def test_pairs_with_a_side_longer_than_max_length_are_left_out_and_counted(folder: Path, pairs: pl.DataFrame) -> None:
    changes = {
        side: pl.when(pl.col("pair_id").str.ends_with(digit)).then(pl.col(side) + " OR 1" * 100).otherwise(side)
        for side, digit in {"chosen": "1", "rejected": "2"}.items()
    }
    write_pairs(pairs.with_columns(**changes))
    main()
    report = read_json(folder / "report.json")
    assert (report["in"], report["trained_on"], report["dropped"]) == (48, 42, {"longer_than_max_length": 6})


def test_longer_pairs_alone_are_refused(folder: Path) -> None:
    write_params(max_length=10)
    with pytest.raises(UserError, match=r"no pair has at most 10 tokens on both sides; raise `train_dpo.max_length`"):
        main()


def test_no_pairs_are_refused(folder: Path, pairs: pl.DataFrame) -> None:
    write_pairs(pairs.clear())
    with pytest.raises(UserError, match=r"pairs.parquet holds no pairs; loosen `pairs.neg_filter`"):
        main()
    assert not (folder / "models").exists()


def test_pairs_that_changed_after_validation_train_nothing(folder: Path, pairs: pl.DataFrame) -> None:
    write_table(pairs.head(40), Path("pairs.parquet"), "pairs")
    with pytest.raises(UserError, match=r"pairs.parquet has changed since receipt.json was written"):
        main()
    assert not (folder / "models").exists()
