"""The pairs as they were made before they became a view: in loops over rows, a question at a time.

Frozen, and slow: what `stages.pairing` gives for the params of that time must be this, byte for byte. It has its own
copies of what it stands on, so that no change elsewhere changes it.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Protocol

import polars as pl

from stages.datasets.pairs import PAIRS

Tokens = tuple[str, ...]

MOST_COMPARED = 4_000_000
"""Pairs of tokens of two queries: two of 2,000 tokens each."""

_STRING = r"""'[^']*+(?:''[^']*+)*+'?"""
_QUOTED = rf"""{_STRING}|"[^"]*+(?:""[^"]*+)*+"?|`[^`]*+(?:``[^`]*+)*+`?|\[[^\]]*+\]?|--[^\n]*|/\*.*?(?:\*/|\Z)"""
_LEXEMES = r"\d+\.\d*|[\w$\x80-\U0010ffff]+|->>|->|\|\||<<|>>|<>|[<>=!]=|[^ \t\n\f\r]"
_SQL = re.compile(f"[xX]{_STRING}|{_QUOTED}|{_LEXEMES}", re.DOTALL)
_EXACT = ("'", '"', "`", "[", "x'", "X'", "--", "/*")
REJECTED = {
    "all": ("mismatch", "exec_error", "over_budget", "no_sql"),
    "executable": ("mismatch",),
    "error": ("exec_error", "over_budget", "no_sql"),
}


class Params(Protocol):
    """The params that there were."""

    @property
    def seed(self) -> int: ...
    @property
    def dedup(self) -> bool: ...
    @property
    def keep_gold(self) -> bool: ...
    @property
    def neg_filter(self) -> str: ...
    @property
    def neg_limit(self) -> int | None: ...
    @property
    def pos_limit(self) -> int | None: ...


def sql_tokens(text: str) -> Tokens:
    """What is compared of a query: its tokens without the space between them, in lower case, without a final `;`.

    Literals, quoted names and comments stay as they are, and so do words with letters outside ASCII: to SQLite, É is
    not é.
    """
    tokens: list[str] = _SQL.findall(text)
    tokens = [token if token.startswith(_EXACT) or not token.isascii() else token.lower() for token in tokens]
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return tuple(tokens)


def similarity(one: Tokens, other: Tokens) -> float:
    """The share of tokens that two queries have in common, in order: 0 none, 1 all; four decimals.

    In order would take time as the product of both lengths. Where that is beyond MOST_COMPARED, the order does not
    count.
    """
    if len(one) * len(other) > MOST_COMPARED:
        common = (Counter(one) & Counter(other)).total()
        return round(2 * common / (len(one) + len(other)), 4)
    return round(SequenceMatcher(None, one, other, autojunk=False).ratio(), 4)


def fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Text:
    """A completion that may be one side of a pair; `id` is its candidate_id, None for the gold query."""

    id: str | None
    verdict: str
    text: str
    tokens: Tokens


@dataclass(frozen=True)
class Sides:
    """The texts of one question that may be chosen and those that may be rejected; `dropped`: reason to how many
    candidates it kept out."""

    chosen: list[Text]
    rejected: list[Text]
    dropped: Counter[str]


@dataclass(frozen=True)
class Draw:
    """The pairs of one question, chosen and rejected; and how many chosen texts and how many pairs the limits left
    out."""

    pairs: list[tuple[Text, Text]]
    over_pos_limit: int = 0
    over_neg_limit: int = 0


def text_of(candidate_id: str | None, verdict: str, sql: str, completion: str) -> Text:
    """A query as the completion that a model would give. A candidate without SQL stands with its whole completion."""
    text = sql if sql.strip() else completion
    return Text(candidate_id, verdict, text, sql_tokens(text))


def split_chosen_rejected(
    texts: Sequence[Text], gold: Text | None, rejected_verdicts: Collection[str], dedup: bool, keep_gold: bool
) -> Sides:
    """Splits the candidates of one question, which come in the order of their sample numbers.

    `gold` is None where the gold query is not usable. No text is on both sides.
    """
    chosen = [text for text in texts if text.verdict == "match"]
    right_tokens = {text.tokens for text in chosen} | ({gold.tokens} if gold else set())
    rejected, dropped = [], Counter[str]()
    for text in texts:
        if text.verdict == "match":
            continue
        if reason := _why_not_rejected(text, right_tokens, rejected_verdicts):
            dropped[reason] += 1
        else:
            rejected.append(text)
    if dedup:
        before = len(chosen) + len(rejected)
        chosen, rejected = _distinct(chosen), _distinct(rejected)
        dropped["duplicate"] = before - len(chosen) - len(rejected)
    if keep_gold and gold and all(gold.tokens != text.tokens for text in chosen):
        chosen.append(gold)
    return Sides(chosen, rejected, dropped)


def _why_not_rejected(text: Text, right_tokens: Collection[Tokens], rejected_verdicts: Collection[str]) -> str | None:
    if text.verdict in ("undecided", "gold_error"):
        return text.verdict
    if text.verdict not in rejected_verdicts:
        return "not_in_neg_filter"
    if not text.tokens:
        return "blank"
    return "equal_to_right" if text.tokens in right_tokens else None


def _distinct(texts: Sequence[Text]) -> list[Text]:
    """Of equal texts the first, which has the lowest sample number."""
    first: dict[Tokens, Text] = {}
    for text in texts:
        first.setdefault(text.tokens, text)
    return list(first.values())


def draw(sides: Sides, seed: str, pos_limit: int | None, neg_limit: int | None) -> Draw:
    """Draws the pairs of one question: at most `pos_limit` chosen, each with at most `neg_limit` rejected.

    Whole permutations are drawn and their beginnings taken, so that a higher limit only adds pairs.
    """
    if not sides.chosen or not sides.rejected:
        return Draw([])
    generator = random.Random(seed)
    chosen = generator.sample(sides.chosen, len(sides.chosen))[:pos_limit]
    draws = [generator.sample(sides.rejected, len(sides.rejected))[:neg_limit] for _ in chosen]
    pairs = [(text, rejected) for text, drawn in zip(chosen, draws, strict=True) for rejected in drawn]
    return Draw(pairs, len(sides.chosen) - len(chosen), len(chosen) * len(sides.rejected) - len(pairs))


Pair = tuple[str, Text, Text]
"""question_id, chosen, rejected."""


def make_pairs(
    questions: pl.DataFrame, candidates: pl.DataFrame, results: pl.DataFrame, params: Params
) -> tuple[list[Pair], Counter[str]]:
    """The pairs of all questions, in the order of question_id; and the counts of what came in and was dropped.

    `questions` have the verdict of their gold query in the column `verdict`.
    """
    golds = dict(questions.filter(pl.col("verdict") == "ok").select("question_id", "gold_sql").iter_rows())
    completions = candidates.select("candidate_id", "sample", "completion")
    rows = results.join(completions, on="candidate_id").sort("question_id", "sample", "candidate_id")
    columns = rows.select("question_id", "candidate_id", "verdict", "sql", "completion").iter_rows()
    pairs: list[Pair] = []
    counts: Counter[str] = Counter()
    for question_id, group in groupby(columns, key=lambda row: row[0]):
        texts = [text_of(*fields) for _, *fields in group]
        gold = text_of(None, "match", golds[question_id], "") if question_id in golds else None
        sides = split_chosen_rejected(texts, gold, REJECTED[params.neg_filter], params.dedup, params.keep_gold)
        drawn = draw(sides, f"{params.seed}/{question_id}", params.pos_limit, params.neg_limit)
        pairs += [(question_id, *pair) for pair in drawn.pairs]
        counts += sides.dropped + _question_counts(len(texts), sides, drawn)
    return pairs, counts


def _question_counts(candidates: int, sides: Sides, drawn: Draw) -> Counter[str]:
    has_chosen, has_rejected = bool(sides.chosen), bool(sides.rejected)
    return Counter(
        candidates=candidates, questions=1, with_right=has_chosen, with_wrong=has_rejected,
        with_both=has_chosen and has_rejected, never_right=not has_chosen, never_wrong=not has_rejected,
        over_pos_limit=drawn.over_pos_limit, over_neg_limit=drawn.over_neg_limit,
    )  # fmt: skip


def pair_rows(pairs: list[Pair], questions: pl.DataFrame) -> pl.DataFrame:
    """The rows of `pairs`, each with the `db_id` and the `prompt` of its question."""
    rows = [
        {
            "pair_id": fingerprint(question_id, chosen.id, chosen.text, rejected.id, rejected.text)[:16],
            "question_id": question_id, "chosen": chosen.text, "rejected": rejected.text, "chosen_id": chosen.id,
            "rejected_id": rejected.id, "rejected_verdict": rejected.verdict,
            "similarity": similarity(chosen.tokens, rejected.tokens),
        }
        for question_id, chosen, rejected in pairs
    ]  # fmt: skip
    own = {name: dtype for name, dtype in PAIRS.columns.items() if name not in ("db_id", "prompt")}
    columns = questions.select("question_id", "db_id", "prompt")
    return pl.DataFrame(rows, schema=own).join(columns, on="question_id", how="left").select(*PAIRS.columns)
