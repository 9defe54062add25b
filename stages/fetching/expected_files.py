"""Checks that a fetched source has the files, and the numbers of questions, that it must have."""

from pathlib import Path

from stages.core.files import parse_json
from stages.fetching.sources import Source


def expected_file_problems(folder: Path, source: Source) -> list[str]:
    """Returns what is missing or wrong in a source's folder, each as part of a sentence."""
    missing = [f"no file is {pattern}" for pattern in source.required if not _has_match(folder, pattern)]
    counts = [_count_problem(folder / name, name, count) for name, count in source.questions.items()]
    return missing + [problem for problem in counts if problem]


def _has_match(folder: Path, pattern: str) -> bool:
    return any(path.is_file() and not path.name.startswith("._") for path in folder.glob(pattern))  # `._`: of macOS


def _count_problem(path: Path, name: str, count: int) -> str | None:
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return f"{name} is missing"
    except ValueError as error:
        return f"{name} is not JSON ({error})"
    if not isinstance(value, list):
        return f"{name} holds no list"
    return None if len(value) == count else f"{name} has {len(value)} entries, not {count}"
