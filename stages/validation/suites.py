"""Reads a dataset's Great Expectations suite, and finds the expectations that a table fails and the rows that fail."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError, short
from stages.core.files import parse_json
from stages.core.progress import progress

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # must be set before the functions below import Great Expectations

Suite = list[dict[str, Any]]
"""The expectations of a suite file, each `{type, kwargs, meta}`."""


@dataclass(frozen=True)
class Failure:
    """An expectation that a table fails. `rows`: positions in the table, none if the expectation is about whole columns
    or the table; `observed`: what is there instead, for an expectation without rows."""

    id: str
    type: str
    columns: tuple[str, ...]
    rows: tuple[int, ...]
    observed: str
    notes: str


def read_suite(path: Path) -> Suite:
    """Reads the expectations of a suite file. Raises UserError with a sentence for each invalid expectation."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; restore it from the last commit") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); correct it") from None
    expectations = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(expectations, list) or not expectations:
        raise UserError(f"{path} holds no list of `expectations`; restore it from the last commit")
    errors = [
        f"{path}: expectation {position} {problem}"
        for position, expectation in enumerate(expectations) if (problem := _problem(expectation))
    ]  # fmt: skip
    if errors:
        raise UserError(*errors)
    ids = Counter(expectation["meta"]["id"] for expectation in expectations)
    if repeated := [name for name, count in ids.items() if count > 1]:
        raise UserError(*(f"{path}: several expectations have the id `{name}`; rename one" for name in repeated))
    return expectations


def _problem(expectation: object) -> str | None:
    """Returns what is wrong with an entry of a suite file. Great Expectations would ignore an unknown type silently."""
    if not isinstance(expectation, dict) or set(expectation) != {"type", "kwargs", "meta"}:
        return f"is {short(expectation)}; give it `type`, `kwargs` and `meta`, and nothing else"
    kind, kwargs, meta = expectation["type"], expectation["kwargs"], expectation["meta"]
    if not isinstance(kind, str):
        return f"has the type {short(kind)}; give the name of an expectation"
    if not isinstance(meta, dict) or not all(isinstance(meta.get(name), str) for name in ("id", "notes")):
        return f"({kind}) has meta {short(meta)}; give it an `id` and `notes`, both text"
    if not isinstance(kwargs, dict):
        return f"`{meta['id']}` ({kind}) has kwargs {short(kwargs)}; give an object, which may be empty"
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError

    try:
        _build(expectation)
    except ExpectationNotFoundError:
        return f"`{meta['id']}` has the type {kind!r}, which Great Expectations does not know; correct its name"
    except (ValueError, TypeError) as error:
        return f"`{meta['id']}` has wrong kwargs ({' '.join(str(error).split())}); correct them"
    return None


def _build(expectation: Mapping[str, Any]) -> "Expectation":
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(**expectation).to_domain_obj()


def failed_expectations(frame: pl.DataFrame, suite: Suite, parameters: Mapping[str, Sequence[str]]) -> list[Failure]:
    """Returns the expectations that `frame` fails, in the order of the suite. `parameters`: of its `$PARAMETER`s. There
    are three steps, each run only if the one before passes: the table as a whole, the types of its columns, its rows. A
    check of rows is meaningless if a column is missing or has another type."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("table").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": _to_pandas(frame)})
    with progress("suite", len(suite), "expectations") as bar:
        for step in (0, 1, 2):
            expectations = [expectation for expectation in suite if _step(expectation["type"]) == step]
            gx_suite = gx.ExpectationSuite(name="table", expectations=list(map(_build, expectations)))
            checked = batch.validate(gx_suite, result_format="COMPLETE", expectation_parameters=dict(parameters))
            failed = [_failure(result) for result in checked.results if not result.success]
            if failures := {failure.id: failure for failure in failed}:
                return [failures[name] for each in expectations if (name := each["meta"]["id"]) in failures]
            bar.update(len(expectations))
    return []


def _step(kind: str) -> int:
    return 0 if kind.startswith("expect_table_") else 1 if kind == "expect_column_values_to_be_of_type" else 2


def _to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    # Integers with NULLs stay integers. Any other type keeps its own name, so that it is not mistaken for another.
    types = {pa.int64(): pd.Int64Dtype(), pa.large_string(): pd.StringDtype(), pa.float64(): None}
    return frame.to_pandas(types_mapper=lambda arrow: types[arrow] if arrow in types else pd.ArrowDtype(arrow))


def _failure(result: "ExpectationValidationResult") -> Failure:
    config = result.expectation_config
    assert config is not None and config.meta is not None
    columns = config.kwargs.get("column_list") or [
        config.kwargs[name] for name in ("column", "column_A", "column_B") if name in config.kwargs
    ]
    rows = result.result.get("unexpected_index_list") or []
    meta = config.meta
    return Failure(meta["id"], config.type, tuple(columns), tuple(rows), _observed(result), meta["notes"])


def _observed(result: "ExpectationValidationResult") -> str:
    """What the table holds, for an expectation that names no rows."""
    messages = [info["exception_message"] for info in (result.exception_info or {}).values() if isinstance(info, dict)]
    if messages:
        return f"it could not be checked: {messages[0]}"
    differences = result.result.get("details", {}).get("mismatched", {})
    parts = [f"{kind}: {', '.join(names)}" for kind, names in differences.items()]
    return "; ".join(parts) or f"found {result.result.get('observed_value')}"
