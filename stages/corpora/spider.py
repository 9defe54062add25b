"""Spider, as its authors ship it: `train_spider.json` and `train_others.json` (with or without parsed queries),
`dev.json`, `test.json`, the databases in `database` and `test_database`."""

from pathlib import Path

from stages.corpora.question_files import Entry, Fields, counted_on, read_json

FILES = {"train": ["train_spider.json", "train_others.json"], "dev": ["dev.json"], "test": ["test.json"]}
FIELDS = Fields("question", ("query",))


def read(folder: Path, split: str, wrong: list[str]) -> list[Entry]:
    """The questions of a split. The positions of `train_others.json`, which may be missing, follow those of
    `train_spider.json`, as in the benchmark's own count of 8,659."""
    first, *others = (folder / name for name in FILES[split])
    return counted_on(read_json(path, FIELDS, wrong) for path in (first, *(path for path in others if path.is_file())))


def databases(folder: Path, split: str) -> list[Path]:
    """Where the databases of a split lie, the first place that has one first."""
    return [folder / "test_database", folder / "database"] if split == "test" else [folder / "database"]
