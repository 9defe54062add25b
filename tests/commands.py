"""A command in this process, as if a person had called it: a process of its own takes a second for its imports."""

import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from stages.core import errors


def run_here(main: Callable[[], None], folder: Path, *flags: str) -> CompletedProcess[str]:
    """Runs the `main` of a stage in `folder`. A defect of the stage, which a process would print, is raised."""
    out, err, status = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err), chdir(folder):
        patch.setattr(sys, "argv", [main.__module__, *flags])
        patch.setattr(errors, "guard_output", lambda: None)  # it would guard the tests' tracebacks, too
        try:
            errors.run_stage(main)
        except SystemExit as end:
            status = int(end.code or 0)
    return CompletedProcess(flags, status, out.getvalue(), err.getvalue())
