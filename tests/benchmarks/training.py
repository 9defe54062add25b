"""How fast is training? `python -m tests.benchmarks.training [part …]` prints one line a part.

An epoch of ours (batches of like lengths, only the labels scored, the reference computed once) against one of TRL's own
trainer with its defaults (random batches, padded; the reference computed at each step), with the same rows, model,
batch size, learning rate and precision (float32, no gradient checkpointing): the tokens of the rows, without padding, a
second of training, the reference included, the two sides in turn, several times. Medians, and in brackets the smallest
and the largest; and the mean loss of the epoch on both sides, which differs only by the order of the batches. Needs
data/sft.parquet, data/pairs.parquet and models/sft/strong (`dvc repro`), and a quiet machine; on a few processors,
`OMP_NUM_THREADS=1 taskset -c 0` measures best.

- `sft`: the demo's strong model from its start, as in train_sft.strong.
- `packing`: the same, ours packed.
- `cdpo`: the demo's strong model as trained, as in train_dpo.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.params import read_params
from stages.lm.loading import load_model
from stages.train_dpo import TrainDpoParams
from stages.train_sft import TrainSftParams, sft_trainer
from stages.training.objectives import Cdpo
from stages.training.preference_trainers import preference_config, preference_trainer, row_lengths
from stages.training.scratch_model import new_model
from stages.training.trainer import fits_max_length, train, trainer_settings
from tests import ROOT
from tests.benchmarks.speed import said

if TYPE_CHECKING:
    from transformers import Trainer

STRONG = ROOT / "models" / "sft" / "strong"
OURS = {"max_length", "seed", "data_seed", "num_train_epochs", "per_device_train_batch_size", "learning_rate",
        "lr_scheduler_type", "warmup_steps", "adam_beta2", "bf16", "gradient_checkpointing", "use_cpu", "logging_steps",
        "output_dir", "report_to", "save_strategy"}  # fmt: skip
ROWS, PAIRS = 960, 480


def rows_of(name: str, count: int, sides: list[str], max_length: int) -> tuple[pl.DataFrame, int]:
    """Rows drawn from a dataset, and the tokens of all texts that are trained on."""
    _, tokenizer = load_model(STRONG)
    rows = pl.read_parquet(ROOT / "data" / f"{name}.parquet")
    for side in sides:
        rows = rows.filter(fits_max_length(rows["prompt"] + rows[side], tokenizer, max_length))
    rows = rows.sample(count, seed=1, shuffle=True)
    texts = [prompt + text for side in sides for prompt, text in rows.select("prompt", side).rows()]
    return rows, sum(len(ids) + 1 for ids in tokenizer(texts)["input_ids"])


def plain_settings(params: TrainSftParams | TrainDpoParams, work: Path) -> dict[str, Any]:
    """What both sides have in common; all else is TRL's default."""
    return {name: value for name, value in trainer_settings(params, work).items() if name in OURS}


def our_sft(rows: pl.DataFrame, params: TrainSftParams, work: Path) -> tuple["Trainer", Callable[[], object]]:
    from trl import SFTConfig

    model, tokenizer = start_of(params)
    config = SFTConfig(
        **trainer_settings(params, work), completion_only_loss=params.loss_on == "completion", packing=params.packing,
        shuffle_dataset=params.packing,
    )
    trainer: Any = sft_trainer(model, tokenizer, rows, config)
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    return trainer, lambda: train(trainer, lengths, work, work / "live")


def trl_sft(rows: pl.DataFrame, params: TrainSftParams, work: Path) -> tuple["Trainer", Callable[[], object]]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = start_of(params)
    config = SFTConfig(**plain_settings(params, work), completion_only_loss=params.loss_on == "completion")
    data = Dataset.from_dict(rows.select("prompt", "completion").to_dict(as_series=False))
    trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    return trainer, trainer.train


