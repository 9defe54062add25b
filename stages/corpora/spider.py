"""Reads Spider as its authors ship it: `train_spider.json` and `train_others.json` (with or without parsed queries),
`dev.json`, `test.json`, and the databases in `database` and `test_database`."""

from pathlib import Path

from stages.corpora.question_files import Fields, QuestionFile, concatenate, read_json

FILES = {"train": ["train_spider.json", "train_others.json"], "dev": ["dev.json"], "test": ["test.json"]}
FIELDS = Fields("question", ("query",))


def read(folder: Path, split: str) -> QuestionFile:
    """Reads the questions of a split. The positions of `train_others.json`, which may be missing, continue those of
    `train_spider.json`, as in the benchmark's own count of 8,659."""
    first, *others = (folder / name for name in FILES[split])
    return concatenate(read_json(path, FIELDS) for path in (first, *(path for path in others if path.is_file())))


def databases(folder: Path, split: str) -> list[Path]:
    """Returns the folders of a split's databases; the first that has a database counts."""
    return [folder / "test_database", folder / "database"] if split == "test" else [folder / "database"]
