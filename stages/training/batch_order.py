"""The order of rows in training: batches of similar lengths, the same on one process and on many."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer

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


def order_batches(trainer: "Trainer", lengths: list[int]) -> None:
    """Makes the trainer read its rows in `epoch_order`; `lengths`: the tokens of each row.

    The trainer cuts the order into micro batches and deals consecutive ones to the processes in turn, so a step has the
    same rows on any number of processes. The callback sets the epoch: in a resumed run on several processes, the
    trainer's own `set_epoch` does not reach the sampler.
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
