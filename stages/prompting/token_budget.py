"""Renders prompts within a token budget: whole tables are dropped until a prompt fits."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from stages.core.errors import UserError
from stages.sql.tokens import sql_tokens

TokenCounter = Callable[[str], int]
"""Returns the number of tokens of a text."""

_ESTIMATED_TOKEN = re.compile(r"[^\W_]{1,4}|\S")
_CASE_CHANGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
_QUOTES = {'"': '"', "`": "`", "[": "]"}


@dataclass(frozen=True, slots=True)
class TableText:
    """A table's name, the names of its columns, and its DDL as `stages.prompting.ddl` renders it."""

    name: str
    columns: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt. `dropped`: the names of the tables left out, in the order in which they were dropped."""

    text: str
    tokens: int
    dropped: tuple[str, ...]


def render_prompt(ddl: str, question: str, evidence: str) -> str:
    """Joins DDL, evidence (if any) and question into a prompt. The completion starts on the next line."""
    hint = f"evidence: {evidence}\n" if evidence else ""
    return f"{ddl}\n{hint}question: {question}\nsql:\n"


def estimate_tokens(text: str) -> int:
    """Estimates the number of tokens without a tokenizer: one per 4 characters, rounded up, of each run of letters and
    digits, and one per other character that is not white space."""
    return len(_ESTIMATED_TOKEN.findall(text))


def token_counter(tokenizer: str | None, revision: str | None) -> TokenCounter:
    """Returns a function that counts tokens with the tokenizer of a Hub id (or folder) at its pinned revision (None:
    estimates them). Special tokens and the chat template are not counted. Raises UserError if the tokenizer cannot be
    loaded."""
    if tokenizer is None:
        return estimate_tokens
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        name, reason = repr(tokenizer), " ".join(str(error).split())
        raise UserError(f"params.yaml: `prompts.tokenizer` is {name}, which cannot be loaded ({reason})") from None
    return lru_cache(maxsize=100)(lambda text: len(loaded.encode(text, add_special_tokens=False, verbose=False)))


def fit_to_budget(
    tables: Sequence[TableText], question: str, evidence: str, count: TokenCounter, max_tokens: int | None
) -> Prompt:
    """Renders the prompt with as many of the tables, in their order, as `max_tokens` allows (None: all). Whole tables
    are dropped in the order of `drop_order`. One always stays, even if the prompt is still too long."""
    whole = render_prompt("\n".join(table.text for table in tables), question, evidence)
    tokens = count(whole)
    if max_tokens is None or tokens <= max_tokens or len(tables) == 1:
        return Prompt(whole, tokens, ())
    order = drop_order(tables, f"{question} {evidence}")

    def without(dropped: int) -> str:
        kept = sorted(order[dropped:])
        return render_prompt("\n".join(tables[at].text for at in kept), question, evidence)

    fewest = 1 + bisect_left(range(1, len(tables) - 1), True, key=lambda dropped: count(without(dropped)) <= max_tokens)
    text = without(fewest)
    return Prompt(text, count(text), tuple(tables[at].name for at in order[:fewest]))


def drop_order(tables: Sequence[TableText], question_text: str) -> list[int]:
    """Returns the positions of the tables in the order in which they are dropped. First comes the table whose name and
    columns have the fewest words of `question_text`; among equals the one with the longest text, then the last."""
    question_words = words(question_text)
    hits = [len(question_words & words(" ".join((table.name, *table.columns)))) for table in tables]
    return sorted(range(len(tables)), key=lambda at: (hits[at], -len(tables[at].text), -at))


@lru_cache(maxsize=100_000)
def words(text: str) -> frozenset[str]:
    """Splits a text into words, at case changes and underscores too, case folded and without a plural's s."""
    parts = _WORD.findall(_CASE_CHANGE.sub(" ", text))
    return frozenset(part.casefold().removesuffix("s") for part in parts) - {""}


def tables_read(sql: str, tables: Iterable[str]) -> list[str]:
    """Returns those of `tables` whose name occurs in `sql` as a word or quoted name, in any case. A string counts after
    FROM or JOIN, because SQLite reads it as a table there: FROM 'airports'."""
    tokens = ("", *sql_tokens(sql))
    mentioned = {_unquoted(token).lower() for token in tokens if token}
    mentioned |= {
        token[1:-1].replace("''", "'").lower()
        for before, token in pairwise(tokens) if token[0] == "'" and before in ("from", "join")
    }
    return [table for table in tables if table.lower() in mentioned]


def _unquoted(token: str) -> str:
    end = _QUOTES.get(token[0])
    return token[1:].removesuffix(end).replace(end * 2, end) if end else token
