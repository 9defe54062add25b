"""Caching completions, with an engine that counts what it samples."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.lm.completions import Completion, Decoding, PromptedQuestion, Save, sample_all
from stages.sampling.engines import open_engine

QUESTIONS = [PromptedQuestion(f"demo/train/{number:04}", "music", f"{number}?") for number in range(5)]
DECODING = Decoding(n=4, temperature=1.0, top_p=1.0, max_tokens=6, seed=3)
TOO_LONG = QUESTIONS[3]


class Counting:
    """Has two questions a batch. `requested`: the completions sampled, as (question, number)."""

    name, version, block_size = "counting", "v1", 4

    def __init__(self, stop_after: int = 99) -> None:
        self.requested: list[tuple[str, int]] = []
        self.calls, self.stop_after = 0, stop_after

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        return [list(range(len(questions)))[start : start + 2] for start in range(0, len(questions), 2)]

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        return self.version

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        rows: list[list[Completion]] = []
        for question in questions:
            numbers = [] if question == TOO_LONG else range(first, first + count)
            self.requested += [(question.question_id, number) for number in numbers]
            rows.append(
                [Completion(f"{question.prompt} {number} {decoding.seed}", "stop", 3, -0.1) for number in numbers]
            )
        return rows

    def report(self) -> dict[str, Any]:
        return {}


class CountingIncremental(Counting):
    """Saves completions one by one, with `mark` behind each, and none of a question from number `until` on."""

    block_size = 1

    def __init__(self, until: int = 99, stop_after: int = 99, mark: str = "") -> None:
        super().__init__(stop_after)
        self.until, self.mark = until, mark

    def sample_incrementally(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, numbers: Sequence[range], save: Save
    ) -> None:
        for position, (question, own) in enumerate(zip(questions, numbers, strict=True)):
            for number in range(own.start, min(own.stop, self.until)):
                ((sample,),) = self.sample([question], decoding, number, 1)
                save(position, [replace(sample, completion=sample.completion + self.mark)])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def sampled(
    engine: Counting, cache: Cache, decoding: Decoding = DECODING, questions: Sequence[PromptedQuestion] = QUESTIONS
) -> dict[str, list[Completion]]:
    """The samples by question."""
    return {
        questions[position].question_id: row
        for positions, rows in sample_all(engine, questions, decoding, cache)
        for position, row in zip(positions, rows, strict=True)
    }


def test_each_question_has_n_samples_and_one_longer_than_the_context_none(cache: Cache) -> None:
    completions = sampled(Counting(), cache)
    assert {name: len(row) for name, row in completions.items()} == {
        question.question_id: 4 for question in QUESTIONS
    } | {TOO_LONG.question_id: 0}
    assert [sample.completion for sample in completions["demo/train/0001"]] == [f"1? {number} 3" for number in range(4)]


def test_cached_completions_are_not_sampled_again(cache: Cache) -> None:
    first = sampled(Counting(), cache)
    again = Counting()
    assert sampled(again, cache) == first
    assert again.requested == []


def test_more_samples_are_added_to_the_cached_ones(cache: Cache) -> None:
    first = sampled(Counting(), cache)
    more = Counting()
    completions = sampled(more, cache, replace(DECODING, n=8))
    assert {number for _, number in more.requested} == {4, 5, 6, 7}
    assert {name: row[:4] for name, row in completions.items()} == first


def test_samples_come_in_blocks_of_the_engines_size_and_greedy_ones_singly(cache: Cache) -> None:
    sampling, greedy = Counting(), Counting()
    completions = sampled(sampling, cache, replace(DECODING, n=5))
    assert {number for _, number in sampling.requested} == set(range(8)) and len(completions["demo/train/0000"]) == 5
    sampled(greedy, cache, replace(DECODING, n=1, temperature=0.0))
    assert {number for _, number in greedy.requested} == {0}


def test_a_stopped_run_keeps_its_finished_batches(cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        sampled(Counting(stop_after=1), cache)
    rest = Counting()
    assert sampled(rest, cache) == sampled(Counting(), cache)
    assert {name for name, _ in rest.requested} == {"demo/train/0002", "demo/train/0004"}


def test_a_run_killed_while_it_saves_leaves_no_batch_in_part(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = cache.put, itertools.count(1)

    def put_once(records: Iterable[tuple[bytes, Any]]) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        put(records)

    monkeypatch.setattr(cache, "put", put_once)
    with pytest.raises(KeyboardInterrupt):
        sampled(Counting(), cache)
    monkeypatch.undo()
    rest = Counting()
    assert sampled(rest, cache) == sampled(Counting(), cache)
    assert {name for name, _ in rest.requested} == {"demo/train/0002", "demo/train/0004"}


def test_a_stopped_run_of_an_incremental_engine_resumes_with_the_first_missing_sample(cache: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        sampled(CountingIncremental(stop_after=6), cache, questions=QUESTIONS[:2])
    rest = CountingIncremental()
    completions = sampled(rest, cache, replace(DECODING, n=5), QUESTIONS[:2])
    assert rest.requested == [("demo/train/0000", 4)] + [("demo/train/0001", number) for number in (2, 3, 4)]
    assert [sample.completion for sample in completions["demo/train/0001"]] == [f"1? {number} 3" for number in range(5)]


def test_a_question_that_turns_out_too_long_has_no_samples(cache: Cache) -> None:
    assert sampled(CountingIncremental(until=3), cache, questions=QUESTIONS[:1]) == {"demo/train/0000": []}


def test_of_two_concurrent_runs_the_completion_cached_first_counts_in_both(cache: Cache) -> None:
    class Overtaken(CountingIncremental):
        def sample_incrementally(
            self, questions: Sequence[PromptedQuestion], decoding: Decoding, numbers: Sequence[range], save: Save
        ) -> None:
            sampled(CountingIncremental(mark=" of the other"), cache, questions=questions)
            super().sample_incrementally(questions, decoding, numbers, save)

    (row,) = sampled(Overtaken(), cache, questions=QUESTIONS[:1]).values()
    assert [sample.completion for sample in row] == [f"0? {number} 3 of the other" for number in range(4)]


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"top_p": 0.9}, {"max_tokens": 7}, {"seed": 4}], ids=str)
def test_samples_of_another_decoding_are_not_used(changed: dict[str, Any], cache: Cache) -> None:
    sampled(Counting(), cache)
    other = Counting()
    sampled(other, cache, replace(DECODING, **changed))
    assert len(other.requested) == 16


def test_samples_of_another_model_or_prompt_are_not_used(cache: Cache) -> None:
    sampled(Counting(), cache)
    model, prompt = Counting(), Counting()
    model.version = "v2"
    sampled(model, cache)
    sampled(prompt, cache, questions=[replace(question, prompt=f"{question.prompt}?") for question in QUESTIONS[:2]])
    assert (len(model.requested), len(prompt.requested)) == (16, 8)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_is_asked_for_where_it_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`engine` is vllm, which is not installed; `pip install '.\[vllm\]'`"):
        open_engine("vllm", tmp_path, 4)
