"""What a search for witnesses is given, and what it returns."""

from dataclasses import dataclass
from typing import Any

from stages.datasets.counterexamples import WitnessClass
from stages.execution.comparison import Contract
from stages.execution.sandbox import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """`mutants`: how many are kept of a question at most; `steps`: VM steps of one query on a mutant; `seed`: of the
    mutants."""

    contract: Contract
    seed: int
    mutants: int
    steps: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class Question:
    """A gold query with its database file and the texts of the candidates that match it there."""

    database: str
    gold_sql: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Witness:
    """`mutant`: the number of the mutant; `changes`: what was done to its tables that the queries name; `gold` and
    `candidate`: the first row that the other result lacks, or where their order differs; and how many rows each has."""

    mutant: int
    changes: list[str]
    gold: str
    candidate: str
    gold_rows: int
    candidate_rows: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Of one candidate. `tried`: the mutants that it was executed on; `number`: which of the kept mutants parted it,
    from 1."""

    kind: WitnessClass
    tried: int = 0
    number: int | None = None
    witness: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one question: a finding for each candidate, in their order; how many mutants were kept and how many void; how
    many neighbours of the gold ran, and how many of them were parted from it; `problem`: why there are no mutants;
    `nondeterministic`: whether time or memory decided something."""

    candidates: list[Finding]
    kept: int = 0
    void: int = 0
    neighbours: int = 0
    parted: int = 0
    problem: str | None = None
    nondeterministic: bool = False


def untested(question: Question, problem: str, nondeterministic: bool = False) -> Findings:
    """The findings of a question without mutants."""
    findings = [Finding("untested") for _ in question.candidates]
    return Findings(findings, problem=problem, nondeterministic=nondeterministic)
