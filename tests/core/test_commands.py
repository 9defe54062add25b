import argparse
import re
from pathlib import Path

import pytest

from stages.core.commands import fill_in, noted, stage_flags
from stages.core.errors import UserError
from tests import ROOT
from tests.test_pipeline import STAGES, deps


def test_what_dvc_tells_of_a_stage_are_its_own_inputs_without_those_of_a_matrix() -> None:
    told = stage_flags("evaluate", ROOT / "dvc.yaml")
    assert {"questions", "prompts-receipt", "databases"} <= set(told) and not {"model", "metrics"} & set(told)
    assert set(told.values()) <= deps(STAGES["evaluate@dpo-demo-dev"])


def test_a_path_that_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    args = argparse.Namespace(gold=Path("mine"), gold_receipt=None)
    fill_in(args, ["gold", "gold-receipt"], "evaluate")
    assert (args.gold, args.gold_receipt) == (Path("mine"), Path(stage_flags("evaluate")["gold-receipt"]))


@pytest.mark.parametrize("file", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_every_help_says_how_its_command_is_called(file: Path) -> None:
    parsers = file.read_text().count("ArgumentParser(")
    named = re.findall(rf'ArgumentParser\(\s*prog="python -m stages\.{file.stem}"', file.read_text())
    assert len(named) == parsers


def test_where_all_is_given_no_dvc_file_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill_in(argparse.Namespace(gold=Path("mine")), ["gold"], "evaluate")
    with pytest.raises(UserError, match=r"dvc.yaml does not exist"):
        fill_in(argparse.Namespace(gold=None), ["gold"], "evaluate")


def test_sentences_are_noted_and_other_errors_pass() -> None:
    wrong = ["first"]
    with noted(wrong):
        raise UserError("second", "third")
    assert wrong == ["first", "second", "third"]
    with pytest.raises(ValueError, match="another"), noted(wrong):
        raise ValueError("another")
