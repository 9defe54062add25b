import re
from pathlib import Path

import pytest

from stages.core.errors import UserError, collect_errors
from tests import ROOT
from tests.commands import run_here


@pytest.mark.parametrize("file", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_every_help_says_how_its_command_is_called(file: Path) -> None:
    parsers = file.read_text().count("ArgumentParser(")
    named = re.findall(rf'ArgumentParser\(\s*prog="python -m stages\.{file.stem}"', file.read_text())
    assert len(named) == parsers


def test_sentences_are_collected_and_other_errors_pass() -> None:
    errors = ["first"]
    with collect_errors(errors):
        raise UserError("second", "third")
    assert errors == ["first", "second", "third"]
    with pytest.raises(ValueError, match="another"), collect_errors(errors):
        raise ValueError("another")


def test_ctrl_c_ends_a_command_with_one_line_and_status_130(tmp_path: Path) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    done = run_here(main, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
