"""What became of the mistakes of the demo's strong model, which knows them all."""

from collections import Counter
from collections.abc import Sequence

from stages.synthesis.demo_model import DemoModel
from stages.synthesis.items import Item
from stages.synthesis.mistakes import BROKEN_TEXT


def mistakes_report(model: DemoModel, items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """For each kind of mistake in the items' first answers, and for `none`: how many were `made`, and how many of them
    are `left_out`, `repaired` (accepted with the right SQL) and `accepted` with SQL that is not the right one; of `none`
    all that are accepted count as such."""
    counts: Counter[tuple[str, str]] = Counter()
    for name, mistake in model.mistakes.items():
        if name.startswith("question/") and mistake in BROKEN_TEXT:
            counts[mistake, "made"] += 1
            counts[mistake, "left_out"] += 1
    for item in items:
        mistake = model.mistakes[f"question/{item.item_id}/1"] or "none"
        counts[mistake, "made"] += 1
        counts[mistake, _outcome(item, mistake, model.right_sql(item.item_id))] += 1
    columns = ("made", "left_out", "repaired", "accepted")
    return {kind: {column: counts[kind, column] for column in columns} for kind in sorted({kind for kind, _ in counts})}


def _outcome(item: Item, mistake: str, right_sql: str) -> str:
    if item.refusal:
        return "left_out"
    return "repaired" if item.sql == right_sql and mistake != "none" else "accepted"
