"""The order of the rows in training."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from stages.training.batch_order import epoch_order, order_batches
from tests.training.test_trainer import trained

LENGTHS = [20 + number**2 % 281 for number in Random(1).sample(range(10**6), 1000)]


def batches(order: list[int], size: int) -> list[list[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def padding(lengths: list[int], batch: list[int]) -> int:
    return sum(max(lengths[row] for row in batch) - lengths[row] for row in batch)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 999, 1500])
def test_every_row_is_in_an_epoch_and_all_batches_are_full(batch_size: int) -> None:
    counts = Counter(epoch_order(LENGTHS, batch_size, seed=1, epoch=0))
    assert counts.keys() == set(range(1000)) and counts.total() % batch_size == 0
    assert counts.total() - 1000 < batch_size
    assert max(counts.values()) - min(counts.values()) <= 1


def test_little_of_a_batch_is_padding() -> None:
    order = epoch_order(LENGTHS, 16, seed=1, epoch=0)
    ours = sum(padding(LENGTHS, batch) for batch in batches(order, 16))
    plain = sum(padding(LENGTHS, batch) for batch in batches(list(range(1000)), 16))
    assert ours < plain / 10


def test_batches_are_in_no_order_of_length() -> None:
    firsts = [LENGTHS[batch[0]] for batch in batches(epoch_order(LENGTHS, 16, seed=1, epoch=0), 16)]
    falls = sum(later < earlier for earlier, later in pairwise(firsts))
    assert 0.3 < falls / len(firsts) < 0.7


def test_seed_and_epoch_alone_decide_the_order() -> None:
    orders = [epoch_order(LENGTHS, 16, seed, epoch) for seed, epoch in [(1, 0), (1, 0), (1, 1), (2, 0), (11, 0)]]
    assert orders[0] == orders[1]
    assert all(order != other for at, order in enumerate(orders[1:]) for other in orders[at + 2 :])


def rows_by_step(monkeypatch: pytest.MonkeyPatch, rows: pl.DataFrame, folder: Path, **changed: Any) -> list[list[int]]:
    """The ids of the tokens of each step of a training, its micro batches put together."""
    rows_of_steps: list[list[int]] = []

    def watch(trainer: Any, lengths: list[int], samples: int) -> None:
        order_batches(trainer, lengths, samples)
        get = trainer.get_batch_samples

        def watched(*given: Any) -> Any:
            batches, count = get(*given)
            rows_of_steps.append(
                sorted(id_ for batch in batches for id_ in batch["input_ids"].flatten().tolist() if id_)
            )
            return batches, count

        trainer.get_batch_samples = watched

    with monkeypatch.context() as patched:
        patched.setattr("stages.training.trainer.order_batches", watch)
        trained(rows, folder, **changed)
    return rows_of_steps


def test_a_step_has_the_same_rows_whatever_its_micro_batches(
    sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows_by_step(monkeypatch, sft_rows, tmp_path / "whole")
    cut = rows_by_step(monkeypatch, sft_rows, tmp_path / "cut", micro_batch=2)
    assert len(whole) == 12 and whole == cut
    assert whole[:6] != whole[6:]  # another epoch, another order


@pytest.mark.parametrize("passes", [1, 3])
def test_with_samples_each_row_comes_so_often_and_a_step_once_for_each_of_its_micro_batches(passes: int) -> None:
    args = SimpleNamespace(
        per_device_train_batch_size=12 // passes, gradient_accumulation_steps=passes, world_size=1, seed=1
    )
    trainer: Any = SimpleNamespace(args=args, add_callback=lambda callback: None)
    order_batches(trainer, LENGTHS[:10], samples=4)
    order = list(trainer._get_train_sampler())
    rows = epoch_order(LENGTHS[:10], 3, seed=1, epoch=0)
    assert len(order) == len(trainer._get_train_sampler()) == 12 * 4 * passes
    first = [row for row in rows[:3] for _ in range(4)]
    assert order[: 12 * passes] == first * passes
    assert order[12 * passes : 24 * passes] == [row for row in rows[3:6] for _ in range(4)] * passes
