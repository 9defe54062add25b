"""Splits one question's candidates into those that may be chosen and those that may be rejected, and draws pairs."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stages.sql.tokens import Tokens, sql_tokens


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
