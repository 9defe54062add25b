"""How a stage ends: its report, one line for people, and how long it took."""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.display import show
from stages.core.files import write_json
from stages.core.layout import TIMES, report_file

_START = time.monotonic()
MAX_COUNTS = 5
"""The counts of an end line, of many."""


def write_report(
    stage: str, report: Mapping[str, Any], rows: int, dropped: Mapping[str, int], *figures: str,
    what: str = "dropped", file: Path | None = None,
) -> None:  # fmt: skip
    """Writes the report of a stage, or of one item of a matrix (`train_sft weak`), to `file` (by default
    reports/<stage>.json or reports/<stage>/<item>.json), and ends the stage as `end_stage` does.

    `rows`: of what was written; `dropped`: reason to count, and `what` that counts, where it is not rows; `figures`:
    further figures to print.
    """
    file = file or report_file(stage.replace(" ", "/"))
    write_json(file, report)
    reasons = counts_text(dropped)
    counts = f"{sum(dropped.values()):,} {what}" + (f" ({reasons})" if reasons else "")
    end_stage(stage, file, f"{rows:,} rows", counts, *figures)


def end_stage(stage: str, file: Path, *figures: str) -> None:
    """Prints the line that a stage ends with: what came out, and the file to look at. Where DVC runs the stage, also
    records how long it took."""
    seconds = time.monotonic() - _START
    show(f"{stage}: {', '.join(figures)}; see {file} ({seconds:,.0f} s)")
    if name := os.environ.get("DVC_STAGE"):  # of another folder's dvc.yaml as `<path>:<name>`
        _record_time(name.rpartition(":")[2], seconds)


def counts_text(counts: Mapping[str, int]) -> str:
    """The counts above 0, the largest first, and of many only those: `mismatch 949, no_sql 1`."""
    return _listed({name: f"{count:,}" for name, count in _largest(counts).items()})


def shares_text(counts: Mapping[str, int]) -> str:
    """The same as shares of all: `mismatch 99.9 %, no_sql 0.1 %`."""
    total = sum(counts.values())
    return _listed({name: percent(count / total) for name, count in _largest(counts).items()})


def percent(share: float) -> str:
    """A share as people read it: `36.3 %`."""
    return f"{100 * share:.1f} %"


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]}


def _listed(texts: Mapping[str, str]) -> str:
    parts = [f"{name} {text}" for name, text in texts.items()]
    return ", ".join(parts[:MAX_COUNTS] + ["…"] * (len(parts) > MAX_COUNTS))


def _record_time(stage: str, seconds: float) -> None:
    """Adds a line to the file of times. Where that cannot be written it says so; it fails nothing, the work is done."""
    try:
        with TIMES.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "seconds": round(seconds, 1)}) + "\n")
    except OSError as error:
        show(f"{TIMES} cannot be written ({error.strerror}), so the time of this run is not in it", sys.stderr)
