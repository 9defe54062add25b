"""The greedy answers of one side of a comparison, each beside its question: those in this folder, in another one, or in
a revision."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import polars as pl

from stages.core.errors import UserError
from stages.core.layout import answers_file
from stages.core.params import PARAMS_FILE
from stages.core.parquet import parquet_errors
from stages.datasets.answers import ANSWERS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.diffing.dvc_files import LOCK, PIPELINE, Contents, contents_in, contents_of
from stages.diffing.revisions import cached_files, texts_at
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.records import GoldQuestion

VERDICTS = [f"verdict_{contract}" for contract in CONTRACT_NAMES]
ANSWER_COLUMNS = ["question_id", "sql", *VERDICTS, "error"]
QUESTION_COLUMNS = ["gold_sql", "question", "difficulty", "db_id"]

_NO_ANSWERS_FIX = "choose a model listed there, or run its pipeline to the end"


@dataclass(frozen=True)
class Side:
    """`name`: as it was given; `origin`: what that stands for, in words. `rows`: one a question, sorted by it, with the
    columns ANSWER_COLUMNS and QUESTION_COLUMNS. `stale`: inputs that changed since the answers were made. `golds`: of
    predictions that were not executed yet, whose rows have no verdict and no error. `read_as`: of predictions, the
    counts of `stages.predictions.read_as`."""

    name: str
    origin: str
    rows: pl.DataFrame
    stale: Sequence[str] = ()
    golds: Sequence[GoldQuestion] | None = None
    read_as: Mapping[str, int] = field(default_factory=dict)


def folder_side(name: str, folder: Path, model: str, test_set: str) -> Side:
    """The answers of a model in a folder: this one, another checkout, or an export as it is published. Raises UserError
    where they are not there."""
    location = "this folder" if folder == Path() else str(folder)
    published = published_answers(folder)
    if published and not (folder / PIPELINE).is_file():
        answers = _greedy(published, test_set, model)
        if answers.is_empty():
            raise _no_answers(name, f"answers of {model} to {test_set}", listed_answers(published))
        rows = _join_questions(name, answers, sorted((folder / "gold").glob("*.parquet")))
        return Side(name, f"{model}, published in {location}", rows)
    file = folder / answers_file(model, test_set)
    if not file.is_file():
        answer_files = sorted((folder / "data" / ANSWERS.name).rglob("*.parquet"))
        if not answer_files and not (folder / PIPELINE).is_file():
            raise _no_version(name, folder)
        raise _no_answers(name, str(file.relative_to(folder)), listed_answers(answer_files))
    stale = contents_in(folder, name).stale if (folder / LOCK).is_file() else {}
    rows = _join_questions(name, _greedy([file], test_set), [folder / QUESTIONS.file])
    return Side(name, f"{model} in {location}", rows, stale.get(f"evaluate@{model}-{test_set}", ()))


def committed_side(name: str, commit: str, model: str, test_set: str) -> Side:
    """The answers of a model at a commit. Raises UserError where they cannot be had."""
    contents = contents_at(name, commit)
    answers, questions = committed_files(name, commit, contents, answers_file(model, test_set), QUESTIONS.file)
    rows = _join_questions(name, _greedy([answers], test_set), [questions])
    return Side(name, f"{model} at commit {commit[:12]}", rows, stale_inputs(contents, model, test_set))


def file_side(name: str, test_set: str) -> Side:
    """The answers in a file that `evaluate --answers` wrote. Raises UserError where they are not of the test set, or of
    several models."""
    answers = _greedy([Path(name)], test_set)
    return Side(name, "answers written by `evaluate`", _join_questions(name, answers, [QUESTIONS.file]))


def contents_at(name: str, commit: str) -> Contents:
    """What the pipeline at a commit holds, by its own files."""
    pipeline, lock, params = texts_at(commit, [PIPELINE, LOCK, str(PARAMS_FILE)])
    return contents_of(pipeline or "stages: {}", lock or "", params, name)


def committed_files(name: str, commit: str, contents: Contents, *files: Path) -> list[Path]:
    """The files in DVC's cache with the content that these outputs have at a commit. Raises UserError where its
    pipeline did not make one, or its content cannot be had."""
    hashes = {str(file): md5 for file in files if (md5 := contents.hashes.get(str(file)))}
    if missing := [str(file) for file in files if str(file) not in hashes]:
        answer_files = [path for path in contents.hashes if PurePosixPath(path).is_relative_to("data/answers")]
        raise _no_answers(name, " and no ".join(missing), ", ".join(answer_files))
    cached = cached_files(name, commit, hashes)
    return [cached[str(file)] for file in files]


def stale_inputs(contents: Contents, model: str, test_set: str) -> list[str]:
    """The inputs that changed since the answers of a model were made."""
    return contents.stale.get(f"evaluate@{model}-{test_set}", [])


def published_answers(folder: Path) -> list[Path]:
    """The files of `answers` in an export; none where the folder is not one, or has no answers."""
    return sorted((folder / ANSWERS.name).glob("*.parquet"))


def models_in(files: Iterable[Path]) -> list[tuple[str, str]]:
    """Each model and test set whose answers the files hold."""
    columns = ["model", "test_set"]
    return sorted({(model, test_set) for file in files for model, test_set in _read([file], columns).iter_rows()})


def listed_answers(files: Iterable[Path]) -> str:
    """The same as text: `dpo on demo-dev, sft/strong on demo-dev`."""
    return ", ".join(f"{model} on {test_set}" for model, test_set in models_in(files))


def right_answers(file: Path, contract: str) -> pl.DataFrame:
    """question_id and right, whether the greedy answer matches under the contract, sorted by question."""
    verdict = f"verdict_{contract}"
    greedy = _read([file], ["question_id", "sample", verdict]).filter(pl.col("sample").is_null()).sort("question_id")
    return greedy.select("question_id", right=pl.col(verdict) == "match")


def _greedy(files: Sequence[Path], test_set: str, model: str | None = None) -> pl.DataFrame:
    """The greedy answers to a test set; of all models in the files, if `model` is None."""
    greedy = _read(files, ["model", "test_set", "sample", *ANSWER_COLUMNS]).filter(pl.col("sample").is_null())
    names = ", ".join(greedy["test_set"].unique().sort())
    answers = greedy.filter(pl.col("test_set") == test_set)
    if model is not None:
        answers = answers.filter(pl.col("model") == model)
    elif answers.is_empty():
        raise UserError(f"{files[0]} has no greedy answers to {test_set}, but to: {names or 'nothing'}")
    if answers["question_id"].n_unique() < answers.height:
        models = ", ".join(answers["model"].unique().sort())
        export = files[0].parent.parent
        is_export = files[0] in published_answers(export) and (export / "gold").is_dir()
        fix = f"give {export}:MODEL, with one of these" if is_export else "give a file with the answers of one"
        raise UserError(f"{files[0]} has several greedy answers to a question (models: {models}); {fix}")
    return answers.select(ANSWER_COLUMNS).sort("question_id")


def _join_questions(name: str, answers: pl.DataFrame, files: Sequence[Path]) -> pl.DataFrame:
    if missing := [str(file) for file in files if not file.is_file()] or ([] if files else ["the config `gold`"]):
        raise UserError(f"{name}: {' and '.join(missing)} is missing, which has the questions; get it too")
    return with_columns_of(answers, QUESTIONS, _read(files, ["question_id", *QUESTION_COLUMNS]), *QUESTION_COLUMNS)


def _read(files: Sequence[Path], columns: Sequence[str]) -> pl.DataFrame:
    with parquet_errors(f"{' and '.join(map(str, files))} cannot be read", "make or download it again"):
        return pl.scan_parquet(list(files), glob=False).select(columns).collect()


def _no_answers(name: str, missing: str, available: str) -> UserError:
    fix = f"it has {available}; {_NO_ANSWERS_FIX}" if available else "run its pipeline to the end"
    return UserError(f"{name}: it has no {missing}; {fix}")


def _no_version(name: str, folder: Path) -> UserError:
    export = folder / "dataset"
    fix = f"; {export} is an export: give that" if published_answers(export) else "; give the folder of one"
    return UserError(f"`{name}` holds neither a checkout nor an export{fix}")
