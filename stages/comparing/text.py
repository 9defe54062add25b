"""A comparison of two models as text for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from stages.comparing.comparison import Comparison
from stages.core.display import visible, visible_line
from stages.diffing.terminal import aligned
from stages.predictions.read_as import read_as_lines

OUTCOME_TEXTS = {"won": "B is right and A is wrong", "lost": "A is right and B is wrong"}
_LEFT_OUT = {"only_a": "only A answers", "only_b": "only B answers", "different_gold": "with different gold queries"}
_INDENT = " " * 13  # of what a text of several lines goes on with, so that none looks like a line of ours


_HEAD = (
    "", "questions", "EX A", "EX B", "B - A", "95 % interval", "won", "lost", "both right", "both wrong", "p", "",
)  # fmt: skip


def text_of(comparison: Comparison, figures: Mapping[str, Any], limit: int | None) -> str:
    """Both sides, the figures, and the questions that one side alone has right: at most `limit` won and as many
    lost, all if it is None."""
    lines = [*_sides(comparison), "", *_figures(figures, comparison.contract), *_notes(figures)]
    return "\n".join([*map(visible_line, lines), *_questions(comparison, limit)])


def _sides(comparison: Comparison) -> Iterator[str]:
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield f"{letter}  {side.name}  ({side.origin})"
        if side.stale:
            yield f"   its answers are older than their inputs: {', '.join(side.stale)}"
        if side.read_as:
            yield from (f"   {line}" for line in read_as_lines(side.read_as, side.rows.height))
    questions = _question_count(comparison.rows.height)
    yield f"{comparison.test_set}, {questions} that both answer, contract {comparison.contract}"
    for reason, count in comparison.left_out.items():
        if count:
            yield f"left out: {_question_count(count)} {_LEFT_OUT[reason]}"


def _figures(figures: Mapping[str, Any], contract: str) -> Iterator[str]:
    groups = {"all": figures, **figures["difficulties"]}
    groups |= {f"all, {name}": group for name, group in figures["contracts"].items() if name != contract}
    yield from aligned([_HEAD, *(_cells(name, group) for name, group in groups.items())])


def _cells(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (f"{100 * group[side]:.2f}" for side in ("ex_a", "ex_b"))
    difference, low, high = (f"{100 * group[f'difference{end}']:+.2f}" for end in ("", "_low", "_high"))
    counts = (f"{group[count]:,}" for count in ("won", "lost", "both_right", "both_wrong"))
    p_value = f"{group['p_value']:.2g}"
    return (name, f"{group['questions']:,}", *shares, difference, f"{low} to {high}", *counts, p_value, "")


def _notes(figures: Mapping[str, Any]) -> Iterator[str]:
    low_a, high_a, low_b, high_b = (
        f"{100 * figures[f'ex_{side}_{end}']:.2f}" for side in "ab" for end in ("low", "high")
    )
    intervals = f"A {low_a}–{high_a}, B {low_b}–{high_b}"
    yield f"EX in per cent; 95 % bootstrap intervals over all questions: {intervals}"
    yield "p: McNemar's exact test of won and lost"


def _questions(comparison: Comparison, limit: int | None) -> Iterator[str]:
    if comparison.rows["sql_a"].equals(comparison.rows["sql_b"]):
        yield "both give the same answer to every question"
    for outcome, meaning in OUTCOME_TEXTS.items():
        rows = comparison.rows.filter(pl.col("outcome") == outcome)
        yield f"\n{outcome}: {meaning}, {_question_count(rows.height)}"
        for row in rows.head(rows.height if limit is None else limit).iter_rows(named=True):
            yield from _question(row)
        if limit and rows.height > limit:
            yield f"\n  and {rows.height - limit:,} more; --all shows all, --json has both answers to every question"


def _question_count(count: int) -> str:
    return f"{count:,} question" if count == 1 else f"{count:,} questions"


def _question(row: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n  {visible_line('  '.join((row['question_id'], row['db_id'], row['difficulty'])))}"
    yield _line("question", row["question"])
    yield _line("gold", row["gold_sql"])
    for side in "ab":
        verdict, error = row[f"verdict_{side}"], row[f"error_{side}"]
        has_result = verdict in ("match", "mismatch")  # the error is that under another contract
        yield _line(side.upper(), row[f"sql_{side}"] or "(no SQL)")
        yield _line("", f"-- {verdict}" if has_result or not error else f"-- {verdict}: {error}")


def _line(label: str, text: str) -> str:
    return f"    {label:<8} " + visible(text).replace("\n", f"\n{_INDENT}")
