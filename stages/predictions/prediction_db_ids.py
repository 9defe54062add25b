"""Strips the db_id that may follow a prediction in text and JSON, after a tab or BIRD's mark, and checks it.

SQL may itself contain tabs. In text the first tab ends a prediction, as in Spider's evaluator, which executes
`line.strip().split("\\t")[0]`: the rest of such SQL is lost there and here, and the line is counted. In JSON, which it
does not read, SQL keeps its tabs. The majority of a file decides whether predictions are followed by db_ids. A
prediction in the minority is used as it is, and counted; in JSON it is refused if it ends in a tab and a db_id.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stages.core.user_files import refuse, short
from stages.predictions.prediction_tables import QuestionRef

PlacedText = tuple[str, str]
"""The place of a prediction in its file, and its text, which a db_id may follow."""

CUT_AT_TAB = "cut_at_tab"
WITHOUT_DB_ID = "without_db_id"

_BIRD_MARK = "----- bird -----"
_DB_ID = re.compile(r"[\w.\-]+")


class PredictionTexts(NamedTuple):
    """The predictions for each question. `counts`: CUT_AT_TAB, lines whose SQL after a tab was dropped; WITHOUT_DB_ID,
    predictions without a db_id in a file where most have one. `not_asked`: predictions for questions that were not
    asked for."""

    texts: list[list[str]]
    counts: Counter[str]
    not_asked: int = 0


class _SplitText(NamedTuple):
    """A text split at the last word, which may be a db_id. `whole`: the SQL if the word is not a db_id; `sql`: the SQL
    if it is; `tabs`: number of tabs in a line; `marked`: BIRD's mark says that a db_id follows."""

    place: str
    whole: str
    sql: str = ""
    db_id: str = ""
    tabs: int = 0
    marked: bool = False


def strip_db_ids(
    path: Path, texts: Sequence[Sequence[PlacedText]], questions: Sequence[QuestionRef]
) -> PredictionTexts:
    """Strips the db_ids from the predictions for each question. Raises UserError for each db_id that is not the
    question's."""
    split = _split_json if path.suffix.lower() == ".json" else _split_line
    pairs = [
        (split(*text, question.db_id), question) for question, row in zip(questions, texts, strict=True) for text in row
    ]
    nonempty = sum(bool(parts.whole) or parts.marked for parts, _ in pairs)
    most_have_db_ids = 2 * sum(bool(parts.db_id) for parts, _ in pairs) > nonempty
    most_are_right = 2 * sum(parts.db_id == question.db_id for parts, question in pairs) > nonempty
    db_ids = {question.db_id for question in questions}
    counts = Counter[str]()
    errors: list[str] = []
    sqls: list[str] = []
    for parts, question in pairs:
        # If most db_ids are right, a word that is no question's db_id is the end of SQL with a tab.
        ends_in_db_id = bool(parts.db_id) and most_have_db_ids and (parts.db_id in db_ids or not most_are_right)
        sql, error = parts.whole, ""
        if parts.marked or ends_in_db_id:
            sql, error = parts.sql, _db_id_error(parts, question)
            counts[CUT_AT_TAB] += parts.tabs > 1
        elif most_have_db_ids or parts.tabs:
            counts[CUT_AT_TAB if parts.tabs else WITHOUT_DB_ID] += bool(sql)
        elif parts.db_id in db_ids:
            error = (
                f"this ends with a tab and {short(parts.db_id)}, which may be SQL or a db_id, as most others have "
                "none; give all predictions a db_id, or write the tab as a space"
            )
        if error:
            errors.append(f"{path}, {parts.place}: {error}")
        sqls.append(sql)
    refuse(path, errors)
    remaining = iter(sqls)
    return PredictionTexts([list(islice(remaining, len(row))) for row in texts], counts)


def _split_line(place: str, line: str, gold_db_id: str) -> _SplitText:
    if _BIRD_MARK in line:
        return _split_mark(place, line)
    text = line.strip()
    if text == gold_db_id and line.lstrip(" ").startswith("\t"):
        return _SplitText(place, "", "", gold_db_id, 1)
    first, *others = text.split("\t")
    word = others[-1].strip() if others else ""
    return _SplitText(place, first.strip(), first.strip(), word if _DB_ID.fullmatch(word) else "", len(others))


def _split_json(place: str, text: str, gold_db_id: str) -> _SplitText:
    if _BIRD_MARK in text:
        return _split_mark(place, text)
    head, tab, word = text.rstrip().rpartition("\t")
    if not tab or head[-1:].isspace() or not _DB_ID.fullmatch(word.strip()):  # a tab after space indents SQL
        return _SplitText(place, text.strip())
    return _SplitText(place, text.strip(), head.strip(), word.strip())


def _split_mark(place: str, text: str) -> _SplitText:
    sql, _, db_id = text.rpartition(_BIRD_MARK)
    return _SplitText(place, text.strip(), sql.strip(), db_id.strip(), marked=True)


def _db_id_error(parts: _SplitText, question: QuestionRef) -> str:
    expected = repr(question.db_id)
    if parts.db_id == question.db_id or not (parts.sql or parts.db_id):
        return ""
    if not parts.db_id:
        return f"no db_id follows {short(parts.sql)}, as one follows most; give {expected} after a tab, or none to any"
    return f"the db_id is {short(parts.db_id)}, but the gold's is {expected}; give the predictions in the gold's order"
