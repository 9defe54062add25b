"""Writes a comparison into a changelog in the form of Keep a Changelog, under `### Data`.

It is one item of the list, whose first line names both versions. An item written before is replaced, wherever it stands
under that heading; all other lines stay.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.core.display import visible_line
from stages.core.errors import UserError
from stages.diffing.comparison import Comparison
from stages.diffing.formatting import STALE, column_notes, counts, evaluations, figure, interval
from stages.diffing.rows import RowsDiff
from stages.diffing.versions import WORKSPACE, Version

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


def with_data_item(text: str, item: str) -> str:
    """The changelog with `item` under `### Data` of the unreleased section, in place of one written before. The heading
    is added where it is missing. Lines end as they did."""
    if "\r\n" in text:
        return with_data_item(text.replace("\r\n", "\n"), item).replace("\n", "\r\n")
    unreleased = _UNRELEASED.search(text)
    assert unreleased, "read_changelog makes sure of it"
    section = unreleased[0]
    if data := _DATA.search(section):
        section = section[: data.start()] + _replace_item(data[0], item) + section[data.end() :]
    else:
        head, _, rest = section.partition("\n")
        section = f"{head}\n\n### Data\n\n{item}\n" + rest.lstrip("\n")
    return text[: unreleased.start()] + section + text[unreleased.end() :]


def _replace_item(data: str, item: str) -> str:
    if _ITEM.search(data):
        return _ITEM.sub(lambda _: item, data, count=1)
    head, _, rest = data.partition("\n")
    below = rest.lstrip("\n")
    return f"{head}\n\n{item}" + (below if below.startswith("- ") else rest)


def item_of(comparison: Comparison) -> str:
    """The item of the list: rows of each dataset, labels by the reasons of their flips, EX of the models."""
    old, new = _name(comparison.old), _name(comparison.new)
    versions = f"Since `{old}`" if new == WORKSPACE else f"From `{old}` to `{new}`"
    lines = [f"- {versions}, {_BY}", *(f"  - {line}" for line in (*_stale(comparison), *_lines(comparison)))]
    return "\n".join(map(visible_line, lines)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    changes = {dataset: _changes(diff) for dataset, diff in comparison.datasets.items()}
    yield from (f"`{dataset}`: {change}." for dataset, change in changes.items() if change)
    if unchanged := [f"`{dataset}`" for dataset, change in changes.items() if not change]:
        yield f"The same in both: {', '.join(unchanged)}."
    if comparison.flips and comparison.flips.flipped:
        reasons = ", ".join(f"{reasons} {number:,}" for reasons, number in comparison.flips.reasons.items())
        share = f"{comparison.flips.flipped:,} of {comparison.flips.candidates_in_both:,} candidates in both"
        yield f"Labels: {share} have another verdict ({reasons})."
    for file, metrics in evaluations(comparison).items():
        old, new = interval(metrics, "old"), interval(metrics, "new")
        if old != new:
            yield f"EX in `{file}`: {old} -> {new}."


def _stale(comparison: Comparison) -> Iterator[str]:
    for version in (comparison.old, comparison.new):
        if version.stale:
            stages = ", ".join(f"`{stage}`" for stage in version.stale)
            yield f"Stages of `{_name(version)}` that are {STALE}: {stages}."


def _name(version: Version) -> str:
    return version.name.replace("`", "'")


def _changes(diff: RowsDiff) -> str:
    """What differs in a dataset; empty if nothing does."""
    if diff.old is None:
        return f"new, {figure(diff.new)} rows"
    if diff.new is None:
        return f"no longer there; it had {figure(diff.old)} rows"
    notes = column_notes(diff)
    if not (diff.added or diff.removed or notes):
        return ""
    added, removed, changed = counts(diff)
    text = f"{figure(diff.old)} -> {figure(diff.new)} rows; {added} added, {removed} removed, {changed} changed"
    return f"{text} ({', '.join(notes)})" if notes else text
