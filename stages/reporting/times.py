"""The seconds that the stages took, for the page: from a saved run, because they differ by machine.

DVC's stages append theirs to `reports/times.jsonl`, which git ignores. `python -m stages.report --times` keeps the last
of each stage in `reports/times.json`, which is committed, so that the page has the same bytes everywhere.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import read_json, write_json
from stages.core.layout import TIMES, report_file


def kept_times() -> dict[str, Any]:
    """`measured`: when and on what; `seconds`: by stage, as DVC names it."""
    return read_json(report_file("times"))


def keep_times() -> Path:
    """Keeps the last seconds of each stage that ran here. Returns the file. Raises UserError where none ran."""
    text = TIMES.read_text(encoding="utf-8") if TIMES.is_file() else ""
    if not text.strip():
        raise UserError(f"{TIMES} has no seconds of any stage; run `dvc repro`, whose stages write theirs there")
    entries = [json.loads(line) for line in text.splitlines()]
    seconds = {entry["stage"]: round(entry["seconds"], 1) for entry in entries}
    measured = f"{datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} processors"
    write_json(report_file("times"), {"measured": measured, "seconds": dict(sorted(seconds.items()))})
    return report_file("times")
