"""Reads what a strong model answers: JSON in free text, held to the form of what it was asked for.

A model's text is hostile input. It is bounded, never evaluated, and has a reason where it cannot be read.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

MAX_CHARACTERS = 4_000_000
"""Of an answer that is read."""
_MAX_STARTS = 30  # braces of a text that are tried as the start of its JSON
_MAX_ROWS = 10_000  # of a table: each row that is wrong has a message

Reason = Literal["no_answer", "cut", "not_json", "wrong_form"]


class AnswerError(Exception):
    """An answer that cannot be used: the reason that is counted, and a message for the model."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class _Form(BaseModel):
    """Base of what a model is asked for. Unknown keys are ignored: they cost nothing, and models add them."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class TableDraft(_Form):
    """A table: its name, its CREATE TABLE statement, and its rows with a value for each column."""

    name: str = Field(min_length=1, max_length=200)
    create: str = Field(min_length=1, max_length=100_000)
    rows: list[list[str | int | float | None]] = Field(max_length=_MAX_ROWS)


class DatabaseDraft(_Form):
    """A database: its tables, those first that others refer to."""

    tables: list[TableDraft] = Field(min_length=1)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


Filled = Annotated[str, AfterValidator(_not_blank)]


class QuestionDraft(_Form):
    """A question in plain English and the SQLite query that answers it."""

    question: Filled = Field(max_length=10_000)
    sql: Filled = Field(max_length=100_000)


class QueryDraft(_Form):
    """A SQLite query."""

    sql: Filled = Field(max_length=100_000)


F = TypeVar("F", bound=_Form)


def parse_answer(text: str | None, finish_reason: str, form: type[F]) -> F:
    """The last JSON object in `text` that has the form. Raises AnswerError if there is none."""
    if not text or not text.strip():
        raise AnswerError("no_answer", f"the answer is empty ({finish_reason})")
    problem = "there is no JSON object in the answer"
    result: F | None = None
    for value in _objects(_without_thoughts(text[:MAX_CHARACTERS])):
        try:
            result = form.model_validate(value)
        except ValidationError as error:
            problem = "; ".join(_sentence(detail["loc"], detail["msg"]) for detail in error.errors()[:5])
    if result is not None:
        return result
    if finish_reason == "length":
        raise AnswerError("cut", "the answer was cut at the limit of tokens")
    raise AnswerError("not_json" if problem.startswith("there is no") else "wrong_form", problem)


@cache
def json_schema(form: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` that asks an endpoint for this form.

    It limits the length of no text: vLLM then allows no escape sequence in it, so no line break and no quoted name.
    """
    schema = _without_lengths(form.model_json_schema())
    return {"type": "json_schema", "json_schema": {"name": form.__name__, "schema": schema}}


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_lengths(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _without_lengths(part) for name, part in schema.items() if name not in ("minLength", "maxLength")}


def _without_thoughts(text: str) -> str:
    """The text without what stands between <think> and </think>, in one pass."""
    start, *thoughts = text.split("<think>")
    return start + "".join(part.partition("</think>")[2] if "</think>" in part else part for part in thoughts)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text, in order."""
    decoder, end = json.JSONDecoder(strict=False), 0  # models write line breaks into strings
    for start in [match.start() for match in re.finditer(r"\{", text)][:_MAX_STARTS]:
        if start < end:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
            continue
        if isinstance(value, dict):
            yield value


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(map(str, location)) or 'the object'}: {message[0].lower()}{message[1:]}"
