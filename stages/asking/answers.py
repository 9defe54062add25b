"""The answer to a question: asks the model, executes its SQL, and renders both for people and for programs."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.asking.query_rows import QueryLimits, QueryRows, query_rows
from stages.core.display import visible_line
from stages.core.errors import UserError, is_utf8, short
from stages.databases.held_files import HeldFiles
from stages.databases.schema import Schema
from stages.diffing.terminal import aligned
from stages.execution.comparison import Cell
from stages.extraction.extract import extract_sql
from stages.lm.completions import Completion, Decoding, Engine, PromptedQuestion
from stages.prompting.rendering import PromptsParams, unseen_prompt
from stages.prompting.token_budget import TokenCounter

_CELL_WIDTH = 40  # characters of a cell in a table
STATUS_TEXTS = {
    "exec_error": "SQLite refuses the query",
    "over_budget": "the query was stopped",
    "undecided": "the query was stopped by a safety net",
    "no_sql": "the answer holds no SQL",
}
"""Status to what it means, for people."""

_RAISE = {
    "over_budget": "`gold.step_budget`",
    "time": "`execution.wall_seconds`",
    "memory": "`execution.memory_mb`",
    "size": "`execution.max_rows` or `execution.result_mb`",
}
"""What stopped a query (error class or status) to the limit in params.yaml that can be raised."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, its prompt, what the model said, the SQL in it (empty for none), and the rows that this gives.

    `finish_reason`: `length` where the completion was cut at `evaluate.max_tokens`, else `stop`.
    """

    question: str
    prompt: str
    completion: str
    finish_reason: str
    sql: str
    rows: QueryRows


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model about one database file, which must stay as it is (`files`). `limits`: what a query may take."""

    engine: Engine
    decoding: Decoding
    database: Path
    files: HeldFiles
    schema: Schema
    prompts: PromptsParams
    token_counter: TokenCounter
    limits: QueryLimits

    def answer(self, question: str, evidence: str) -> Answer:
        """The answer to a question with its evidence (empty for none). Raises UserError where the question is not
        valid UTF-8, its prompt does not fit the model's context, or the database was changed or is damaged."""
        if not is_utf8(question):
            raise UserError(f"the question {short(question)} is not UTF-8; write it in UTF-8")
        prompt = self._prompt(question, evidence)
        completions = self._completions(question, prompt)
        if not completions:
            raise UserError(self._context_sentence(question))
        completion, sql = completions[0], extract_sql(completions[0].completion)
        return Answer(question, prompt, completion.completion, completion.finish_reason, sql, self._rows(sql))

    def _prompt(self, question: str, evidence: str) -> str:
        return unseen_prompt(self.schema, question, evidence, self.prompts, self.token_counter).text

    def _completions(self, question: str, prompt: str) -> list[Completion]:
        return self.engine.sample([PromptedQuestion(question, "", prompt)], self.decoding, 0, 1)[0]

    def _context_sentence(self, question: str) -> str:
        """Says that a prompt does not fit, and whether that of an empty question would."""
        tokens = f"{self.decoding.max_tokens:,} tokens of an answer (`evaluate.max_tokens`)"
        room = f"the model's context beside the {tokens}"
        fix = "give `prompts.max_tokens` a smaller value, so that tables are left out"
        if not self._completions("", self._prompt("", "")):
            return f"the schema of {self.database} is too long for {room}; {fix}, or choose another model"
        return f"the prompt of {short(question)} does not fit {room}; ask a shorter question, or {fix}"

    def _rows(self, sql: str) -> QueryRows:
        self.files.require_unchanged()
        try:
            rows = query_rows(self.database, sql, self.limits)
        finally:  # reports a changed file before any other error
            self.files.require_unchanged()
        if rows.error_class == "file":
            fix = "check it with `PRAGMA integrity_check`"
            raise UserError(f"{self.database} is damaged ({rows.error}); {fix}")
        return rows


def text_of(answer: Answer, above: Literal["prompt", "question"] | None) -> str:
    """An answer for a terminal: its prompt, its question or nothing (`above`), its SQL and its rows. An error stands as
    a sentence."""
    texts = {"prompt": answer.prompt.rstrip("\n"), "question": answer.question}
    cut = ", cut at `evaluate.max_tokens`" if answer.finish_reason == "length" else ""
    sections = [
        *([(above, texts[above])] if above else []),
        (f"SQL{cut}", answer.sql) if answer.sql else (f"completion{cut}", answer.completion),
    ]
    titled = [f"{title}\n{_indented(text)}" for title, text in sections]
    return "\n\n".join([*titled, "\n".join(_result_lines(answer.rows))]) + "\n"


def json_of(answer: Answer) -> str:
    """An answer as one line of JSON in ASCII, without control characters, so that a terminal shows it as it is. A BLOB
    is its SQL literal, an infinite number the text `inf` or `-inf`."""
    rows = answer.rows
    line = json.dumps({
        "question": answer.question, "prompt": answer.prompt, "completion": answer.completion,
        "finish_reason": answer.finish_reason, "sql": answer.sql, "status": rows.status, "error": rows.error,
        "steps": rows.steps, "columns": rows.columns, "rows": [[_json_cell(cell) for cell in row] for row in rows.rows],
        "total_rows": rows.total,
    }, allow_nan=False)  # fmt: skip
    return line.replace("\x7f", "\\u007f")  # the one control character that json leaves


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _result_lines(result: QueryRows) -> Iterator[str]:
    count = f"{result.total:,} {'row' if result.total == 1 else 'rows'}"
    reason = visible_line(_reason(result))
    if not result.columns:
        yield f"no rows: {STATUS_TEXTS[result.status]}{reason}"
        return
    yield count if result.status == "ok" else f"stopped after {count}{reason}"
    head, *body = [[_table_cell(cell) for cell in row] for row in (result.columns, *result.rows)]
    rules = ["-" * max(map(len, column)) for column in zip(head, *body, strict=True)]
    yield from (f"  {line}" for line in aligned([head, rules, *body], left=len(head)))
    if more := result.total - len(result.rows):
        yield f"  … and {more:,} more"


def _reason(result: QueryRows) -> str:
    """The error of a query after a colon, and for a limit of params.yaml which to raise; nothing without an error."""
    if result.error is None or result.status == "no_sql":
        return ""
    if result.status == "exec_error":
        return f": {result.error}"
    error = re.sub(r"\d{4,}", lambda number: f"{int(number[0]):,}", result.error)
    limit = _RAISE.get(result.error_class or result.status)
    within_sqlite = result.error_class == "size" and not error.startswith("more than ")  # of one value, or of the SQL
    return f": {error}; raise {limit} of params.yaml" if limit and not within_sqlite else f": {error}"


def _table_cell(cell: Cell) -> str:
    """A value on one line, cut where it is long. It is cut first: one may have millions of characters."""
    text = _literal(cell) if isinstance(cell, bytes) else "NULL" if cell is None else str(cell)
    cell_text = visible_line(text[: _CELL_WIDTH + 1])
    return cell_text if len(cell_text) <= _CELL_WIDTH else f"{cell_text[: _CELL_WIDTH - 1]}…"


def _json_cell(cell: Cell) -> str | int | float | None:
    if isinstance(cell, bytes):
        return _literal(cell)
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _literal(blob: bytes) -> str:
    return f"X'{blob.hex().upper()}'"
