"""On PYTHONPATH: logs the files of the repository that a stage opens or writes, in its child processes too.

A line of the log, whose path is in TRACED_OPENS, is `[command, written, path]` as JSON. Code is left out, and what is
opened outside Python: polars reads Parquet so, but a dataset that a stage opens is hashed first.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

LOG, ROOT = os.environ.get("TRACED_OPENS", ""), Path.cwd()
FOLDERS = ("data/", "models/", "reports/", "schemas/", "stages/")


def log(event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        path, written = args[0], bool(args[2] & (os.O_WRONLY | os.O_RDWR))
    elif event == "os.rename":
        path, written = args[1], True
    else:
        return
    if isinstance(path, int) or not path:  # it is open already, or opening it fails
        return
    name = os.path.relpath(os.fsdecode(path), ROOT)
    known = name == "params.yaml" or (name.startswith(FOLDERS) and not name.endswith((".py", ".pyc")))
    if known and (written or not Path(name).is_dir()):
        with Path(LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps([os.environ["TRACED_COMMAND"], written, name]) + "\n")


if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
    os.environ["TRACED_COMMAND"] = " ".join(["python", *sys.orig_argv[1:]])
if LOG and "TRACED_COMMAND" in os.environ:
    sys.addaudithook(log)
