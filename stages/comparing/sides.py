"""Finds what a side of a comparison names: a model of this folder, a file, another folder, or a revision."""

import os
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from stages.comparing.answers import VERDICTS, Side, committed_side, file_side, folder_side, listed_answers, models_in
from stages.comparing.predicted import predicted_side
from stages.core.errors import UserError
from stages.core.layout import MODELS, answers_file
from stages.core.parquet import parquet_errors
from stages.diffing.revisions import commit_of, in_git, similar_names

LAST_MODEL = "dpo"
"""The model of a revision or folder where neither side names one: the pipeline's last."""
FORMS = (
    "a model of this folder (dpo, sft/strong), a git revision or DVC experiment, or a folder, each with :MODEL or "
    "without, or a file of predictions or answers"
)


def read_side(name: str, default_model: str, test_set: str) -> Side:
    """The side that a name stands for. `default_model`: that of a revision or folder which names none. Raises UserError
    where there is no such side, or its answers cannot be had."""
    if Path(name).is_file():
        return _file(name, test_set)
    location, _, model = name.partition(":")
    model = _model(model) if model else default_model
    local_model, commit = model_here(name, test_set), commit_of(location)
    if local_model and commit and not name.startswith(str(MODELS)):
        problem = f"`{name}` is both a model here and a revision"
        raise UserError(f"{problem}; give models/{local_model}, or {name}:{local_model}")
    if local_model:
        return folder_side(name, Path(), local_model, test_set)
    folder = Path(location)
    if commit and not location.startswith((".", "/")) and not location.endswith("/"):
        if folder.is_dir():
            raise UserError(f"`{location}` is both a revision and a folder; give ./{location} for the folder")
        return committed_side(name, commit, model, test_set)
    if location and folder.is_dir() and not _is_model(folder):
        return folder_side(name, folder, model, test_set)
    raise UserError(_unknown(name, location, test_set))


def model_here(name: str, test_set: str) -> str | None:
    """The model of this folder that a name stands for (`dpo`, `models/dpo/`); None where it has no answers."""
    model = _model(name)
    return model if model and answers_file(model, test_set).is_file() else None


def named_model(name: str, test_set: str) -> str | None:
    """The model that a side names: of this folder, or after a colon."""
    if model := model_here(name, test_set):
        return model
    model = name.partition(":")[2]
    return _model(model) if model and not Path(name).is_file() else None


def answer_files_here() -> list[Path]:
    """The files of answers in this folder."""
    return sorted(answers_file("x", "x").parent.rglob("*.parquet"))


def _model(name: str) -> str:
    """The name of a model without the folder of models before it, which may be an absolute path of this folder's."""
    path, models = Path(name), MODELS
    if path.is_absolute():
        path, models = Path(os.path.realpath(path)), Path(os.path.realpath(MODELS))
    return path.relative_to(models).as_posix() if path.is_relative_to(models) else path.as_posix()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _file(name: str, test_set: str) -> Side:
    path = Path(name)
    with parquet_errors(f"{name} is not a Parquet file", "replace it, or correct its suffix"):
        columns = pl.read_parquet_schema(path) if path.suffix.lower() == ".parquet" else {}
    return file_side(name, test_set) if set(VERDICTS) <= set(columns) else predicted_side(name, test_set)


def _unknown(name: str, location: str, test_set: str) -> str:
    """Why no side has this name, and what to do."""
    local_answers = models_in(answer_files_here())
    models = {model for model, _ in local_answers}
    if test_sets := [answered_set for model, answered_set in local_answers if model == _model(name)]:
        fix = "correct --test-set, or run `dvc repro evaluate`"
        return f"`{name}` has no answers to {test_set} here, but to {', '.join(test_sets)}; {fix}"
    if location != name and (_model(location) in models or _is_model(MODELS / location)):
        names = dict.fromkeys(filter(None, (_model(location), name.partition(":")[2])))
        return f"`{name}`: a model name takes no `:`; give {' or '.join(names)}"
    if _is_model(Path(location)) or _is_model(MODELS / location):
        fix = "run `python -m stages.evaluate` on it with --answers FILE, and give FILE"
        return f"`{name}` is a model without answers here; {fix}"
    names_here = listed_answers(answer_files_here())
    available = f"this folder has answers of: {names_here}" if names_here else "this folder has no answers"
    alternatives = [*get_close_matches(_model(location), sorted(models)), *similar_names(location)]
    similar = f"; similar names: {', '.join(dict.fromkeys(alternatives))}" if alternatives else ""
    git = "" if in_git() else "; this folder is not in a git repository, so there are no revisions"
    return f"`{name}` is not a model, file, revision or folder; {available}{similar}{git}; give {FORMS}"
