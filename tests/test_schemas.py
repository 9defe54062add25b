"""Every expectation of every suite: a valid table meets it, and one break fails it and nothing else."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages import sft
from stages.core.layout import DATABASES, SYNTHETIC_DATABASES, dataset_file
from stages.core.tables import features
from stages.datasets.answers import ANSWERS
from stages.datasets.catalog import DATASETS
from stages.datasets.counterexamples import WITNESS_CLASSES
from stages.datasets.difficulties import DIFFICULTIES
from stages.datasets.verdicts import ERROR_CLASSES, GOLD_FLAGS, GOLD_VERDICTS, VERDICTS
from stages.execution.comparison import CONTRACT_NAMES
from stages.synthesis.item_checks import CHECKS, REFUSED_FLAGS
from stages.validate import orphans, sentence
from stages.validation.suites import Suite, failed_expectations, read_suite
from tests import FIXTURES, ROOT

FOLDER = FIXTURES / "schemas"
SUITES = ROOT / "schemas"
ALL = {**DATASETS, ANSWERS.name: ANSWERS}
CASES: dict[str, dict[str, Any]] = {
    name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in ALL
}
"""Dataset to a valid table, the keys of its parent, and for each expectation a break: a row with other values (`set`),
a column that is dropped or of another type, or a table without rows."""
TYPES = {pl.String(): "str", pl.Int64(): "int64", pl.Float64(): "float64"}


REFUSALS = (
    "not_english", "unused_name", *sft.UNUSABLE, *REFUSED_FLAGS, "outvoted", "no_budget", "near_duplicate",
    "beyond_count",
)  # fmt: skip
"""Why an item of `synthetic` is refused."""


@cache
def suite_of(dataset: str) -> Suite:
    return read_suite(SUITES / f"{dataset}.json")


def table_of(dataset: str) -> pl.DataFrame:
    return pl.DataFrame(CASES[dataset]["rows"], schema=ALL[dataset].columns)


def write_parent(dataset: str) -> None:
    """Writes the parent of a dataset."""
    parent = CASES[dataset]["parent"]
    folder = {folder.name: folder for folder in (DATABASES, SYNTHETIC_DATABASES)}.get(parent["name"])
    if folder:
        for db_id in parent["columns"]["db_id"]:
            (folder / db_id).mkdir(parents=True)
            (folder / db_id / f"{db_id}.sqlite").touch()
        return
    dataset_file(parent["name"]).parent.mkdir(exist_ok=True)
    pl.DataFrame(parent["columns"]).write_parquet(dataset_file(parent["name"]))


def break_table(frame: pl.DataFrame, change: dict[str, Any]) -> pl.DataFrame:
    if "drop" in change:
        return frame.drop(change["drop"])
    if "retype" in change:
        return frame.with_columns(pl.col(change["retype"]).cast(getattr(pl, change["as"])))
    if "height" in change:
        return frame.head(change["height"])
    rows = frame.to_dicts()
    rows[change["row"]] |= change["set"]
    return pl.DataFrame(rows, schema=frame.schema)


def touched_by(change: dict[str, Any], suite: Suite) -> Suite:
    """The expectations that read a changed column: no other one can notice (each takes Great Expectations 6 ms)."""
    columns = set(change.get("set", ())) | {change.get("retype")}
    if columns == {None}:
        return suite
    return [one for one in suite if any(f'"{column}"' in json.dumps(one["kwargs"]) for column in columns)]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("dataset", ALL)
def test_the_valid_table_meets_its_suite(dataset: str) -> None:
    frame, suite = table_of(dataset), suite_of(dataset)
    write_parent(dataset)
    assert failed_expectations(frame, suite, orphans(frame, suite)) == []


@pytest.mark.parametrize("dataset", ALL)
def test_every_expectation_has_a_name_of_its_own_and_a_break(dataset: str) -> None:
    names = [expectation["meta"]["id"] for expectation in suite_of(dataset)]
    assert names == list(CASES[dataset]["breaks"])


@pytest.mark.parametrize(
    ("dataset", "name"), [(dataset, name) for dataset, case in CASES.items() for name in case["breaks"]]
)
def test_a_break_fails_exactly_its_expectation_and_the_message_tells_where(dataset: str, name: str) -> None:
    change = CASES[dataset]["breaks"][name]
    suite = touched_by(change, suite_of(dataset))
    frame = break_table(table_of(dataset), change)
    write_parent(dataset)
    failures = failed_expectations(frame, suite, orphans(frame, suite))
    assert [failure.id for failure in failures] == [name]
    message = sentence(ALL[dataset], failures[0], frame)
    assert message.startswith(f"{dataset}: `{name}` ")
    if "row" in change:
        key = ALL[dataset].key
        assert f"row {change['row']} ({key} = {frame[change['row'], key]!r}" in message
        assert all(column in message for column in change["set"])
    else:
        assert str(change.get("drop", change.get("retype", "found 0"))) in message


@pytest.mark.parametrize("dataset", ALL)
def test_the_suite_the_tables_and_the_hub_features_agree_on_columns_and_types(dataset: str) -> None:
    suite = {expectation["meta"]["id"]: expectation["kwargs"] for expectation in suite_of(dataset)}
    columns = ALL[dataset].columns
    assert suite["columns"] == {"column_set": list(columns), "exact_match": True}
    assert [suite[f"{column}-type"] for column in columns] == [
        {"column": column, "type_": TYPES[dtype]} for column, dtype in columns.items()
    ]
    hub = {column: value.dtype for column, value in features(ALL[dataset]).items()}
    assert hub == {column: TYPES[dtype].replace("str", "string") for column, dtype in columns.items()}


@pytest.mark.parametrize("dataset", ALL)
def test_the_suite_is_named_after_its_dataset_and_covers_its_key(dataset: str) -> None:
    assert json.loads((SUITES / f"{dataset}.json").read_text(encoding="utf-8"))["name"] == dataset
    names = {expectation["meta"]["id"] for expectation in suite_of(dataset)}
    assert {f"{ALL[dataset].key}-unique", f"{ALL[dataset].key}-present"} <= names


def kwargs_of(dataset: str, name: str) -> dict[str, Any]:
    (kwargs,) = (one["kwargs"] for one in suite_of(dataset) if one["meta"]["id"] == name)
    return dict(kwargs)


@pytest.mark.parametrize(
    ("dataset", "column", "values"),
    [
        ("questions", "difficulty", DIFFICULTIES),
        ("gold", "verdict", GOLD_VERDICTS),
        ("synthetic", "refusal", REFUSALS),
        ("exec_results", "verdict", VERDICTS),
        ("exec_results", "error_class", ERROR_CLASSES),
        ("exec_results", "contract", CONTRACT_NAMES),
        ("counterexamples", "class", WITNESS_CLASSES),
        *(("answers", f"verdict_{contract}", VERDICTS) for contract in CONTRACT_NAMES),
        ("answers", "error_class", ERROR_CLASSES),
    ],
)
def test_a_closed_set_is_what_the_stage_can_write(dataset: str, column: str, values: tuple[str, ...]) -> None:
    assert set(kwargs_of(dataset, f"{column}-closed")["value_set"]) == set(values)


def test_the_audit_flags_and_verdicts_are_those_that_others_know() -> None:
    flag = f"(?:{'|'.join(GOLD_FLAGS)})"
    assert kwargs_of("gold", "flags-format")["regex"] == f"^(?:{flag}(?:,{flag})*)?$"
    assert tuple(verdict for verdict in GOLD_VERDICTS if verdict != "ok") == sft.UNUSABLE


def test_the_checks_of_an_item_are_a_beginning_of_those_that_there_are() -> None:
    regex = kwargs_of("synthetic", "checks-format")["regex"]
    for count in range(len(CHECKS) + 1):
        assert re.search(regex, ",".join(CHECKS[:count]))
        assert count < 2 or not re.search(regex, ",".join(CHECKS[1:count]))
