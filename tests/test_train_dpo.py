import copy
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast

from stages import train_dpo
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, sha256_folder
from stages.core.tables import write_dataset
from stages.datasets.pairs import PAIRS
from stages.train_dpo import OBJECTIVES, changes, chosen_warning, main
from tests.test_train_sft import MODEL_FILES
from tests.training.test_objectives import BLOCKS, PARAMS
from tests.workplace import put, set_arguments, write_params

BASE, MODEL = Path("models/sft/strong"), Path("models/dpo")
REPORT, LOG = Path("reports/train_dpo.json"), Path("reports/train_dpo")
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
    return pl.DataFrame(rows, schema=PAIRS.columns)


@pytest.fixture
def folder(
    tmp_path: Path, pairs: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with the pairs, their receipt, the base model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "train_dpo")
    model.save_pretrained(BASE)
    tokenizer.save_pretrained(BASE)
    put("pairs", pairs)
    configure()
    return tmp_path


def configure(**changed: Any) -> None:
    """Writes params.yaml with these params of `train_dpo`."""
    write_params(train_dpo=PARAMS | changed, objectives=BLOCKS)


def outputs() -> list[str]:
    """Hashes of the model, the report and the curves."""
    return [sha256_folder(MODEL), sha256_file(REPORT), sha256_folder(LOG)]


