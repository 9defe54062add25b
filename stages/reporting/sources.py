"""Opens what the report shows: all rows for the page; for the server few columns of all, and all of one question."""

from collections.abc import Mapping, Sequence

import polars as pl

from stages.core.errors import UserError
from stages.core.receipts import open_dataset, open_datasets
from stages.core.tables import Dataset
from stages.databases.held_files import FileState, file_state
from stages.datasets.answers import ANSWERS, answers_of
from stages.datasets.candidates import CANDIDATES
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.questions import QUESTIONS
from stages.datasets.synthetic import SYNTHETIC
from stages.reporting.records import Datasets

_CANDIDATE_COLUMNS = (
    "candidate_id", "question_id", "sample", "completion", "sql", "model", "model_version", "finish_reason", "tokens",
    "logprob",
)  # fmt: skip
_PAIR_COLUMNS = tuple(name for name in PAIRS.columns if name != "prompt")


def open_all(models: Sequence[str], test_sets: Sequence[str]) -> Datasets:
    """All rows. Raises UserError for each dataset that did not pass its suite."""
    questions, gold, synthetic, exec_results, counterexamples = open_datasets(
        QUESTIONS, GOLD, SYNTHETIC, EXEC_RESULTS, COUNTEREXAMPLES
    )
    return Datasets(
        questions, gold, synthetic, open_dataset(CANDIDATES, _CANDIDATE_COLUMNS), exec_results, counterexamples,
        open_dataset(PAIRS, _PAIR_COLUMNS), _all_answers(models, test_sets),
    )  # fmt: skip


def open_for_server(models: Sequence[str], test_sets: Sequence[str]) -> Datasets:
    """The same, with the columns that lists and figures need."""
    questions, gold, synthetic = open_datasets(QUESTIONS, GOLD, SYNTHETIC)
    return Datasets(
        questions, gold, synthetic, open_dataset(CANDIDATES, ("model", "model_version")),
        open_dataset(EXEC_RESULTS, ("question_id", "verdict", "sqlite_version")),
        open_dataset(COUNTEREXAMPLES, ("question_id", "witness")),
        open_dataset(PAIRS, ("question_id", "similarity")), _all_answers(models, test_sets),
    )  # fmt: skip


def served_files() -> dict[str, FileState]:
    """The state of each file that the server reads a question from."""
    datasets = GOLD, CANDIDATES, EXEC_RESULTS, COUNTEREXAMPLES, PAIRS
    return {str(dataset.file): file_state(str(dataset.file)) for dataset in datasets}


def rows_of_question(question_id: str, opened: Datasets, files: Mapping[str, FileState]) -> Datasets | None:
    """All rows of one question, None where there is none of this id. `opened`: the data of all, whose files have passed
    their suites; `files`: their states. Raises UserError where a file has changed since, OSError where it is gone."""
    if changed := [file for file, state in files.items() if file_state(file) != state]:
        raise UserError(f"{', '.join(changed)} changed while it was served; start the server again")
    questions = opened.questions.filter(pl.col("question_id") == question_id)
    synthetic = opened.synthetic.filter(pl.col("item_id") == question_id)
    if questions.is_empty() and synthetic.is_empty():
        return None

    def rows(dataset: Dataset) -> pl.DataFrame:
        return pl.scan_parquet(dataset.file).filter(pl.col("question_id") == question_id).collect()

    return Datasets(
        questions, rows(GOLD), synthetic, rows(CANDIDATES), rows(EXEC_RESULTS), rows(COUNTEREXAMPLES), rows(PAIRS),
        opened.answers.filter(pl.col("question_id") == question_id),
    )  # fmt: skip


def _all_answers(models: Sequence[str], test_sets: Sequence[str]) -> pl.DataFrame:
    files = [answers_of(model, test_set) for test_set in test_sets for model in models]
    return pl.concat([*open_datasets(*files), pl.DataFrame(schema=ANSWERS.columns)])
