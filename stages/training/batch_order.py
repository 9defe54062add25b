"""The order of rows in training: batches of similar lengths, the same on one process and on many."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

_WINDOW = 50  # batches whose rows are sorted by length together: rows stay mixed, and there is little padding


def epoch_order(lengths: list[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """The row numbers of one epoch, batch after batch. Depends on nothing but the arguments.

    Rows are shuffled, sorted by length within windows of 50 batches, and cut into batches, which are shuffled. Every
    row is included; the first shuffled rows fill up the last batch, so that each step has `batch_size` rows, however
    many processes and micro batches share it. The longest row of a batch comes first.
    """
    random = Random(f"{seed}/{epoch}")
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    missing = -len(rows) % batch_size
    rows += (rows * (missing // len(rows) + 1))[:missing]
    size = _WINDOW * batch_size
    windows = [rows[start : start + size] for start in range(0, len(rows), size)]
    ordered = [row for window in windows for row in sorted(window, key=lambda row: -lengths[row])]
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    random.shuffle(batches)
    return [row for batch in batches for row in batch]


def rows_per_step(args: "TrainingArguments", samples: int = 1) -> int:
    """The rows of a step, over all processes and micro batches. `samples`: completions of each row, in GRPO."""
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size) // samples


def tokens_of_steps(lengths: list[int], batch_size: int, seed: int, steps: range) -> int:
    """The tokens of all rows of these `steps` of a training, counted from 0 over its epochs; no padding."""
    steps_per_epoch = -(-len(lengths) // batch_size)
    epochs = {step // steps_per_epoch for step in steps}
    orders = {epoch: epoch_order(lengths, batch_size, seed, epoch) for epoch in epochs}
    starts = [(orders[step // steps_per_epoch], step % steps_per_epoch * batch_size) for step in steps]
    return sum(lengths[row] for order, start in starts for row in order[start : start + batch_size])


def order_batches(trainer: "Trainer", lengths: list[int], samples: int = 1) -> None:
    """Makes the trainer read its rows in `epoch_order`; `lengths`: the tokens of each row.

    With more than one of `samples`, the order is that of GRPO: each row of a step comes so many times, one after the
    other, and the whole step once for each of its micro batches.

    The trainer cuts the order into micro batches and deals consecutive ones to the processes in turn, so a step has the
    same rows on any number of processes. The callback sets the epoch: in a resumed run on several processes, the
    trainer's own `set_epoch` does not reach the sampler.
    """
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Order(torch.utils.data.Sampler[int]):
        epoch = 0

        def __iter__(self) -> Iterator[int]:
            rows = epoch_order(lengths, batch_size, args.seed, self.epoch)
            if samples == 1:
                return iter(rows)
            steps = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
            return iter([row for step in steps for _ in range(passes) for row in step for _ in range(samples)])

        def __len__(self) -> int:
            return (len(lengths) + -len(lengths) % batch_size) * samples * passes

    args = trainer.args
    passes = args.gradient_accumulation_steps if samples > 1 else 1
    batch_size = rows_per_step(args, samples)
    order = Order()

    class Epochs(TrainerCallback):
        def on_epoch_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            order.epoch = int(state.epoch or 0)

    trainer.add_callback(Epochs())
    trainer._get_train_sampler = lambda train_dataset=None: order  # type: ignore[method-assign]
