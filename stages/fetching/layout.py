"""Checks that a fetched corpus is what its authors ship."""

from pathlib import Path

from stages.core.files import parse_json
from stages.fetching.sources import Source


def layout_mistakes(folder: Path, source: Source) -> list[str]:
    """What is missing or wrong in a source's folder, each as the part of a sentence; empty where it is as it should."""
    missing = [f"no file is {pattern}" for pattern in source.required if not _met(folder, pattern)]
    counts = [_count_mistake(folder / name, name, count) for name, count in source.questions.items()]
    return missing + [mistake for mistake in counts if mistake]


def _met(folder: Path, pattern: str) -> bool:
    return any(path.is_file() and not path.name.startswith("._") for path in folder.glob(pattern))  # of macOS


def _count_mistake(path: Path, name: str, count: int) -> str | None:
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return f"{name} is missing"
    except ValueError as error:
        return f"{name} is not JSON ({error})"
    if not isinstance(value, list):
        return f"{name} holds no list"
    return None if len(value) == count else f"{name} has {len(value)} entries, not {count}"
