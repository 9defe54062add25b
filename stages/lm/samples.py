"""Samples of a model, whichever engine makes them: what is asked, what comes back, and what is kept of it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from tqdm import tqdm

from stages.errors import UserError
from stages.files import fingerprint
from stages.sql.cache import Cache


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


class Unfinished(UserError):
    """An engine has to stop. `made`: the samples of each question that has all of them, none for the others."""

    def __init__(self, sentence: str, made: list[list[Sample]]) -> None:
        super().__init__(sentence)
        self.made = made


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
        """Samples number `first` to `first + count` of each; none where the prompt does not fit the context. May raise
        Unfinished."""

    def report(self) -> dict[str, Any]:
        """What the stage's report tells of the engine's work beyond the samples, such as what they cost."""


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
    together = engine.together if decoding.temperature else 1
    whole = -(-decoding.n // together) * together
    setting = {name: value for name, value in asdict(decoding).items() if name != "n"}
    base = fingerprint("sample", engine.identity(asks), setting)
    keys = [_keys(fingerprint(base, asdict(ask)), whole) for ask in asks]
    rows = [_kept(cache, own) for own in keys]
    for there in sorted({len(row) for row in rows} - {whole}):
        missing = [position for position, row in enumerate(rows) if len(row) == there]
        first = there - there % together
        own = [keys[position][first:] for position in missing]
        try:
            made = engine.sample([asks[position] for position in missing], decoding, first, whole - first)
        except Unfinished as stopped:
            _keep(cache, own, stopped.made)
            raise
        _keep(cache, own, made)
        for position, samples in zip(missing, made, strict=True):
            rows[position] = rows[position][:first] + samples if samples else []
    return [row[: decoding.n] for row in rows]


def _keys(base: str, count: int) -> list[bytes]:
    return [hashlib.blake2b(f"{base}{number}".encode(), digest_size=20).digest() for number in range(count)]


def _keep(cache: Cache, keys: Sequence[Sequence[bytes]], made: Sequence[Sequence[Sample]]) -> None:
    """Nothing is kept of a question without samples."""
    cache.put(
        (own[number], asdict(sample))
        for own, row in zip(keys, made, strict=True)
        for number, sample in enumerate(row)
    )


def _kept(cache: Cache, keys: Sequence[bytes]) -> list[Sample]:
    """The samples that are in the cache, up to the first that is not."""
    kept = cache.get(keys)
    numbers = range(next((number for number in range(len(keys)) if number not in kept), len(keys)))
    return [Sample(**kept[number]) for number in numbers]
