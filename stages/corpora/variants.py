"""Reads the variants of Spider as their authors ship them: other questions, mostly on Spider's own databases."""

from pathlib import Path

from stages.corpora.question_files import Fields, QuestionFile, read_json

FILES = {
    "spider-syn": {"train": "train_spider.json", "dev": "dev.json"},
    "spider-dk": {"dev": "Spider-DK.json"},
    "spider-realistic": {"dev": "spider-realistic.json"},
}
QUESTIONS = {"spider-syn": "SpiderSynQuestion"}


def read(folder: Path, split: str) -> QuestionFile:
    """Reads the questions of a split. The folder is named after the variant."""
    fields = Fields(QUESTIONS.get(folder.name, "question"), ("query",))
    return read_json(folder / FILES[folder.name][split], fields)


def databases(folder: Path, split: str) -> list[Path]:
    """Returns the folders of the databases. Spider-DK ships some of its own; all others are in Spider's folder."""
    return [folder / "database", folder.with_name("spider") / "database"]