def curve(name: str) -> list[float]:
    """The logged values of one metric, from the file that `dvc plots` reads."""
    return pl.read_csv(LOG / "plots" / "metrics" / f"{name}.tsv", separator="\t")[name.split("/")[-1]].to_list()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_training_stopped_after_its_last_checkpoint_ends_with_the_bytes_of_a_whole_one_and_no_pickle(
    objective: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(objective=objective, epochs=1.0 if objective == "kto" else 2.0)  # 12 steps
    main()
    whole = outputs()
    assert {path.name for path in MODEL.rglob("*")} == MODEL_FILES

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_dpo, "save_model", stop)
        main()
    work = Path("models/dpo.partial")
    assert [mark.parent.name for mark in work.glob("*/whole")] == ["checkpoint-10"]
    state = json.loads((work / "checkpoint-10" / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"]) == (10, 12)
    main()
    assert outputs() == whole and not work.exists()


@pytest.mark.parametrize("objective", ["cdpo", "kto", "simpo"])
def test_the_report_of_an_objective_has_the_same_keys_in_each_run(objective: str, folder: Path) -> None:
    configure(objective=objective, epochs=0.5)
    main()
    report = read_json(REPORT)
    kto = objective == "kto"
    assert list(report) == [
        "objective", "in", "trained_on", "dropped", *(["completions"] if kto else []), "steps", "first_loss",
        "last_loss", "chosen_logprob_change", "rejected_logprob_change", *([] if kto else ["reward_accuracy"]),
    ]  # fmt: skip
    assert (report["objective"], report["in"], report["trained_on"]) == (objective, 48, 48)


@pytest.mark.parametrize(("objective", "start"), [("dpo", 0.6931), ("cdpo", 0.6931), ("ipo", 1.5625), ("kto", 0.5)])
def test_training_starts_at_a_log_ratio_of_0_and_widens_it(objective: str, start: float, folder: Path) -> None:
    blocks = BLOCKS | {"kto": {"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}}
    write_params(train_dpo=PARAMS | {"objective": objective, "epochs": 4.0}, objectives=blocks)
    main()
    report = read_json(REPORT)
    assert report["first_loss"] == start
    assert report["steps"] == (48 if objective == "kto" else 24)
    margins = curve("rewards/margins")
    assert margins[0] == pytest.approx(0, abs=1e-4) and min(margins[1:]) > 0.1
    assert report["chosen_logprob_change"] > report["rejected_logprob_change"]


def test_a_training_shorter_than_a_logged_window_tells_of_its_last_step_too(folder: Path) -> None:
    configure(epochs=1.0)
    main()
    report = read_json(REPORT)
    assert report["steps"] == 6 and len(curve("loss")) == 2
    assert report["last_loss"] < report["first_loss"] and report["chosen_logprob_change"] != 0


def test_the_last_steps_count_each_alike_and_the_first_not_at_all() -> None:
    history = [{"step": float(step), "loss": 1.0, "rewards/chosen": float(at)} for at, step in enumerate((1, 10, 12))]
    assert changes(history, 0.5)["chosen_logprob_change"] == round((9 * 1 + 2 * 2) / 11 / 0.5, 4)
    many = [{"step": float(step), "loss": float(step)} for step in (1, *range(10, 130, 10), 129)]
    assert changes(many, 0.5)["last_loss"] == round((10 * sum(range(40, 130, 10)) + 9 * 129) / 99, 4)
    assert changes(history[:1], 0.5)["chosen_logprob_change"] == 0


WARNINGS = {
    ("cdpo", -0.42): "warning: the log-probability of chosen fell by 0.42; compare EX with the SFT model's; raise "
    "`objectives.cdpo.beta`, which must fit the length of a completion (docs/training.md), or lower "
    "`train_dpo.learning_rate`, or set `train_dpo.objective` to dpo_sft, whose SFT term holds chosen",
    ("rft", -0.2): "warning: the log-probability of chosen fell by 0.2; compare EX with the SFT model's; lower "
    "`train_dpo.learning_rate`",
    ("cdpo", 0.1): None,
    ("kto", None): None,
}


@pytest.mark.parametrize(("objective", "change"), WARNINGS)
def test_a_log_probability_of_chosen_that_fell_is_told_with_what_to_do(objective: str, change: float | None) -> None:
    report = {"objective": objective, "chosen_logprob_change": change}
    assert chosen_warning(report) == WARNINGS[objective, change]


def test_the_warning_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_dpo, "changes", lambda *_: {"first_loss": 1, "last_loss": 1, "chosen_logprob_change": -1})
    configure(epochs=0.2)
    main()
    assert "warning: the log-probability of chosen fell by 1; " in capsys.readouterr().err


def test_kto_tells_nothing_of_a_label_that_it_did_not_see(folder: Path, pairs: pl.DataFrame) -> None:
    put("pairs", pairs.head(8))
    configure(objective="kto", batch_size=2, epochs=0.2)
    main()
    report = read_json(REPORT)
    changed = [report[f"{side}_logprob_change"] for side in ("chosen", "rejected")]
    assert report["steps"] == 2 and changed.count(None) == 1


@pytest.mark.parametrize("objective", ["cdpo", "ipo", "kto", "simpo", "orpo", "cpo", "dpo_sft", "rft"])
def test_micro_batches_change_no_loss(objective: str, folder: Path) -> None:
    found = []
    for micro_batch in (None, 2):
        configure(objective=objective, micro_batch=micro_batch, save_steps=20)
        main()
        found.append(curve("loss"))
    assert len(found[0]) == (4 if objective == "kto" else 3)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("objective", ["cdpo", "kto", "orpo"])
def test_adapters_start_at_the_reference_and_end_merged_into_the_model(objective: str, folder: Path) -> None:
    configure(objective=objective, lora=LORA)
    main()
    assert {path.name for path in MODEL.iterdir()} == {*MODEL_FILES, "adapter"}
    assert {path.name for path in (MODEL / "adapter").iterdir()} == {
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
        GPT2LMHeadModel(config).save_pretrained(BASE)
    else:
        dropping = copy.deepcopy(model.config)
        dropping.attention_dropout = 0.5
        dropping.save_pretrained(BASE)
    configure(lora=lora, epochs=1.0)
    main()
    assert curve("rewards/margins")[0] == pytest.approx(0, abs=1e-4)


def test_the_dropout_of_adapters_counts(folder: Path) -> None:
    found = []
    for dropout in (0.0, 0.5):
        configure(lora=LORA | {"dropout": dropout}, epochs=1.0)
        main()
        found.append(sha256_folder(MODEL))
    assert found[0] != found[1]


def test_only_the_block_of_the_chosen_objective_is_read(folder: Path) -> None:
    write_params(train_dpo=PARAMS | {"epochs": 0.5}, objectives={"cdpo": BLOCKS["cdpo"], "kto": None})
    main()
    assert read_json(REPORT)["objective"] == "cdpo"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"beta": 0.1}, "`train_dpo.beta` is not a param; `train_dpo` knows: lora, seed, epochs"),
        ({"objective": "ppo"}, "`train_dpo.objective` is 'ppo'; input should be 'dpo', 'cdpo', 'robust'"),
        ({"objective": "kto", "micro_batch": 1},
         "`train_dpo.objective` is 'kto'; it wants `batch_size` and `micro_batch` of 2 or more; raise them"),
        ({"micro_batch": 3}, "`train_dpo.micro_batch` is 3; give a number that divides `batch_size`, which is 8"),
        ({"seed": 2**32}, "`train_dpo.seed` is 4294967296; input should be less than 4294967296"),
        ({"lora": LORA | {"r": 4}}, "`train_dpo.lora.r` is not a param; `train_dpo.lora` knows: rank, alpha, dropout"),
    ],
)  # fmt: skip
def test_a_wrong_param_is_named(section: dict[str, Any], message: str, folder: Path) -> None:
    configure(**section)
    assert refusal().startswith(f"params.yaml: {message}")


