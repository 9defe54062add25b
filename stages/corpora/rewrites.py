"""Puts other SQL in the place of golds that fail: what `python -m stages.synthesize --repair` wrote."""

import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import UserError, short
from stages.core.user_files import json_lines

_FIELDS = ("question_id", "old_sql", "gold_sql")


def apply_rewrites(rows: Sequence[dict[str, str]], path: Path) -> dict[str, int]:
    """Replaces the golds of the rows of `questions` that a file rewrites. Their origin becomes `rewrite`, and the old
    gold is kept in `other_golds`. Returns how many rows were rewritten, and how many rewrites fit no row: there is no
    such question, or it has another gold.

    Raises UserError with a sentence for each line that is wrong, and where the file does not exist.
    """
    if not path.is_file():
        fix = "make it with `python -m stages.synthesize --repair`, or set `corpus.rewrites` to null"
        raise UserError(f"{path} does not exist; {fix}")
    errors: list[str] = []
    rewrites = {}
    for number, entry in json_lines(path, errors):
        if invalid := [name for name in _FIELDS if not isinstance(entry.get(name), str)]:
            errors.append(f"{path}, line {number}: `{invalid[0]}` is {short(entry.get(invalid[0]))}; give text")
        else:
            rewrites[entry["question_id"], entry["old_sql"]] = entry["gold_sql"]
    if errors:
        raise UserError(*errors)
    applied = 0
    for row in rows:
        if sql := rewrites.get((row["question_id"], row["gold_sql"])):
            golds = json.loads(row["other_golds"]) if row["other_golds"] else {}
            row["other_golds"] = json.dumps(golds | {"before_rewrite": row["gold_sql"]}, ensure_ascii=False)
            row["gold_sql"], row["origin"] = sql, "rewrite"
            applied += 1
    return {"applied": applied, "without_question": len(rewrites) - applied}
