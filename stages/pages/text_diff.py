"""Marks what differs between two texts, token by token, as HTML: struck out in the first, underlined in the second."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from stages.core.display import visible

MOST_COMPARED = 1_000_000
"""Pairs of tokens of two texts. Beyond it, all between what both begin and end with counts as different."""

MOST_SHOWN = 600
"""Characters of a part, one that differs or one that both have, that are shown."""

_MOST_PARTS = 200
_TOKENS = re.compile(r"\d+\.\d+|\w+|\s+|.", re.DOTALL)

Spans = list[tuple[int, int, int, int, bool]]
"""Parts of two lists of tokens: start and end in the first, then in the second, and whether they differ."""


def marked(old: str, new: str, tags: tuple[str, str] = ("del", "ins")) -> tuple[Markup, Markup]:
    """Both texts as HTML, what only one of them has in an element `tags`. Any text is safe, and long ones are cut."""
    before, after = _TOKENS.findall(old), _TOKENS.findall(new)
    spans = _spans(before, after)
    sides = (
        [("".join(before[start:end]), differs) for start, end, _, _, differs in spans],
        [("".join(after[start:end]), differs) for _, _, start, end, differs in spans],
    )
    first, second = (_html(parts, tag) for parts, tag in zip(sides, tags, strict=True))
    return first, second


def shortened(text: str) -> Markup:
    """A text as HTML; a long one loses its end, and says how much that is."""
    return _html([(text, False)], "")


def _html(parts: list[tuple[str, bool]], tag: str) -> Markup:
    shown = [(text, differs) for text, differs in parts if text]
    html = Markup("").join(
        Markup("<{0}>{1}</{0}>").format(Markup(tag), _cut(text, 0)) if differs
        else _cut(text, 0 if place == len(shown) - 1 else MOST_SHOWN // 2)
        for place, (text, differs) in enumerate(shown[:_MOST_PARTS])
    )  # fmt: skip
    rest = sum(len(text) for text, _ in shown[_MOST_PARTS:])
    return html + _gap(rest) if rest else html


def _cut(text: str, tail: int) -> Markup:
    """The beginning of a text and its last `tail` characters."""
    gap = len(text) - MOST_SHOWN
    if gap <= 0:
        return escape(visible(text))
    head, end = text[: MOST_SHOWN - tail], text[len(text) - tail :] if tail else ""
    return escape(visible(head)) + _gap(gap) + escape(visible(end))


def _gap(characters: int) -> Markup:
    return Markup('<span class="soft">… {:,} more characters …</span>').format(characters)


def _spans(old: list[str], new: list[str]) -> Spans:
    """The parts of both, in order."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    ends = len(old) - tail, len(new) - tail
    inner = list(_inner(old[head : ends[0]], new[head : ends[1]]))
    spans = [(a + head, b + head, c + head, d + head, differs) for a, b, c, d, differs in inner]
    return [(0, head, 0, head, False), *spans, (ends[0], len(old), ends[1], len(new), False)]


def _common(old: list[str], new: list[str]) -> int:
    """The number of tokens that both begin with."""
    for place, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            return place
    return min(len(old), len(new))


def _inner(old: list[str], new: list[str]) -> Iterator[tuple[int, int, int, int, bool]]:
    """The parts of texts that begin and end differently. Space that both have between two parts that differ belongs to
    them: one long mark is easier to read than many short ones."""
    if not old and not new:
        return
    if len(old) * len(new) > MOST_COMPARED:
        yield 0, len(old), 0, len(new), True
        return
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    old_end = new_end = 0
    for old_start, new_start, size in blocks:
        if size and all(token.isspace() for token in old[old_start : old_start + size]):
            continue
        if old_end < old_start or new_end < new_start:
            yield old_end, old_start, new_end, new_start, True
        if size:
            yield old_start, old_start + size, new_start, new_start + size, False
        old_end, new_end = old_start + size, new_start + size