def start_of(params: TrainSftParams) -> tuple[Any, Any]:
    _, tokenizer = load_model(STRONG)
    assert params.scratch is not None
    size = params.scratch
    return new_model(tokenizer, size.hidden_size, size.layers, size.heads, params.seed), tokenizer  # type: ignore[arg-type]


def our_cdpo(
    pairs: pl.DataFrame, params: TrainDpoParams, cdpo: Cdpo, work: Path
) -> tuple["Trainer", Callable[[], object]]:
    model, tokenizer = load_model(STRONG)
    trainer = preference_trainer(model, tokenizer, pairs, cdpo, preference_config(cdpo, params, work))
    return trainer, lambda: train(trainer, row_lengths(trainer), work, work / "live")


def trl_cdpo(
    pairs: pl.DataFrame, params: TrainDpoParams, cdpo: Cdpo, work: Path
) -> tuple["Trainer", Callable[[], object]]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = load_model(STRONG)
    config = DPOConfig(
        **plain_settings(params, work), beta=cdpo.beta, label_smoothing=cdpo.epsilon,
        loss_type=["sigmoid", "robust"], loss_weights=[2 * (1 - cdpo.epsilon), -(1 - 2 * cdpo.epsilon)],
    )
    data = Dataset.from_dict(pairs.select("prompt", "chosen", "rejected").to_dict(as_series=False))
    trainer = DPOTrainer(model, load_model(STRONG)[0], args=config, train_dataset=data, processing_class=tokenizer)
    return trainer, trainer.train


def compare(sides: list[Callable[[Path], tuple["Trainer", Callable[[], object]]]], tokens: int, turns: int) -> str:
    """The line of a part; each side makes its trainer in a folder, and what starts it."""
    rates: list[list[float]] = [[] for _ in sides]
    losses = [0.0 for _ in sides]
    for _ in range(turns):
        for at, side in enumerate(sides):
            with TemporaryDirectory() as work:
                trainer, run = side(Path(work))
                begin = time.perf_counter()
                run()
                rates[at].append(tokens / (time.perf_counter() - begin))
                losses[at] = trainer.state.log_history[-1]["train_loss"]
    ours, theirs = rates
    return (
        f"{said(ours, 'tokens/s')}; TRL {said(theirs, 'tokens/s')}; ratio {median(ours) / median(theirs):.2f} "
        f"(at least 1.5); loss {losses[0]:.4f}, TRL {losses[1]:.4f}"
    )


def part_sft(turns: int, **changed: object) -> str:
    params = read_params("train_sft.strong", TrainSftParams, ROOT / "params.yaml").model_copy(update={"epochs": 1.0})
    rows, tokens = rows_of("sft", ROWS, ["completion"], params.max_length)
    ours = params.model_copy(update=changed)
    return compare([lambda work: our_sft(rows, ours, work), lambda work: trl_sft(rows, params, work)], tokens, turns)


def part_packing(turns: int) -> str:
    return part_sft(turns, packing=True, batch_size=8)  # sequences of about four rows


def part_cdpo(turns: int) -> str:
    params = read_params("train_dpo", TrainDpoParams, ROOT / "params.yaml").model_copy(update={"epochs": 1.0})
    cdpo = read_params("objectives.cdpo", Cdpo, ROOT / "params.yaml")
    rows, tokens = rows_of("pairs", PAIRS, ["chosen", "rejected"], params.max_length)
    sides = [lambda work: our_cdpo(rows, params, cdpo, work), lambda work: trl_cdpo(rows, params, cdpo, work)]
    return compare(sides, tokens, turns)


PARTS: dict[str, Callable[[int], str]] = {"sft": part_sft, "packing": part_packing, "cdpo": part_cdpo}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all of them)")
    parser.add_argument("--turns", type=int, default=3, help="how often each side is measured (3)")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{', '.join(unknown)}: there is no such part; choose from {', '.join(PARTS)}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    for part in args.parts or PARTS:
        print(f"{part}: {PARTS[part](args.turns)}", flush=True)


if __name__ == "__main__":
    main()
