"""Samples of a model, whichever engine makes them: what is asked, what comes back, and what is kept of it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint


@dataclass(frozen=True, slots=True)
class Ask:
    """One question for a model; `group` names what prompts with a common beginning share: their database."""

    question_id: str
    group: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion. `tokens` counts the end token; `logprob` is the model's own (temperature 1), summed over them.
    Both are None where an engine does not tell them."""

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


Keep = Callable[[int, list[Sample]], None]  # given the position of a question, and its next samples


class Engine(Protocol):
    """A model that answers.

    `name` and `version`: the model's, as in `candidates`. `together`: a question's samples are made so many at a time,
    the last ones too (greedy decoding: one).
    """

    name: str
    version: str
    together: int

    def batches(self, asks: Sequence[Ask]) -> list[list[int]]:
        """The positions in `asks` of the questions of each call of `sample`."""

    def identity(self, batch: Sequence[Ask]) -> object:
        """What the samples of a batch depend on besides the question, its prompt and the decoding: the model, the code,
        and the batch itself where it shows in a last bit. Part of the key of what is kept."""

    def sample(self, asks: Sequence[Ask], decoding: Decoding, first: int, count: int) -> list[list[Sample]]:
        """Samples number `first` to `first + count` of each; none where the prompt does not fit the context."""

    def report(self) -> dict[str, Any]:
        """What the stage's report tells of the engine's work beyond the samples, such as what they cost."""


@runtime_checkable
class Live(Protocol):
    """An engine whose samples come one by one. Each is kept at once: it is paid for, and cannot be made again."""

    def sample_live(self, asks: Sequence[Ask], decoding: Decoding, numbers: Sequence[range], keep: Keep) -> None:
        """Gives `keep` each question's samples of its `numbers`, in their order; none where the prompt does not fit.
        A range that starts above 0, empty ones too, says that the samples before it are there."""


def sample_all(
    engine: Engine, asks: Sequence[Ask], decoding: Decoding, cache: Cache
) -> Iterator[tuple[list[int], list[list[Sample]]]]:
    """For batch after batch: the positions in `asks`, and `decoding.n` samples of each.

    No samples: the prompt is longer than the context. What is in the cache is not sampled again, so a killed run goes
    on, and a higher n adds samples to those that are there.
    """
    with tqdm(total=len(asks), desc=f"{decoding.n} samples a question", unit="question", mininterval=5) as progress:
        for positions in engine.batches(asks):
            yield positions, _batch(engine, [asks[position] for position in positions], decoding, cache)
            progress.update(len(positions))


def _batch(engine: Engine, asks: Sequence[Ask], decoding: Decoding, cache: Cache) -> list[list[Sample]]:
    together = _together(engine, decoding)
    whole = -(-decoding.n // together) * together
    setting = {name: value for name, value in asdict(decoding).items() if name != "n"}
    base = fingerprint("sample", engine.identity(asks), setting)
    keys = [_keys(fingerprint(base, asdict(ask)), whole) for ask in asks]
    if isinstance(engine, Live):
        rows = _ask(engine, asks, decoding, keys, cache)
    else:
        rows = _make(engine, asks, decoding, keys, cache)
    return [row[: decoding.n] for row in rows]


def _together(engine: Engine, decoding: Decoding) -> int:
    return engine.together if decoding.temperature else 1


def _make(
    engine: Engine, asks: Sequence[Ask], decoding: Decoding, keys: Sequence[Sequence[bytes]], cache: Cache
) -> list[list[Sample]]:
    """The samples of `keys`: those with as many in the cache are made in one call, and kept when it ends."""
    whole = len(keys[0])
    rows = [_kept(cache, own) for own in keys]
    for there in sorted({len(row) for row in rows} - {whole}):
        missing = [position for position, row in enumerate(rows) if len(row) == there]
        first = there - there % _together(engine, decoding)
        made = engine.sample([asks[position] for position in missing], decoding, first, whole - first)
        for position, samples in zip(missing, made, strict=True):
            _keep(cache, keys[position][first:], samples)
            rows[position] = rows[position][:first] + samples if samples else []
    return rows


def _ask(
    engine: Live, asks: Sequence[Ask], decoding: Decoding, keys: Sequence[Sequence[bytes]], cache: Cache
) -> list[list[Sample]]:
    """The samples of `keys`, each kept as it comes. What is in the cache counts: another run may have been faster."""
    there = [len(_kept(cache, own)) for own in keys]

    def keep(position: int, samples: list[Sample]) -> None:
        _keep(cache, keys[position][there[position] :], samples)
        there[position] += len(samples)

    numbers = [range(count, len(own)) for count, own in zip(there, keys, strict=True)]
    if any(numbers):
        engine.sample_live(asks, decoding, numbers, keep)
    rows = [_kept(cache, own) for own in keys]
    return [row if len(row) == len(own) else [] for row, own in zip(rows, keys, strict=True)]


def _keys(base: str, count: int) -> list[bytes]:
    return [hashlib.blake2b(f"{base}{number}".encode(), digest_size=20).digest() for number in range(count)]


def _keep(cache: Cache, keys: Sequence[bytes], samples: Sequence[Sample]) -> None:
    cache.put((key, asdict(sample)) for key, sample in zip(keys, samples, strict=False))


def _kept(cache: Cache, keys: Sequence[bytes]) -> list[Sample]:
    """The samples that are in the cache, up to the first that is not."""
    kept = cache.get(keys)
    numbers = range(next((number for number in range(len(keys)) if number not in kept), len(keys)))
    return [Sample(**kept[number]) for number in numbers]
