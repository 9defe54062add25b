"""What the workers that judge candidates are given, and what they return."""

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from stages.datasets.verdicts import Verdict
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.execution.sandbox import Limits

DIGEST_ROWS = 1000
"""A usual Rules.digest_rows: wrong results of up to this many rows can be told apart, and vote in maj@k."""


@dataclass(frozen=True, slots=True)
class Budget:
    """VM steps that a candidate may take: `factor` times what the gold took, but never fewer than `floor`. `gold`: what
    a gold may take that was not executed before."""

    floor: int
    factor: int
    gold: int = 50_000_000

    def steps(self, gold_steps: int) -> int:
        return max(self.floor, self.factor * gold_steps)


@dataclass(frozen=True, slots=True)
class Rules:
    """How candidates are judged. `digest_rows`: a result is read on beyond its verdict up to this many rows, so that it
    can have a digest; 0: no digests."""

    contract: Contract
    budget: Budget
    limits: Limits
    digest_rows: int = 0


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """What a candidate is judged against: a database file, a gold query, and what the gold dataset says of it.

    `gold_verdict`: None if the gold was not executed before. `gold_flags`: the flags of its audit, joined by commas;
    without `order_unstable` a gold that orders its rows fixes their order.
    """

    database: str
    gold_sql: str
    gold_verdict: str | None = None
    gold_steps: int = 0
    gold_flags: str = ""


Item = tuple[GoldQuestion, str]
"""A question and the SQL of one candidate for it ('' for none)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a candidate showed.

    `verdict` is that of the contract asked for, `verdicts` each contract's, in the order of CONTRACT_NAMES. The other
    fields describe the text that ran for the contract asked for: `error` and `error_class` are None for match and
    mismatch; `rows` counts the rows read; `digest` is None unless the result was read to its end, and none was asked
    for with Rules.digest_rows = 0. Steps and rows are None where nothing ran, or the machine ended it.
    `nondeterministic`: time, memory or the disk ended one of the executions, so another run may show something else.
    """

    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    error_class: str | None = None
    error: str | None = None
    steps: int | None = None
    rows: int | None = None
    digest: str | None = None
    nondeterministic: bool = False


def same_outcome(
    verdict: Verdict, error: str, error_class: str | None = None, nondeterministic: bool = False
) -> Outcome:
    """The outcome of a candidate that was not executed: the same verdict under every contract."""
    return Outcome(verdict, (verdict,) * len(CONTRACT_NAMES), error_class, error, nondeterministic=nondeterministic)


encode_outcome = attrgetter(*Outcome.__slots__)
"""The fields of an outcome, in their order: what a worker sends and the cache keeps, as JSON."""


def decode_outcome(values: Any) -> Outcome:
    """The outcome whose fields `encode_outcome` gave."""
    verdict, verdicts, *others = values
    return Outcome(verdict, _shared(tuple(verdicts)), *others)


@cache
def _shared(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """Equal verdicts as one object: of a million outcomes few differ in them."""
    return verdicts
