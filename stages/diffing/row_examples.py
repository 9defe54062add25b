"""Examples of the rows that differ, each with what a person judges it by: its question, its SQL and its gold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from stages.datasets.catalog import DATASETS
from stages.diffing.comparison import Comparison
from stages.diffing.rows import EXAMPLES, RowsDiff
from stages.diffing.versions import Version

SHOWN: dict[str, tuple[str, ...]] = {
    "questions": ("evidence",), "synthetic": ("refusal",), "gold": ("verdict", "error", "flags"), "prompts": (),
    "sft": ("completion",), "candidates": ("sql",), "exec_results": ("sql", "verdict", "error"),
    "counterexamples": ("sql", "class", "witness"), "pairs": ("chosen", "rejected", "rejected_verdict", "witness"),
}  # fmt: skip
"""The columns that say what a row is, beside its question and gold. `sql` is that of the candidate; the completion of
`sft` is the gold."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowExample:
    """A row that is `added`, `removed` or `changed` (`kind`). `question_id`, `question`: None where they are not known.
    `texts`: column to value, and the `gold` of the question. They are of the version that has the row, the new one if
    both do. `changes`: column to the old and the new value."""

    kind: str
    key: str
    question_id: str | None
    question: str | None
    texts: dict[str, str]
    changes: dict[str, list[str | None]]

    @property
    def compared(self) -> tuple[str, ...]:
        """The two texts between which it matters what differs; empty where there are not two."""
        pairs = (("chosen", "rejected"), ("sql", "gold"))
        return next((pair for pair in pairs if self.texts.keys() >= set(pair)), ())


def row_examples(comparison: Comparison) -> dict[str, list[RowExample]]:
    """Dataset to the first EXAMPLES rows of each kind. Raises UserError where a file is damaged."""
    examples = {}
    for dataset, diff in comparison.datasets.items():
        kinds = (("added", diff.added_keys), ("removed", diff.removed_keys), ("changed", diff.changed_keys))
        of_dataset = [
            example
            for kind, keys in kinds if keys
            for example in _of_kind(comparison, dataset, diff, kind, keys[:EXAMPLES])
        ]  # fmt: skip
        if of_dataset:
            examples[dataset] = of_dataset
    return examples


def _of_kind(comparison: Comparison, dataset: str, diff: RowsDiff, kind: str, keys: list[str]) -> Iterable[RowExample]:
    versions = [comparison.old, comparison.new]
    if kind == "removed":
        versions.reverse()
    rows = _rows(versions[-1], dataset, keys)
    questions = _known(versions, ("synthetic", "questions"), rows.values(), "question_id")
    candidates = _known(versions, ("candidates", "exec_results"), rows.values(), "candidate_id")
    for key, row in rows.items():
        changes = diff.examples[key] if kind == "changed" else {}
        question = {**questions.get(row.get("question_id", ""), {}), **row}
        candidate = {**candidates.get(row.get("candidate_id", ""), {}), **row}
        texts = {name: candidate.get(name) for name in SHOWN[dataset] if name not in changes}
        texts["gold"] = None if "gold_sql" in changes or dataset == "sft" else question.get("gold_sql")
        yield RowExample(
            kind, key, row.get("question_id"), question=None if "question" in changes else question.get("question"),
            texts={name: str(value) for name, value in texts.items() if value not in (None, "")}, changes=changes,
        )  # fmt: skip


def _known(versions: list[Version], datasets: tuple[str, str], rows: Iterable[Row], column: str) -> dict[str, Row]:
    """The rows whose keys stand in a column of `rows`: of the last dataset, and the last version, that has them."""
    keys = [row[column] for row in rows if row.get(column) is not None]
    known: dict[str, Row] = {}
    for version in versions:
        for dataset in datasets:
            known |= _rows(version, dataset, keys)
    return known


def _rows(version: Version, dataset: str, keys: list[str]) -> dict[str, Row]:
    """Key to row; none where the version lacks the dataset."""
    table = version.tables.get(dataset)
    if table is None or not keys:
        return {}
    rows = table.rows(pl.Series(keys, dtype=pl.String))
    return {row[DATASETS[dataset].key]: row for row in rows.iter_rows(named=True)}
