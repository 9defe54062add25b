"""The order of the rows in training: batches of like lengths, the same on one process and on many."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer

_WINDOW = 50  # batches whose rows are sorted by length together: mixes the rows, and leaves little padding


def epoch_order(lengths: list[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """Row numbers of one epoch, batch after batch; a function of the arguments alone.

    Rows are shuffled, sorted by length within windows of 50 batches, and the batches are shuffled. Every row is there;
    the first of the shuffled rows fill the last batch up, so that each step has `batch_size` rows, however many
    processes and micro batches share it. In a batch the longest row comes first.
    """
    random = Random(f"{seed}/{epoch}")
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    missing = -len(rows) % batch_size
    rows += (rows * (missing // len(rows) + 1))[:missing]
    size = _WINDOW * batch_size
    windows = [sorted(rows[at : at + size], key=lambda row: -lengths[row]) for at in range(0, len(rows), size)]
    ordered = [row for window in windows for row in window]
    batches = [ordered[at : at + batch_size] for at in range(0, len(ordered), batch_size)]
    random.shuffle(batches)
    return [row for batch in batches for row in batch]


def order_batches(trainer: "Trainer", lengths: list[int]) -> None:
    """Makes the trainer take its rows, of these lengths, in `epoch_order`.

    The trainer cuts the order into micro batches and deals consecutive ones to the processes in turn, so a step sees
    the same rows everywhere. The callback sets the epoch: on several processes the trainer's own `set_epoch` does not
    reach a sampler in a run that resumes.
    """
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Order(torch.utils.data.Sampler[int]):
        epoch = 0

        def __iter__(self) -> Iterator[int]:
            return iter(epoch_order(lengths, batch_size, args.seed, self.epoch))

        def __len__(self) -> int:
            return len(lengths) + -len(lengths) % batch_size

    args = trainer.args
    batch_size: int = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    order = Order()

    class Epochs(TrainerCallback):
        def on_epoch_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            order.epoch = int(state.epoch or 0)

    trainer.add_callback(Epochs())
    trainer._get_train_sampler = lambda train_dataset=None: order  # type: ignore[method-assign]
