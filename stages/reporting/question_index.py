"""The filters of the explorer over all questions, for the server; a page without one has them in JavaScript."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import polars as pl

from stages.core.errors import UserError, short
from stages.datasets.verdicts import VERDICTS
from stages.reporting.records import Datasets, question_rows

CANDIDATES = "candidates"
"""The name that the candidates have where a model is chosen."""
_COLUMNS = {"split": "split", "source": "source", "database": "db_id", "difficulty": "difficulty"}
OUTCOMES = ("won", "lost", "both_wrong", "both_right")
GREEDY = "greedy"
_MOST_WORDS, _MOST_CHARACTERS = 32, 1000


@dataclass(frozen=True)
class Filters:
    """The filters in the query of a URL; "" is no filter. See `docs/report.md`."""

    split: str = ""
    source: str = ""
    database: str = ""
    difficulty: str = ""
    flag: str = ""
    model: str = ""
    sample: str = ""
    verdict: str = ""
    text: str = ""


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters in the query of an address; other keys are ignored. Raises UserError for a text of more than 32 words
    or 1,000 characters."""
    text = query.get("text", "")
    if len(text) > _MOST_CHARACTERS or len(text.split()) > _MOST_WORDS:
        raise UserError(f"text is {short(text)}; give at most {_MOST_WORDS} words and {_MOST_CHARACTERS} characters")
    return Filters(**{field.name: query.get(field.name, "") for field in fields(Filters)})


