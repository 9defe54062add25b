"""The variants of Spider, as their authors ship them: other questions, mostly on Spider's own databases."""

from pathlib import Path

from stages.corpora.question_files import Entry, Fields, read_json

FILES = {
    "spider-syn": {"train": "train_spider.json", "dev": "dev.json"},
    "spider-dk": {"dev": "Spider-DK.json"},
    "spider-realistic": {"dev": "spider-realistic.json"},
}
QUESTIONS = {"spider-syn": "SpiderSynQuestion"}


def read(folder: Path, split: str, wrong: list[str]) -> list[Entry]:
    """The questions of a split of the variant that the folder is named after."""
    fields = Fields(QUESTIONS.get(folder.name, "question"), ("query",))
    return read_json(folder / FILES[folder.name][split], fields, wrong)


def databases(folder: Path, split: str) -> list[Path]:
    """Where the databases lie: Spider-DK brings some of its own, all others are Spider's, in the folder beside."""
    return [folder / "database", folder.with_name("spider") / "database"]
