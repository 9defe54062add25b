"""The filters of the explorer, told again in plain Python over the same tables, to hold the script to."""

from collections import Counter, defaultdict
from typing import Any

from tests.browser.world import Row, Tables


def rows_of(table: dict[str, Any]) -> list[Row]:
    columns = {name: _values(column) for name, column in table["columns"].items()}
    return [{name: values[row] for name, values in columns.items()} for row in range(table["rows"])]


def _values(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    return [None if code < 0 else column["values"][code] for code in column["codes"]]


class Reading:
    """`questions`: rows with their `db_id`, and `given`: (model, whether it is greedy, sql, verdict) of each
    candidate and answer."""

    def __init__(self, tables: Tables) -> None:
        databases, outcomes = rows_of(tables["databases"]), rows_of(tables["outcomes"])
        given = defaultdict(list)
        for row in rows_of(tables["candidates"]):
            given[row["question"]].append(
                ("candidates", False, outcomes[row["outcome"]]["sql"], outcomes[row["outcome"]]["verdict"])
            )
        for row in rows_of(tables["answers"]):
            outcome = outcomes[row["outcome"]]
            given[row["question"]].append((row["model"], row["sample"] is None, outcome["sql"], outcome["verdict"]))
        self.questions = [
            {**row, "db_id": databases[row["database"]]["db_id"], "given": given[number]}
            for number, row in enumerate(rows_of(tables["questions"]))
        ]

    def matching(self, filters: dict[str, str]) -> list[Row]:
        return [question for question in self.questions if _stays(question, filters)]

    def facets(self, filters: dict[str, str]) -> dict[str, dict[str, int]]:
        """Value -> number of questions, by field."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question in self.matching(filters):
            for name in ("split", "source", "difficulty"):
                counts[name].update([question[name]] if question[name] is not None else [])
            counts["database"][question["db_id"]] += 1
            counts["flag"].update(_flags(question))
            counts["verdict"].update({verdict for _, _, _, verdict in _given(question, filters)})
        return {name: dict(counter) for name, counter in counts.items()}

    def compared(self, a: str, b: str) -> dict[str, list[tuple[str, bool]]]:
        """By group: question_id, and whether the texts of the two greedy answers differ."""
        groups: dict[str, list[tuple[str, bool]]] = {"won": [], "lost": [], "both_wrong": [], "both_right": []}
        for question in self.questions:
            greedy = {
                model: (sql, verdict == "match") for model, is_greedy, sql, verdict in question["given"] if is_greedy
            }
            if not {a, b} <= set(greedy):
                continue
            (sql_a, right_a), (sql_b, right_b) = greedy[a], greedy[b]
            name = "both_right" if right_a and right_b else "won" if right_b else "lost" if right_a else "both_wrong"
            groups[name].append((question["question_id"], sql_a != sql_b))
        return groups


def _flags(question: Row) -> list[str]:
    return [flag for flag in (question["flags"] or "").split(",") if flag]


def _given(question: Row, filters: dict[str, str]) -> list[tuple[str, bool, str, str]]:
    """Those of the model and the sample that the filters name."""
    model, greedy = filters.get("model"), filters.get("sample") == "greedy"
    return [given for given in question["given"] if model in (None, given[0]) and (given[1] or not greedy)]


def _stays(question: Row, filters: dict[str, str]) -> bool:
    verdict = filters.get("verdict")
    given = [value for _, _, _, value in _given(question, filters) if verdict in (None, value)]
    text = "\n".join(question[name] or "" for name in ("question_id", "question", "gold_sql")).lower()
    return (
        all(filters.get(name) in (None, question[name]) for name in ("split", "source", "difficulty"))
        and filters.get("database") in (None, question["db_id"])
        and ("flag" not in filters or filters["flag"] in _flags(question))
        and (bool(given) or not {"model", "sample", "verdict"} & set(filters))
        and all(word in text for word in filters.get("text", "").lower().split())
    )