@pytest.mark.parametrize(
    ("name", "block", "message"),
    [
        ("kto", BLOCKS["kto"] | {"epsilon": 0.1},
         ".epsilon` is not a param; `objectives.kto` knows: beta, desirable_weight, undesirable_weight"),
        ("simpo", {"beta": 2.0}, ".gamma` is missing; set it"),
        ("cdpo", {"beta": 0.1, "epsilon": 0.5}, ".epsilon` is 0.5; input should be less than 0.5"),
        ("robust", {"beta": 0.1, "epsilon": 0.0}, ".epsilon` is 0.0; input should be greater than"),
        ("ipo", {"beta": float("inf")}, ".beta` is inf; input should be a finite number"),
    ],
)  # fmt: skip
def test_a_wrong_param_of_the_chosen_objective_is_named(
    name: str, block: dict[str, float], message: str, folder: Path
) -> None:
    write_params(train_dpo=PARAMS | {"objective": name}, objectives={name: block})
    assert refusal().startswith(f"params.yaml: `objectives.{name}{message}")


def refusal() -> str:
    """The one sentence that the stage refuses to run with."""
    with pytest.raises(UserError) as caught:
        main()
    [sentence] = caught.value.sentences
    return sentence


def test_pairs_with_a_side_longer_than_max_length_are_left_out_and_counted(folder: Path, pairs: pl.DataFrame) -> None:
    changes = {
        side: pl.when(pl.col("pair_id").str.ends_with(digit)).then(pl.col(side) + " OR 1" * 100).otherwise(side)
        for side, digit in {"chosen": "1", "rejected": "2"}.items()
    }
    put("pairs", pairs.with_columns(**changes))
    main()
    report = read_json(REPORT)
    assert (report["in"], report["trained_on"], report["dropped"]) == (48, 42, {"longer_than_max_length": 6})


def test_longer_pairs_alone_are_refused(folder: Path) -> None:
    configure(max_length=10)
    with pytest.raises(UserError, match=r"no pair has at most 10 tokens on both sides; raise `train_dpo.max_length`"):
        main()


def test_no_pairs_are_refused(folder: Path, pairs: pl.DataFrame) -> None:
    put("pairs", pairs.clear())
    with pytest.raises(UserError, match=r"pairs.parquet holds no pairs; loosen `pairs.neg_filter`"):
        main()
    assert not MODEL.exists()


def test_pairs_that_changed_after_validation_train_nothing(folder: Path, pairs: pl.DataFrame) -> None:
    write_dataset(pairs.head(40), PAIRS)
    with pytest.raises(UserError, match=r"pairs.parquet has changed since reports/validation/pairs.json was written"):
        main()
    assert not MODEL.exists()
