"""Which of one question's candidates may be chosen, which may be rejected, and the draw of their pairs."""

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from stages.sql.tokens import Tokens, sql_tokens


@dataclass(frozen=True)
class Text:
    """A completion that may be one side of a pair; `id` is its candidate_id, None for the gold query."""

    id: str | None
    verdict: str
    text: str
    tokens: Tokens


def text_of(candidate_id: str | None, verdict: str, sql: str, completion: str) -> Text:
    """A query as the completion that a model would give; a candidate with no SQL in it stands with all it said."""
    text = sql if sql.strip() else completion
    return Text(candidate_id, verdict, text, sql_tokens(text))


def sides(
    texts: list[Text], gold: Text | None, rejected: Collection[str], dedup: bool, keep_gold: bool, counts: Counter[str]
) -> tuple[list[Text], list[Text]]:
    """What may be chosen and what may be rejected of one question's candidates, which come in the order of sample.

    `gold` is None where the gold query is not usable, `rejected` the verdicts that may be rejected. No text is on both
    sides. Adds the reasons of what was left out to `counts`.
    """
    right = [text for text in texts if text.verdict == "match"]
    taken = {text.tokens for text in right} | ({gold.tokens} if gold else set())
    wrong = []
    for text in texts:
        if text.verdict == "match":
            continue
        if reason := _why_not_rejected(text, taken, rejected):
            counts[reason] += 1
        else:
            wrong.append(text)
    if dedup:
        right, wrong = _distinct(right, counts), _distinct(wrong, counts)
    if keep_gold and gold and all(gold.tokens != text.tokens for text in right):
        right.append(gold)
    return right, wrong


def _why_not_rejected(text: Text, taken: Collection[Tokens], rejected: Collection[str]) -> str | None:
    if text.verdict in ("undecided", "gold_error"):
        return text.verdict
    if text.verdict not in rejected:
        return "not_in_neg_filter"
    if not text.tokens:
        return "blank"
    return "equal_to_right" if text.tokens in taken else None


def _distinct(texts: list[Text], counts: Counter[str]) -> list[Text]:
    """Of equal texts the first, which has the lowest sample number."""
    kept: dict[Tokens, Text] = {}
    for text in texts:
        kept.setdefault(text.tokens, text)
    counts["duplicate"] += len(texts) - len(kept)
    return list(kept.values())


def draw(
    right: list[Text], wrong: list[Text], seed: str, pos_limit: int | None, neg_limit: int | None, counts: Counter[str]
) -> list[tuple[Text, Text]]:
    """Pairs of one question, chosen and rejected: at most `pos_limit` chosen, each with at most `neg_limit` rejected.

    Whole permutations are drawn and their beginnings taken, so that a higher limit only adds pairs. Adds to `counts`
    the chosen texts and the pairs that the limits left out.
    """
    if not right or not wrong:
        return []
    generator = random.Random(seed)
    chosen = generator.sample(right, len(right))[:pos_limit]
    rejected = [generator.sample(wrong, len(wrong))[:neg_limit] for _ in chosen]
    counts["over_pos_limit"] += len(right) - len(chosen)
    counts["over_neg_limit"] += sum(len(wrong) - len(few) for few in rejected)
    return [(one, other) for one, few in zip(chosen, rejected, strict=True) for other in few]
