"""What became of the mistakes of the demo's strong model, which knows them all."""

from collections import Counter
from collections.abc import Sequence

from stages.synthesis.demo_model import DemoModel
from stages.synthesis.items import Item
from stages.synthesis.mistakes import BROKEN_TEXT


def mistakes_report(model: DemoModel, items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """What became of the items by the mistake in their first answer, `none` for the right ones.

    `made`: how many there were; `left_out`: refused by a check; `repaired`: accepted with the right SQL in place of a
    mistake; `accepted`: right ones as they came, or with a mistake that no check found; `not_needed`: near-duplicates,
    and items beyond the count.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for name, mistake in model.mistakes.items():
        if name.startswith("question/") and mistake in BROKEN_TEXT:
            counts[mistake, "made"] += 1
            counts[mistake, "left_out"] += 1
    for item in items:
        mistake = model.mistakes[f"question/{item.item_id}/1"] or "none"
        counts[mistake, "made"] += 1
        counts[mistake, _outcome(item, mistake, model.right_sql(item.item_id))] += 1
    columns = ("made", "left_out", "repaired", "accepted", "not_needed")
    return {kind: {column: counts[kind, column] for column in columns} for kind in sorted({kind for kind, _ in counts})}


def _outcome(item: Item, mistake: str, right_sql: str) -> str:
    if item.refusal in ("near_duplicate", "beyond_count"):
        return "not_needed"
    if item.refusal:
        return "left_out"
    return "repaired" if item.sql == right_sql and mistake != "none" else "accepted"