class QuestionIndex:
    """Every question, with the verdicts of its candidates and answers."""

    def __init__(self, datasets: Datasets, contract: str) -> None:
        """Of `exec_results` only question_id and verdict are read."""
        number = pl.int_range(pl.len(), dtype=pl.UInt32)
        searched = pl.concat_str("question_id", "question", "gold_sql", separator="\n").str.to_lowercase()
        self.questions = question_rows(datasets).with_columns(number=number, searched=searched)
        verdict = pl.col(f"verdict_{contract}").alias("verdict")
        answers = datasets.answers.select("question_id", "model", verdict, greedy=pl.col("sample").is_null())
        candidates = datasets.exec_results.select("question_id", "verdict", model=pl.lit(CANDIDATES), greedy=False)
        counted = pl.concat([candidates.select(answers.columns), answers]).group_by(answers.columns).len("count")
        numbers = self.questions.select("question_id", "number")
        types = pl.col("verdict").cast(pl.Enum(VERDICTS)), pl.col("model").cast(pl.Categorical)
        self.labels = counted.join(numbers, on="question_id").drop("question_id").with_columns(types)
        greedy = datasets.answers.filter(pl.col("sample").is_null())
        self.greedy = greedy.select("question_id", "model", "sql", verdict)

    def matches(self, filters: Filters) -> pl.DataFrame:
        """The questions that pass the filters, sorted by question_id."""
        given = {column: getattr(filters, name) for name, column in _COLUMNS.items()}
        conditions = [pl.col(column) == value for column, value in given.items() if value]
        if filters.flag:
            conditions.append(pl.col("flags").str.split(",").list.contains(filters.flag))
        words = dict.fromkeys(filters.text.lower().split())
        conditions += [pl.col("searched").str.contains(word, literal=True) for word in words]
        questions = self.questions.filter(pl.lit(True), *conditions)
        if filters.model or filters.sample or filters.verdict:
            labels = self._labels(filters)
            if filters.verdict:
                labels = labels.filter(pl.col("verdict").cast(pl.String) == filters.verdict)
            questions = questions.join(labels, on="number", how="semi", maintain_order="left")
        return questions

    def _labels(self, filters: Filters) -> pl.DataFrame:
        """The labels of the model and the sample that the filters name."""
        labels = self.labels
        if filters.model:
            labels = labels.filter(pl.col("model") == filters.model)
        if filters.sample:
            labels = labels.filter(pl.col("greedy") & (filters.sample == GREEDY))
        return labels

    def page(self, filters: Filters, offset: int, limit: int) -> dict[str, Any]:
        """One page of the list, and how many questions of each value the filters leave."""
        questions = self.matches(filters)
        page = questions.slice(offset, limit)
        return {"total": questions.height, "facets": self._facets(questions, filters), "rows": self._rows(page)}

    def _facets(self, questions: pl.DataFrame, filters: Filters) -> dict[str, dict[str, int]]:
        facets = {name: dict(questions[column].value_counts().iter_rows()) for name, column in _COLUMNS.items()}
        flags = questions["flags"].str.split(",").explode().drop_nulls()
        facets["flag"] = dict(flags.filter(flags != "").value_counts().iter_rows())
        labels = self._labels(filters).join(questions.select("number"), on="number", how="semi")
        counts = labels.group_by("verdict").agg(pl.col("number").n_unique()).sort("verdict")
        facets["verdict"] = dict(counts.iter_rows())
        return facets

    def _rows(self, page: pl.DataFrame) -> list[dict[str, Any]]:
        labels = self.labels.join(page.select("number"), on="number", how="semi").cast(pl.String, strict=False)
        counts: dict[str, list[int]] = {}
        greedy: dict[str, dict[str, str]] = {}
        for model, verdict, is_greedy, count, number in labels.select(
            "model", "verdict", "greedy", "count", "number"
        ).iter_rows():
            if is_greedy == "true":
                greedy.setdefault(number, {})[model] = verdict
            elif model == CANDIDATES:
                sums = counts.setdefault(number, [0, 0])
                sums[0] += int(count)
                sums[1] += int(count) * (verdict == "match")
        columns = "question_id", "split", "source", "db_id", "difficulty", "question", "flags"
        rows = []
        for row in page.select("number", *columns).iter_rows(named=True):
            number = str(row.pop("number"))
            candidates, matching = counts.get(number, [0, 0])
            rows.append(row | {"candidates": candidates, "matches": matching, "greedy": greedy.get(number, {})})
        return rows

    def compare(self, models: tuple[str, str], show: str, filters: Filters, offset: int, limit: int) -> dict[str, Any]:
        """The greedy answers of two models that differ, on the questions that both answered and that pass the filters.
        `show`: one of OUTCOMES, `all`, or "" for won and lost. Raises UserError for another value."""
        outcomes = {"": ("won", "lost"), "all": OUTCOMES}.get(show, (show,))
        if not set(outcomes) <= set(OUTCOMES):
            raise UserError(f"show is {short(show)}; give one of {', '.join(OUTCOMES)}, all")
        sides = [self.greedy.filter(pl.col("model") == model).drop("model") for model in models]
        joined = self.matches(filters).join(sides[0], on="question_id", maintain_order="left")
        joined = joined.join(sides[1], on="question_id", suffix="_b", maintain_order="left")
        right_a, right_b = pl.col("verdict") == "match", pl.col("verdict_b") == "match"
        outcome = pl.when(right_b & ~right_a).then(pl.lit("won")).when(right_a & ~right_b).then(pl.lit("lost"))
        outcome = outcome.when(right_a).then(pl.lit("both_right"))
        joined = joined.with_columns(outcome=outcome.otherwise(pl.lit("both_wrong")))
        counts = dict(joined["outcome"].value_counts().iter_rows())
        differs = (right_a != right_b) | (pl.col("sql") != pl.col("sql_b"))
        listed = joined.filter(pl.col("outcome").is_in(outcomes) & differs)
        return {
            "total": listed.height, "counts": {name: counts.get(name, 0) for name in OUTCOMES},
            "rows": _sides(listed.slice(offset, limit)),
        }  # fmt: skip


def _sides(rows: pl.DataFrame) -> list[dict[str, Any]]:
    columns = "question_id", "question", "db_id", "difficulty", "gold_sql"
    answers: Sequence[str] = ("sql", "verdict", "sql_b", "verdict_b")
    return [
        {name: row[name] for name in columns}
        | {"a": {"sql": row["sql"], "verdict": row["verdict"]}, "b": {"sql": row["sql_b"], "verdict": row["verdict_b"]}}
        for row in rows.select(*columns, *answers).iter_rows(named=True)
    ]
