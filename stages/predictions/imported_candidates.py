"""Imports the predictions of other systems as candidates.

A folder has a subfolder for each test set, `<source>-<split>`, with one file per system, named after the system.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError, collect_errors, is_utf8
from stages.core.files import fingerprint, sha256_file
from stages.datasets.candidates import CANDIDATES
from stages.datasets.questions import TEST_SET
from stages.extraction.extract import extract_sql
from stages.predictions.prediction_db_ids import PredictionTexts
from stages.predictions.prediction_files import read_predictions_for
from stages.predictions.prediction_tables import TABLE_SUFFIXES, QuestionRef

SUFFIXES = (".txt", ".sql", ".json", *TABLE_SUFFIXES)
_IGNORED_FILES = ("Thumbs.db", "desktop.ini", "__MACOSX")  # beside hidden files: `._x.txt`, `.DS_Store`
_IMPORTED_COLUMNS = ("candidate_id", "question_id", "sample", "completion", "sql", "model", "model_version")


@dataclass(frozen=True, slots=True)
class SystemPredictions:
    """The predictions of one system's file for `questions`."""

    path: Path
    questions: Sequence[QuestionRef]
    predictions: PredictionTexts

    def counts(self) -> dict[str, int]:
        """Counts the file's predictions, those for questions not asked, the candidates, those without SQL, those with
        other text around their SQL, and what `strip_db_ids` counts, if it is not 0."""
        texts = [text for row in self.predictions.texts for text in row]
        statements = list(map(extract_sql, texts))
        cut_out = sum(sql not in ("", text.strip()) for text, sql in zip(texts, statements, strict=True))
        not_asked = self.predictions.not_asked
        return {
            "in": len(texts) + not_asked, "not_asked": not_asked, "out": len(texts),
            "no_sql": statements.count(""), "cut_out": cut_out, **(+self.predictions.counts),
        }  # fmt: skip


def read_imported(questions: pl.DataFrame, folder: Path, counts: Mapping[str, int]) -> list[SystemPredictions]:
    """Reads the predictions for `questions` (columns question_id, source, split, db_id), by test set and file name.

    `counts`: test set to the number of questions in its source's file, including those that are not in `questions`. A
    test set without a folder has no predictions. Raises UserError with a sentence for every mistake in any file, for
    files that are not predictions, and if no test set has a folder.
    """
    groups = questions.with_columns(TEST_SET.alias("test_set")).sort("test_set", maintain_order=True)
    systems: list[SystemPredictions] = []
    errors: list[str] = []
    files = prediction_files(folder, groups["test_set"].unique(maintain_order=True).to_list())
    for name, paths in files.items():
        rows = groups.filter(pl.col("test_set") == name).select("question_id", "db_id").iter_rows()
        refs = [QuestionRef(int(question_id.rpartition("/")[2]), question_id, db_id) for question_id, db_id in rows]
        for path in paths:
            with collect_errors(errors):
                systems.append(SystemPredictions(path, refs, read_predictions_for(path, refs, counts[name])))
    if errors:
        raise UserError(*errors)
    return systems


def prediction_files(folder: Path, test_sets: Sequence[str]) -> dict[str, list[Path]]:
    """Returns the prediction files of each test set that has a folder, sorted by name. Hidden files, DVC's and those of
    the operating system are ignored."""
    expected = f"{folder}/<source>-<split>/, here {' or '.join(f'{folder}/{name}/' for name in test_sets)}"
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; put one prediction file a system into {expected}")
    errors = [
        f"{path} lies beside the test sets; move it into {expected}" for path in _visible(folder) if path.is_file()
    ]
    files = {name: _visible(folder / name) for name in test_sets if (folder / name).is_dir()}
    if not files:
        existing = ", ".join(path.name for path in _visible(folder) if path.is_dir()) or "none"
        errors.append(f"{folder} has a folder for none of the test sets asked (there: {existing}); make {expected}")
    for name, paths in files.items():
        errors += _file_errors(folder / name, paths)
    if errors:
        raise UserError(*errors)
    return files


def _visible(folder: Path) -> list[Path]:
    paths = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".dvc"]
    return sorted(path for path in paths if path.name not in _IGNORED_FILES)


def _file_errors(folder: Path, paths: Sequence[Path]) -> list[str]:
    if not paths:
        return [f"{folder} is empty; put one prediction file a system into it ({', '.join(SUFFIXES)})"]
    named = [path for path in paths if is_utf8(path.name)]
    unnamed = [f"{path.name!a}" for path in paths if path not in named]
    readable = [path for path in named if path.suffix.lower() in SUFFIXES and path.is_file()]
    fix = f"take it out of {folder}, or name it by what it is ({', '.join(SUFFIXES)})"
    repeated = [name for name, count in Counter(path.stem for path in readable).items() if count > 1]
    return [
        *(f"{folder} has a file whose name is not UTF-8 ({name}); rename it" for name in unnamed),
        *(f"{path} is no prediction file; {fix}" for path in named if path not in readable),
        *(f"{folder} has several files of the system {name}; leave one of them" for name in repeated),
    ]


def imported_rows(systems: Sequence[SystemPredictions]) -> pl.DataFrame:
    """Returns the rows of `candidates` for imported predictions. Columns that only sampling knows are NULL.

    The samples of a question are numbered across all systems, in their order. The candidate_id does not depend on that
    number, so another system adds candidates and changes none. The text is the completion; SQL is extracted from it as
    for any model.
    """
    rows = []
    numbers: Counter[str] = Counter()
    for system in systems:
        model, version = system.path.stem, sha256_file(system.path)
        for question, texts in zip(system.questions, system.predictions.texts, strict=True):
            name = question.question_id
            for number, text in enumerate(texts):
                candidate_id = fingerprint(name, model, version, number, text)[:16]
                rows.append((candidate_id, name, numbers[name], text, extract_sql(text), model, version))
                numbers[name] += 1
    nulls = {name: pl.lit(None, dtype) for name, dtype in CANDIDATES.columns.items() if name not in _IMPORTED_COLUMNS}
    frame = pl.DataFrame(rows, {name: CANDIDATES.columns[name] for name in _IMPORTED_COLUMNS}, orient="row")
    return frame.with_columns(**nulls | {"finish_reason": pl.lit("imported")}).select(*CANDIDATES.columns)


def systems_report(systems: Sequence[SystemPredictions]) -> dict[str, Any]:
    """Returns the number of predictions for questions not asked, and test set to system to its counts."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for system in systems:
        counts.setdefault(system.path.parent.name, {})[system.path.stem] = system.counts()
    return {"not_asked": sum(system.predictions.not_asked for system in systems), "systems": counts}
