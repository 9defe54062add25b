"""Predictions that other systems made, as candidates: read from files, without a model.

A folder holds one folder for each test set, `<source>-<split>`, and that one file for each system, named after it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import fingerprint, sha256_file
from stages.core.tables import COLUMNS
from stages.core.user_files import is_unicode
from stages.datasets.questions import TEST_SET
from stages.extraction.extract import extract_sql
from stages.predictions.prediction_files import read_predictions_of
from stages.predictions.prediction_tables import ROWS, Asked

FORMATS = (".txt", ".sql", ".json", *ROWS)
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini", "__MACOSX")  # beside the hidden ones: `._x.txt`, `.DS_Store`
_READ = ("candidate_id", "question_id", "sample", "completion", "sql", "model", "model_version")


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one system's file holds: the texts of each question asked, how many texts of other questions, and what
    `stages.predictions.prediction_db_ids.without_db_ids` counted."""

    path: Path
    asked: Sequence[Asked]
    texts: list[list[str]]
    not_asked: int
    seen: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Predictions in the file, those of questions not asked, the candidates made, those without SQL, those with
        other text around their SQL, and, where there are any, what `seen` counts."""
        texts = [text for row in self.texts for text in row]
        statements = list(map(extract_sql, texts))
        cut_out = sum(sql not in ("", text.strip()) for text, sql in zip(texts, statements, strict=True))
        counts = {"in": len(texts) + self.not_asked, "not_asked": self.not_asked, "out": len(texts)}
        return {**counts, "no_sql": statements.count(""), "cut_out": cut_out, **self.seen}


def read_imported(questions: pl.DataFrame, folder: Path, counts: Mapping[str, int]) -> list[Predictions]:
    """The predictions for these questions (columns question_id, source, split, db_id), by test set and file name.

    `counts`: test set to the number of questions in its source's file, left out ones included: a file of predictions
    has one for each. A test set without a folder has no predictions. Raises UserError, a sentence for every mistake in
    any of the files, where no test set has a folder, and where a file is none of predictions.
    """
    groups = questions.with_columns(TEST_SET.alias("test_set")).sort("test_set", maintain_order=True)
    found: list[Predictions] = []
    wrong: list[str] = []
    files = prediction_files(folder, groups["test_set"].unique(maintain_order=True).to_list())
    for name, paths in files.items():
        rows = groups.filter(pl.col("test_set") == name).select("question_id", "db_id").iter_rows()
        asked = [Asked(int(question_id.rpartition("/")[2]), question_id, db_id) for question_id, db_id in rows]
        for path in paths:
            try:
                seen = Counter[str]()
                texts, not_asked = read_predictions_of(path, asked, counts[name], seen)
                found.append(Predictions(path, asked, texts, not_asked, +seen))
            except UserError as error:
                wrong += error.sentences
    if wrong:
        raise UserError(*wrong)
    return found


def prediction_files(folder: Path, test_sets: Sequence[str]) -> dict[str, list[Path]]:
    """The prediction files of each of these test sets that has a folder, sorted by name. What is hidden, of
    DVC or of the system is none."""
    named = f"{folder}/<source>-<split>/, here {' or '.join(f'{folder}/{name}/' for name in test_sets)}"
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; put one prediction file a system into {named}")
    wrong = [f"{path} lies beside the test sets; move it into {named}" for path in _visible(folder) if path.is_file()]
    files = {name: _visible(folder / name) for name in test_sets if (folder / name).is_dir()}
    if not files:
        there = ", ".join(path.name for path in _visible(folder) if path.is_dir()) or "none"
        wrong.append(f"{folder} has a folder for none of the test sets asked (there: {there}); make {named}")
    for name, paths in files.items():
        wrong += _faults(folder / name, paths)
    if wrong:
        raise UserError(*wrong)
    return files


def _visible(folder: Path) -> list[Path]:
    paths = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".dvc"]
    return sorted(path for path in paths if path.name not in _SYSTEM_FILES)


def _faults(folder: Path, paths: Sequence[Path]) -> list[str]:
    if not paths:
        return [f"{folder} is empty; put one prediction file a system into it ({', '.join(FORMATS)})"]
    known = [path for path in paths if path.suffix.lower() in FORMATS and path.is_file() and is_unicode(path.name)]
    wrong = [
        f"{folder} has a file whose name is not UTF-8 ({path.name!a}); rename it"
        for path in paths if not is_unicode(path.name)
    ]
    paths = [path for path in paths if is_unicode(path.name)]
    wrong += [
        f"{path} is no prediction file; take it out of {folder}, or name it by what it is ({', '.join(FORMATS)})"
        for path in paths if path not in known
    ]
    twice = [name for name, count in Counter(path.stem for path in known).items() if count > 1]
    return wrong + [f"{folder} has several files of the system {name}; leave one of them" for name in twice]


def imported_rows(found: Sequence[Predictions]) -> pl.DataFrame:
    """The rows of `candidates` for these predictions: what only sampling knows is NULL.

    The samples of a question are numbered over all systems in their order. The id does not depend on that number:
    another system adds candidates and changes none. The text is the completion, and its SQL is cut out of it as out of
    that of any model.
    """
    rows = []
    numbers: Counter[str] = Counter()
    for one in found:
        model, version = one.path.stem, sha256_file(one.path)
        for question, texts in zip(one.asked, one.texts, strict=True):
            name = question.question_id
            for number, text in enumerate(texts):
                content = fingerprint(name, model, version, number, text)
                rows.append((content[:16], name, numbers[name], text, extract_sql(text), model, version))
                numbers[name] += 1
    unknown = {name: pl.lit(None, dtype) for name, dtype in COLUMNS["candidates"].items() if name not in _READ}
    frame = pl.DataFrame(rows, {name: COLUMNS["candidates"][name] for name in _READ}, orient="row")
    return frame.with_columns(**unknown | {"finish_reason": pl.lit("imported")}).select(*COLUMNS["candidates"])


def systems_of(found: Sequence[Predictions]) -> dict[str, Any]:
    """For the report: predictions of questions not asked, and test set to system to `Predictions.counts`."""
    systems: dict[str, dict[str, dict[str, int]]] = {}
    for one in found:
        systems.setdefault(one.path.parent.name, {})[one.path.stem] = one.counts()
    return {"not_asked": sum(one.not_asked for one in found), "systems": systems}
