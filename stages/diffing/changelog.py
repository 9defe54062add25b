"""What a comparison says under `### Data` of a changelog, in the form of Keep a Changelog.

It is one item of the list, whose first line names both versions. Such an item is replaced, wherever it stands under
that heading; all other lines stay.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.core.display import visible_line
from stages.core.errors import UserError
from stages.diffing.comparison import Comparison
from stages.diffing.rows import RowsDiff
from stages.diffing.versions import WORKSPACE, Version
from stages.diffing.wording import STALE, count, counts, evaluations, interval, notes

_BY = "counted by `python -m stages.diff`:"
_ITEM = re.compile(rf"^- (?:From|Since) .*, {re.escape(_BY)}\n(?:  .*\n?)*", re.MULTILINE)
_UNRELEASED = re.compile(r"^## \[Unreleased\][^\n]*\n(?:(?!## ).*\n?)*", re.MULTILINE | re.IGNORECASE)
_DATA = re.compile(r"^### Data[ \t]*\n(?:(?!###? ).*\n?)*", re.MULTILINE)


def read_changelog(path: Path) -> str:
    """The text of a changelog. Raises UserError where it is missing or has no `## [Unreleased]`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:  # the ends of lines stay as they are
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a changelog, such as CHANGELOG.md") from None
    if not _UNRELEASED.search(text):
        raise UserError(f"{path} has no line `## [Unreleased]`; add it above the last version")
    return text if text.endswith("\n") else f"{text}\n"


def filled(text: str, item: str) -> str:
    """The changelog with `item` under `### Data` of what is unreleased, in place of one that was written there before;
    the heading is added where it is missing. Lines end as they did."""
    if "\r\n" in text:
        return filled(text.replace("\r\n", "\n"), item).replace("\n", "\r\n")
    unreleased = _UNRELEASED.search(text)
    assert unreleased, "read_changelog makes sure of it"
    section = unreleased[0]
    if data := _DATA.search(section):
        told = _with_item(data[0], item)
        section = section[: data.start()] + told + section[data.end() :]
    else:
        head, _, rest = section.partition("\n")
        section = f"{head}\n\n### Data\n\n{item}\n" + rest.lstrip("\n")
    return text[: unreleased.start()] + section + text[unreleased.end() :]


def _with_item(data: str, item: str) -> str:
    if _ITEM.search(data):
        return _ITEM.sub(lambda found: item, data, count=1)
    head, _, rest = data.partition("\n")
    below = rest.lstrip("\n")
    return f"{head}\n\n{item}" + (below if below.startswith("- ") else rest)


def item_of(found: Comparison) -> str:
    """The item of the list: rows of each dataset, labels by reasons, EX of the models."""
    old, new = _name(found.old), _name(found.new)
    which = f"Since `{old}`" if new == WORKSPACE else f"From `{old}` to `{new}`"
    lines = [f"- {which}, {_BY}", *(f"  - {line}" for line in (*_stale(found), *_lines(found)))]
    return "\n".join(map(visible_line, lines)) + "\n"


def _lines(found: Comparison) -> Iterator[str]:
    for dataset, rows in found.datasets.items():
        if told := _rows(rows):
            yield f"`{dataset}`: {told}."
    same = [f"`{dataset}`" for dataset, rows in found.datasets.items() if not _rows(rows)]
    if same:
        yield f"The same in both: {', '.join(same)}."
    if found.flips and found.flips.flipped:
        reasons = ", ".join(f"{names} {number:,}" for names, number in found.flips.reasons.items())
        of = f"{found.flips.flipped:,} of {found.flips.candidates_in_both:,} candidates in both"
        yield f"Labels: {of} have another verdict ({reasons})."
    for file, numbers in evaluations(found).items():
        old, new = interval(numbers, "old"), interval(numbers, "new")
        if old != new:
            yield f"EX in `{file}`: {old} -> {new}."


def _stale(found: Comparison) -> Iterator[str]:
    for version in (found.old, found.new):
        if version.stale:
            stages = ", ".join(f"`{stage}`" for stage in version.stale)
            yield f"Stages of `{_name(version)}` that are {STALE}: {stages}."


def _name(version: Version) -> str:
    return version.name.replace("`", "'")


def _rows(rows: RowsDiff) -> str:
    """What differs in a dataset; empty if nothing does."""
    if rows.old is None or rows.new is None:
        return f"new, {count(rows.new)} rows" if rows.old is None else f"no longer there; it had {count(rows.old)} rows"
    columns = notes(rows)
    if not (rows.added or rows.removed or columns):
        return ""
    added, removed, changed = counts(rows)
    told = f"{count(rows.old)} -> {count(rows.new)} rows; {added} added, {removed} removed, {changed} changed"
    return f"{told} ({', '.join(columns)})" if columns else told
