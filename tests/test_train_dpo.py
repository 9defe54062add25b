import copy
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from ruamel.yaml import YAML
from torch.nn.functional import logsigmoid
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import train_dpo
from stages.errors import UserError
from stages.files import read_json, sha256_file, sha256_folder
from stages.receipts import write_receipt
from stages.tables import COLUMNS, write_table
from stages.train_dpo import TrainDpoParams, dpo_trainer, main
from tests.test_train_sft import MODEL_FILES

PARAMS: dict[str, Any] = {
    "seed": 1, "beta": 0.5, "epsilon": 0.1, "sft_weight": 0.0, "epochs": 2.0, "batch_size": 8, "learning_rate": 1e-3,
    "warmup": 0.1, "max_length": 128, "save_steps": 10,
}  # fmt: skip


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


def logprobs(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str) -> torch.Tensor:
    """The log-probability of each token of a completion and of its end token, from a plain forward pass."""
    start = len(tokenizer(prompt)["input_ids"])
    ids = [*tokenizer(prompt + completion)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return torch.stack([scores[at - 1, ids[at]] for at in range(start, len(ids))])


def expected_loss(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame,
    params: TrainDpoParams,
) -> float:
    """The mean over the pairs of `-(1-ε)·logσ(βΔ) - ε·logσ(-βΔ)`, and the chosen's mean loss a token, weighted."""
    losses, tokens = [], []
    for prompt, chosen, rejected in pairs.select("prompt", "chosen", "rejected").rows():
        change = {
            text: logprobs(policy, tokenizer, prompt, text).sum() - logprobs(reference, tokenizer, prompt, text).sum()
            for text in (chosen, rejected)
        }
        delta = params.beta * (change[chosen] - change[rejected])
        losses.append(-(1 - params.epsilon) * logsigmoid(delta) - params.epsilon * logsigmoid(-delta))
        tokens.append(-logprobs(policy, tokenizer, prompt, chosen))
    return float(torch.stack(losses).mean() + params.sft_weight * torch.cat(tokens).mean())


def losses_of(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, work: Path, **changed: Any
) -> tuple[float, float]:
    """The trainer's loss on a batch of all `pairs`, the policy moved away from the reference, and the formula's."""
    params = TrainDpoParams.model_validate(PARAMS | {"batch_size": pairs.height} | changed)
    policy = copy.deepcopy(model)
    trainer = dpo_trainer(policy, tokenizer, pairs, params, work)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.1)
        batch = next(iter(trainer.get_train_dataloader()))
        loss = float(trainer.compute_loss(policy, batch))
    return loss, expected_loss(policy, model, tokenizer, pairs, params)


@pytest.mark.parametrize("sft_weight", [0.0, 0.7])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3])
def test_the_trained_loss_is_that_of_the_formula(
    epsilon: float, sft_weight: float, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame,
    tmp_path: Path,
) -> None:
    trained, expected = losses_of(
        model, tokenizer, pairs.head(8), tmp_path, epsilon=epsilon, sft_weight=sft_weight
    )
    assert trained == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_of_the_sigmoid_loss_alone_would_not_be_that_of_the_formula(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_dpo, "cdpo_losses", lambda epsilon, sft_weight: (["sigmoid"], [1.0]))
    trained, expected = losses_of(model, tokenizer, pairs.head(8), tmp_path)
    assert abs(trained - expected) > 1e-3


@pytest.fixture
def folder(
    tmp_path: Path, pairs: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with the pairs, their receipt, the base model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [
        "train_dpo", "--pairs=pairs.parquet", "--pairs-receipt=receipt.json", "--base=base", "--model=models/dpo",
        "--report=report.json", "--curve=curve.csv",
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
    return [sha256_folder(Path("models")), sha256_file(Path("report.json")), sha256_file(Path("curve.csv"))]


def test_the_same_pairs_and_params_give_the_same_bytes_and_no_pickle(folder: Path) -> None:
    main()
    first = made()
    assert {path.name for path in (folder / "models").rglob("*")} == {"dpo", *MODEL_FILES}
    main()
    assert made() == first


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_training_starts_at_a_log_ratio_of_0_and_widens_it(epsilon: float, folder: Path) -> None:
    write_params(epsilon=epsilon, epochs=4.0)
    main()
    report, curve = read_json(folder / "report.json"), pl.read_csv(folder / "curve.csv")
    assert report["first_loss"] == 0.6931
    assert curve["step"].to_list() == [1, 10, 20] and report["steps"] == 24
    margins = (curve["rewards_chosen"] - curve["rewards_rejected"]).to_list()
    assert margins[0] == pytest.approx(0, abs=1e-4) and min(margins[1:]) > 0.1


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
