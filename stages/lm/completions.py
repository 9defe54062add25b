"""Samples completions with any engine, and caches each so that it is sampled once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint
from stages.core.progress import progress


@dataclass(frozen=True, slots=True)
class PromptedQuestion:
    """A question with its prompt. `group`: the prompts of one group, those about one database, begin alike."""

    question_id: str
    group: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion; the fields are columns of `candidates`.

    `tokens` counts the end token. `logprob` is the model's own log-probability (temperature 1), summed over the tokens.
    Both are None if the engine does not report them.
    """

    completion: str
    finish_reason: str  # "stop" at the end token, "length" at max_tokens
    tokens: int | None
    logprob: float | None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to sample. Temperature 0 is greedy decoding."""

    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


Save = Callable[[int, list[Completion]], None]
"""Takes the position of a question and its next completions."""


class Engine(Protocol):
    """Samples completions from one model.

    `name` and `version` are the model's, as in `candidates`. `block_size`: the completions of a question are sampled in
    whole blocks of this many; greedy decoding samples one.
    """

    name: str
    version: str
    block_size: int

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        """The positions in `questions` for each call of `sample`."""

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        """What completions depend on besides the question, its prompt and the decoding; part of the cache key.

        That is the model and the code, and the batch itself if it changes the rounding of sums.
        """

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        """Completions number `first` to `first + count` of each question; none if its prompt exceeds the context."""

    def report(self) -> dict[str, Any]:
        """Entries for the stage's report, such as the cost of the requests."""


@runtime_checkable
class IncrementalEngine(Protocol):
    """An engine whose completions cost money and cannot be sampled again, so each is saved as soon as it arrives."""

    def sample_incrementally(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, numbers: Sequence[range], save: Save
    ) -> None:
        """Passes the completions with these `numbers` of each question to `save`, in order.

        Saves none if the prompt exceeds the context. A range, even an empty one, that starts above 0 means that the
        completions before it are cached.
        """


def sample_all(
    engine: Engine, questions: Sequence[PromptedQuestion], decoding: Decoding, cache: Cache
) -> Iterator[tuple[list[int], list[list[Completion]]]]:
    """Yields batch after batch: positions in `questions`, and the `decoding.n` completions of each.

    A question has no completions if its prompt exceeds the model's context. Cached completions are not sampled again,
    so a killed run resumes, and a higher n only samples the additional ones.
    """
    label = f"{decoding.n} samples a question" if decoding.temperature else "greedy answers"
    with progress(label, len(questions), "questions") as bar:
        for positions in engine.batches(questions):
            yield positions, _sample_batch(engine, [questions[position] for position in positions], decoding, cache)
            bar.update(len(positions))


def _sample_batch(
    engine: Engine, questions: Sequence[PromptedQuestion], decoding: Decoding, cache: Cache
) -> list[list[Completion]]:
    block_size = _block_size(engine, decoding)
    total = -(-decoding.n // block_size) * block_size
    settings = {name: value for name, value in asdict(decoding).items() if name != "n"}
    base = fingerprint("sample", engine.identity(questions), settings)
    bases = [fingerprint(base, asdict(question)) for question in questions]
    keys = [[hashlib.blake2b(f"{key}{i}".encode(), digest_size=20).digest() for i in range(total)] for key in bases]
    if isinstance(engine, IncrementalEngine):
        rows = _sample_incrementally(engine, questions, decoding, keys, cache)
    else:
        rows = _sample_missing(engine, questions, decoding, keys, cache)
    return [row[: decoding.n] for row in rows]


def _block_size(engine: Engine, decoding: Decoding) -> int:
    return engine.block_size if decoding.temperature else 1


def _sample_missing(
    engine: Engine, questions: Sequence[PromptedQuestion], decoding: Decoding, keys: Sequence[Sequence[bytes]],
    cache: Cache,
) -> list[list[Completion]]:  # fmt: skip
    """The completions of `keys`. Questions with equally many cached completions share one call.

    The completions of a call are saved all or none. A batch of which a kill had saved a part would be sampled as a
    smaller batch, and that changes the rounding of sums.
    """
    total = len(keys[0])
    rows = [_load(cache, question_keys) for question_keys in keys]
    for cached in sorted({len(row) for row in rows} - {total}):
        missing = [position for position, row in enumerate(rows) if len(row) == cached]
        first = cached - cached % _block_size(engine, decoding)
        sampled = engine.sample([questions[position] for position in missing], decoding, first, total - first)
        _save(cache, [keys[position][first:] for position in missing], sampled)
        for position, completions in zip(missing, sampled, strict=True):
            rows[position] = rows[position][:first] + completions if completions else []
    return rows


def _sample_incrementally(
    engine: IncrementalEngine, questions: Sequence[PromptedQuestion], decoding: Decoding,
    keys: Sequence[Sequence[bytes]], cache: Cache,
) -> list[list[Completion]]:  # fmt: skip
    """The completions of `keys`, read back from the cache: another run may have saved its own first."""
    cached = [len(_load(cache, question_keys)) for question_keys in keys]

    def save(position: int, completions: list[Completion]) -> None:
        _save(cache, [keys[position][cached[position] :]], [completions])
        cached[position] += len(completions)

    numbers = [range(count, len(question_keys)) for count, question_keys in zip(cached, keys, strict=True)]
    if any(numbers):
        engine.sample_incrementally(questions, decoding, numbers, save)
    rows = [_load(cache, question_keys) for question_keys in keys]
    return [row if len(row) == len(question_keys) else [] for row, question_keys in zip(rows, keys, strict=True)]


def _save(cache: Cache, keys: Sequence[Sequence[bytes]], completions: Sequence[Sequence[Completion]]) -> None:
    """Saves the completions of several questions in one transaction."""
    cache.put(
        (key, asdict(completion))
        for question_keys, row in zip(keys, completions, strict=True)
        for key, completion in zip(question_keys, row, strict=False)
    )


def _load(cache: Cache, keys: Sequence[bytes]) -> list[Completion]:
    """The cached completions, up to the first that is missing."""
    records = cache.get(keys)
    count = next((number for number in range(len(keys)) if number not in records), len(keys))
    return [Completion(**records[number]) for number in range(count)]
