"""What may follow a prediction in text and JSON: its db_id, after a tab or after BIRD's mark. It is cut off, and must
be that of the gold.

SQL may hold tabs itself. In text the first tab ends a prediction, as in Spider's evaluator, which executes
`line.strip().split("\\t")[0]`: the rest of such SQL is lost there and here, and the line is counted. In JSON, which it
does not read, SQL keeps its tabs. The larger part of a file decides whether db_ids follow. A prediction of the rest is
taken as it is, and counted; in JSON one that ends like a db_id and may be SQL is refused.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stages.core.user_files import is_unicode, refuse, short
from stages.predictions.prediction_tables import Asked

Text = tuple[str, str]
"""Where a prediction stands, and the prediction with what follows it."""

CUT_AT_TAB = "cut_at_tab"
WITHOUT_DB_ID = "without_db_id"

_BIRD_MARK = "----- bird -----"
_DB_ID = re.compile(r"[\w.\-]+")


class _Parts(NamedTuple):
    """A text, and the word at its end that stands where a db_id would. `sql`: what is before the word; `alone`: the SQL
    if the word is no db_id; `tabs`: of a line; `marked`: BIRD's mark says that a db_id follows."""

    place: str
    alone: str
    sql: str = ""
    db_id: str = ""
    tabs: int = 0
    marked: bool = False


def without_db_ids(
    path: Path, texts: Sequence[Sequence[Text]], asked: Sequence[Asked], seen: Counter[str] | None = None
) -> list[list[str]]:
    """The SQL of the predictions of each question asked, without db_ids.

    `seen` counts CUT_AT_TAB, lines of which SQL behind a tab is left out, and WITHOUT_DB_ID, predictions that no db_id
    follows where one follows most. Raises UserError for each db_id that is not the question's.
    """
    split = _split_json if path.suffix.lower() == ".json" else _split_line
    pairs = [
        (split(*text, question.db_id), question) for question, row in zip(asked, texts, strict=True) for text in row
    ]
    solid = sum(bool(parts.alone) or parts.marked for parts, _ in pairs)
    with_db_ids = 2 * sum(bool(parts.db_id) for parts, _ in pairs) > solid
    fitting = 2 * sum(parts.db_id == question.db_id for parts, question in pairs) > solid
    known = {question.db_id for question in asked}
    counts = Counter[str]() if seen is None else seen
    errors: list[str] = []
    sqls: list[str] = []
    for parts, question in pairs:
        # Where most db_ids fit, a word that is no question's db_id is the end of SQL with a tab.
        ends_in_db_id = bool(parts.db_id) and with_db_ids and (parts.db_id in known or not fitting)
        sql, fault = parts.alone, ""
        if parts.marked or ends_in_db_id:
            sql, fault = parts.sql, _db_fault(parts, question)
            counts[CUT_AT_TAB] += parts.tabs > 1
        elif with_db_ids or parts.tabs:
            counts[CUT_AT_TAB if parts.tabs else WITHOUT_DB_ID] += bool(sql)
        elif parts.db_id in known:
            fault = _tab_fault(parts.db_id)
        if fault or not is_unicode(sql):
            errors.append(f"{path}, {parts.place}: {fault or 'half a surrogate pair is no text; give UTF-8'}")
        sqls.append(sql)
    refuse(path, errors)
    rest = iter(sqls)
    return [list(islice(rest, len(row))) for row in texts]


def _split_line(place: str, line: str, own: str) -> _Parts:
    if _BIRD_MARK in line:
        return _split_mark(place, line)
    text = line.strip()
    if text == own and line.lstrip(" ").startswith("\t"):
        return _Parts(place, "", "", own, 1)
    first, *others = text.split("\t")
    word = others[-1].strip() if others else ""
    return _Parts(place, first.strip(), first.strip(), word if _DB_ID.fullmatch(word) else "", len(others))


def _split_json(place: str, text: str, own: str) -> _Parts:
    if _BIRD_MARK in text:
        return _split_mark(place, text)
    head, tab, word = text.rstrip().rpartition("\t")
    if not tab or head[-1:].isspace() or not _DB_ID.fullmatch(word.strip()):  # a tab after space indents SQL
        return _Parts(place, text.strip())
    return _Parts(place, text.strip(), head.strip(), word.strip())


def _split_mark(place: str, text: str) -> _Parts:
    sql, _, db_id = text.rpartition(_BIRD_MARK)
    return _Parts(place, text.strip(), sql.strip(), db_id.strip(), marked=True)


def _tab_fault(db_id: str) -> str:
    return (
        f"this ends with a tab and {short(db_id)}, which may be SQL or a db_id, as most others have none; "
        "give all predictions a db_id, or write the tab as a space"
    )


def _db_fault(parts: _Parts, question: Asked) -> str:
    own = repr(question.db_id)
    if parts.db_id == question.db_id or not (parts.sql or parts.db_id):
        return ""
    if not parts.db_id:
        return f"no db_id follows {short(parts.sql)}, as one follows most; give {own} after a tab, or none to any"
    return f"the db_id is {short(parts.db_id)}, but the gold's is {own}; give the predictions in the gold's order"
