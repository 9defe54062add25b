"""A dataset's contract: its Great Expectations suite, and which rows of a table break it."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError, short
from stages.core.files import parse_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when Great Expectations is imported, which the functions below do

Suite = list[dict[str, Any]]
"""The expectations of a suite file, each `{type, kwargs, meta}`."""


@dataclass(frozen=True)
class Failure:
    """One expectation that a table breaks; `rows` are positions in the table, none where it is about whole columns."""

    id: str
    type: str
    columns: tuple[str, ...]
    rows: tuple[int, ...]
    found: str
    notes: str


def read_suite(path: Path) -> Suite:
    """The expectations of a suite file. Raises UserError, a sentence for each thing in it that is no expectation."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; restore it from the last commit") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); correct it") from None
    expectations = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(expectations, list) or not expectations:
        raise UserError(f"{path} holds no list of `expectations`; restore it from the last commit")
    wrong = [f"{path}: expectation {at} {what}" for at, one in enumerate(expectations) if (what := _malformed(one))]
    if wrong:
        raise UserError(*wrong)
    ids = Counter(expectation["meta"]["id"] for expectation in expectations)
    if repeated := [name for name, count in ids.items() if count > 1]:
        raise UserError(*(f"{path}: several expectations have the id `{name}`; rename one" for name in repeated))
    return expectations


def _malformed(expectation: object) -> str | None:
    """What is wrong with one entry of a suite file. Great Expectations itself would skip an unknown type in silence."""
    if not isinstance(expectation, dict) or set(expectation) != {"type", "kwargs", "meta"}:
        return f"is {short(expectation)}; give it `type`, `kwargs` and `meta`, and nothing else"
    kind, kwargs, meta = expectation["type"], expectation["kwargs"], expectation["meta"]
    if not isinstance(kind, str):
        return f"has the type {short(kind)}; give the name of an expectation"
    if not isinstance(meta, dict) or not all(isinstance(meta.get(name), str) for name in ("id", "notes")):
        return f"({kind}) has meta {short(meta)}; give it an `id` and `notes`, both text"
    if not isinstance(kwargs, dict):
        return f"`{meta['id']}` ({kind}) has kwargs {short(kwargs)}; give an object, which may be empty"
    return _refused(expectation)


def _refused(expectation: Mapping[str, Any]) -> str | None:
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError

    name = f"`{expectation['meta']['id']}`"
    try:
        _build(expectation)
    except ExpectationNotFoundError:
        return f"{name} has the type {expectation['type']!r}, which Great Expectations does not know; correct its name"
    except (ValueError, TypeError) as error:
        return f"{name} has wrong kwargs ({' '.join(str(error).split())}); correct them"
    return None


def _build(expectation: Mapping[str, Any]) -> "Expectation":
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(**expectation).to_domain_obj()


def broken(frame: pl.DataFrame, suite: Suite, parameters: Mapping[str, Sequence[str]]) -> list[Failure]:
    """The expectations that `frame` breaks, in the order of the suite; `parameters` are the suite's `$PARAMETER`s.

    In three steps, each only if the one before holds: the table as a whole, the types of its columns, its rows. A
    check of rows says nothing where a column is missing or of another type.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("table").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": _to_pandas(frame)})
    for step in (0, 1, 2):
        chosen = [expectation for expectation in suite if _step(expectation["type"]) == step]
        held = gx.ExpectationSuite(name="table", expectations=[_build(expectation) for expectation in chosen])
        results = batch.validate(held, result_format="COMPLETE", expectation_parameters=dict(parameters)).results
        failures = {failure.id: failure for failure in (_failure(result) for result in results if not result.success)}
        if failures:
            return [failures[name] for one in chosen if (name := one["meta"]["id"]) in failures]
    return []


def _step(kind: str) -> int:
    return 0 if kind.startswith("expect_table_") else 1 if kind == "expect_column_values_to_be_of_type" else 2


def _to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    # Integers with NULLs stay integers; any other type keeps its own name, so that none passes for another.
    known = {pa.int64(): pd.Int64Dtype(), pa.large_string(): pd.StringDtype(), pa.float64(): None}

    def pandas_type(arrow: "pa.DataType") -> Any:
        return known[arrow] if arrow in known else pd.ArrowDtype(arrow)

    return frame.to_pandas(types_mapper=pandas_type)


def _failure(result: "ExpectationValidationResult") -> Failure:
    config = result.expectation_config
    assert config is not None
    columns = config.kwargs.get("column_list") or [
        config.kwargs[name] for name in ("column", "column_A", "column_B") if name in config.kwargs
    ]
    rows = result.result.get("unexpected_index_list") or []
    meta = config.meta
    assert meta is not None
    return Failure(meta["id"], config.type, tuple(columns), tuple(rows), _found(result), meta["notes"])


def _found(result: "ExpectationValidationResult") -> str:
    """What stands in the table, for an expectation that names no rows."""
    raised = [info["exception_message"] for info in (result.exception_info or {}).values() if isinstance(info, dict)]
    if raised:
        return f"it could not be checked: {raised[0]}"
    differences = result.result.get("details", {}).get("mismatched", {})
    told = [f"{kind}: {', '.join(names)}" for kind, names in differences.items()]
    return "; ".join(told) or f"found {result.result.get('observed_value')}"
