"""Errors of damaged Parquet files, as sentences."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from stages.core.errors import UserError

_STDERR = 2


@contextmanager
def parquet_errors(problem: str, fix: str) -> Iterator[None]:
    """Raises UserError, `<problem> (<reason>); <fix>`, where polars reads a damaged file or one that is no Parquet."""
    try:
        with _panics_unprinted():
            yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{problem} ({reason}); {fix}") from None


@contextmanager
def _panics_unprinted() -> Iterator[None]:
    """Rust prints a panic and its backtrace to the file descriptor of stderr, before polars raises it as an exception.

    Nothing else is printed while polars reads.
    """
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # stderr is closed
        yield
        return
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), _STDERR)
    try:
        yield
    finally:
        os.dup2(stderr, _STDERR)
        os.close(stderr)
