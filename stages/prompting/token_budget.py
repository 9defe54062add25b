"""How many tokens a prompt has, and which tables it goes without where that is too many."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from stages.core.errors import UserError
from stages.prompting.render import render_prompt
from stages.sql.tokens import sql_tokens

Count = Callable[[str], int]
"""The number of tokens of a text."""

_ESTIMATED_TOKEN = re.compile(r"[^\W_]{1,4}|\S")
_CASE_CHANGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
_QUOTES = {'"': '"', "`": "`", "[": "]"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A table as a prompt shows it: its name, the names of its columns, its text."""

    name: str
    columns: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """`dropped`: the names of the tables it goes without, in the order in which they were dropped."""

    text: str
    tokens: int
    dropped: tuple[str, ...]


def estimate(text: str) -> int:
    """Tokens where no tokenizer is named: a run of letters and digits counts one for every 4 characters begun, every
    other character but space one."""
    return len(_ESTIMATED_TOKEN.findall(text))


def tokenizer_count(tokenizer: str, revision: str | None) -> Count:
    """Counts with the tokenizer of a Hub id (or folder) at its pinned revision, without special tokens or template.

    Raises UserError where it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"params.yaml: `prompts.tokenizer` is {tokenizer!r}, which cannot be loaded ({said})") from None
    return lru_cache(maxsize=100)(lambda text: len(loaded.encode(text, add_special_tokens=False, verbose=False)))


def fit(tables: Sequence[Shown], question: str, evidence: str, count: Count, max_tokens: int | None) -> Prompt:
    """The prompt with as many of the tables, in their order, as `max_tokens` allow; one stays in any case.

    Whole tables are dropped in the order of `drop_order` until the rest fits, and no text is ever cut: a prompt that is
    too long with one table stays so.
    """
    whole = render_prompt("\n".join(table.text for table in tables), question, evidence)
    tokens = count(whole)
    if max_tokens is None or tokens <= max_tokens or len(tables) == 1:
        return Prompt(whole, tokens, ())
    order = drop_order(tables, f"{question} {evidence}")

    def without(dropped: int) -> str:
        kept = sorted(order[dropped:])
        return render_prompt("\n".join(tables[at].text for at in kept), question, evidence)

    tries = range(1, len(tables) - 1)
    fewest = 1 + bisect_left(tries, True, key=lambda dropped: count(without(dropped)) <= max_tokens)
    text = without(fewest)
    return Prompt(text, count(text), tuple(tables[at].name for at in order[:fewest]))


def drop_order(tables: Sequence[Shown], asked: str) -> list[int]:
    """The places of the tables, the first to be dropped first: the one that has fewest of the words of `asked` in its
    name and column names; among equals the one with the longest text, then the last."""
    wanted = words(asked)
    hits = [len(wanted & words(" ".join((table.name, *table.columns)))) for table in tables]
    return sorted(range(len(tables)), key=lambda at: (hits[at], -len(tables[at].text), -at))


@lru_cache(maxsize=100_000)
def words(text: str) -> frozenset[str]:
    """The words of a text, cut at case changes and underscores too, case folded, without a plural's s."""
    found = _WORD.findall(_CASE_CHANGE.sub(" ", text))
    return frozenset(word.casefold().removesuffix("s") for word in found) - {""}


def names_read(sql: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that stand as a word or quoted name in `sql`, in any case; in a string only where a table may
    stand, for SQLite takes it for one: FROM 'airports'."""
    tokens = ("", *sql_tokens(sql))
    said = {_unquoted(token).lower() for token in tokens if token}
    said |= {
        token[1:-1].replace("''", "'").lower()
        for before, token in pairwise(tokens) if token[0] == "'" and before in ("from", "join")
    }
    return [name for name in names if name.lower() in said]


def _unquoted(token: str) -> str:
    end = _QUOTES.get(token[0])
    return token[1:].removesuffix(end).replace(end * 2, end) if end else token
