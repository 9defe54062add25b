"""What is kept of samples, with an engine that counts what it is asked."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.lm.completions import Ask, Decoding, Keep, Sample, sample_all
from stages.sampling.engines import open_engine

ASKS = [Ask(f"demo/train/{number:04}", "music", f"{number}?") for number in range(5)]
DECODING = Decoding(n=4, temperature=1.0, top_p=1.0, max_tokens=6, seed=3)
TOO_LONG = ASKS[3]


class Counting:
    """Two questions a batch; a sample tells which it is. `asked`: each sample made, as (question, number)."""

    name, version, together = "counting", "v1", 4

    def __init__(self, stop_after: int = 99) -> None:
        self.asked: list[tuple[str, int]] = []
        self.calls, self.stop_after = 0, stop_after

    def batches(self, asks: Sequence[Ask]) -> list[list[int]]:
        return [list(range(len(asks)))[start : start + 2] for start in range(0, len(asks), 2)]

    def identity(self, batch: Sequence[Ask]) -> object:
        return self.version

    def sample(self, asks: Sequence[Ask], decoding: Decoding, first: int, count: int) -> list[list[Sample]]:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        rows: list[list[Sample]] = []
        for ask in asks:
            numbers = [] if ask == TOO_LONG else range(first, first + count)
            self.asked += [(ask.question_id, number) for number in numbers]
            rows.append([Sample(f"{ask.prompt} {number} {decoding.seed}", "stop", 3, -0.1) for number in numbers])
        return rows

    def report(self) -> dict[str, Any]:
        return {}


class CountingLive(Counting):
    """Gives one sample after the other, with `mark` behind it, and none of a question from number `until` on."""

    together = 1

    def __init__(self, until: int = 99, stop_after: int = 99, mark: str = "") -> None:
        super().__init__(stop_after)
        self.until, self.mark = until, mark

    def sample_live(self, asks: Sequence[Ask], decoding: Decoding, numbers: Sequence[range], keep: Keep) -> None:
        for position, (ask, own) in enumerate(zip(asks, numbers, strict=True)):
            for number in range(own.start, min(own.stop, self.until)):
                ((sample,),) = self.sample([ask], decoding, number, 1)
                keep(position, [replace(sample, completion=sample.completion + self.mark)])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def sampled(
    engine: Counting, cache: Cache, decoding: Decoding = DECODING, asks: Sequence[Ask] = ASKS
) -> dict[str, list[Sample]]:
    """The samples by question."""
    return {
        asks[position].question_id: row
        for positions, rows in sample_all(engine, asks, decoding, cache)
        for position, row in zip(positions, rows, strict=True)
    }


def test_each_question_has_n_samples_and_one_longer_than_the_context_none(cache: Cache) -> None:
    found = sampled(Counting(), cache)
    assert {name: len(row) for name, row in found.items()} == {ask.question_id: 4 for ask in ASKS} | {
        TOO_LONG.question_id: 0
    }
    assert [sample.completion for sample in found["demo/train/0001"]] == [f"1? {number} 3" for number in range(4)]


def test_what_is_in_the_cache_is_not_sampled_again(cache: Cache) -> None:
    first = sampled(Counting(), cache)
    again = Counting()
    assert sampled(again, cache) == first
    assert again.asked == []


def test_more_samples_are_added_to_those_that_are_there(cache: Cache) -> None:
    first = sampled(Counting(), cache)
    more = Counting()
    found = sampled(more, cache, replace(DECODING, n=8))
    assert {number for _, number in more.asked} == {4, 5, 6, 7}
    assert {name: row[:4] for name, row in found.items()} == first


def test_samples_are_made_as_many_at_a_time_as_the_engine_says_and_greedy_ones_singly(cache: Cache) -> None:
    some, greedy = Counting(), Counting()
    found = sampled(some, cache, replace(DECODING, n=5))
    assert {number for _, number in some.asked} == set(range(8)) and len(found["demo/train/0000"]) == 5
    sampled(greedy, cache, replace(DECODING, n=1, temperature=0.0))
    assert {number for _, number in greedy.asked} == {0}


def test_a_stopped_run_goes_on_with_the_batches_that_are_done(cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        sampled(Counting(stop_after=1), cache)
    rest = Counting()
    assert sampled(rest, cache) == sampled(Counting(), cache)
    assert {name for name, _ in rest.asked} == {"demo/train/0002", "demo/train/0004"}


def test_a_stopped_run_of_an_engine_that_is_paid_for_goes_on_with_the_sample_it_lacks(cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        sampled(CountingLive(stop_after=6), cache, asks=ASKS[:2])
    rest = CountingLive()
    found = sampled(rest, cache, replace(DECODING, n=5), ASKS[:2])
    assert rest.asked == [("demo/train/0000", 4)] + [("demo/train/0001", number) for number in (2, 3, 4)]
    assert [one.completion for one in found["demo/train/0001"]] == [f"1? {number} 3" for number in range(5)]


def test_a_question_that_turns_out_too_long_has_no_samples(cache: Cache) -> None:
    assert sampled(CountingLive(until=3), cache, asks=ASKS[:1]) == {"demo/train/0000": []}


def test_of_two_runs_at_once_what_was_kept_first_counts_in_both(cache: Cache) -> None:
    class Overtaken(CountingLive):
        def sample_live(self, asks: Sequence[Ask], decoding: Decoding, numbers: Sequence[range], keep: Keep) -> None:
            sampled(CountingLive(mark=" of the other"), cache, asks=asks)
            super().sample_live(asks, decoding, numbers, keep)

    (row,) = sampled(Overtaken(), cache, asks=ASKS[:1]).values()
    assert [one.completion for one in row] == [f"0? {number} 3 of the other" for number in range(4)]


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"top_p": 0.9}, {"max_tokens": 7}, {"seed": 4}], ids=str)
def test_samples_of_another_decoding_are_not_used(changed: dict[str, Any], cache: Cache) -> None:
    sampled(Counting(), cache)
    other = Counting()
    sampled(other, cache, replace(DECODING, **changed))
    assert len(other.asked) == 16


def test_samples_of_another_model_or_prompt_are_not_used(cache: Cache) -> None:
    sampled(Counting(), cache)
    model, prompt = Counting(), Counting()
    model.version = "v2"
    sampled(model, cache)
    sampled(prompt, cache, asks=[replace(ask, prompt=f"{ask.prompt}?") for ask in ASKS[:2]])
    assert (len(model.asked), len(prompt.asked)) == (16, 8)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_is_asked_for_where_it_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`engine` is vllm, which is not installed; `pip install '.\[vllm\]'`"):
        open_engine("vllm", tmp_path, 4)
