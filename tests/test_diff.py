"""The command: what it prints and writes, and how it ends on a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import diff
from stages.core.errors import UserError
from tests import ROOT
from tests.diffing.world import keyed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two exports, `old` and `new`, and a changelog, in the working directory."""
    for name, keys in (("old", "ab"), ("new", "bcd")):
        (tmp_path / name / "pairs").mkdir(parents=True)
        keyed("pairs", *keys, chosen=name).write_parquet(tmp_path / name / "pairs" / "train-00000-of-00001.parquet")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Data\n\n- By hand.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", ["diff", *argv])
    diff.main()


def refused(monkeypatch: pytest.MonkeyPatch, *argv: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        call(monkeypatch, *argv)
    return list(caught.value.sentences)


def test_all_that_it_writes_tells_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "./old", "./new", "--json", "a/d.json", "--html", "a/d.html", "--changelog", "CHANGELOG.md")
    pairs = json.loads((folder / "a/d.json").read_text())["datasets"]["pairs"]
    assert (pairs["old"], pairs["new"], pairs["added"], pairs["removed"], pairs["changed"]) == (2, 3, 2, 1, 1)
    assert "pairs    2    3      2        1        1  chosen 1" in capsys.readouterr().out
    assert "<td>pairs</td><td>2</td><td>3</td><td>2</td><td>1</td><td>1</td>" in (folder / "a/d.html").read_text()
    assert "  - `pairs`: 2 -> 3 rows; 2 added, 1 removed, 1 changed" in (folder / "CHANGELOG.md").read_text()


def test_a_second_run_changes_no_byte_and_leaves_nothing_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ("./old", "./new", "--json", "d.json", "--html", "d.html", "--changelog", "CHANGELOG.md")
    call(monkeypatch, *argv)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    call(monkeypatch, *argv)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert set(before) == {"d.json", "d.html", "CHANGELOG.md"}


def test_what_it_writes_names_no_place_on_the_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "./old", "./new", "--json", "d.json", "--html", "d.html")
    assert str(folder) not in (folder / "d.json").read_text() + (folder / "d.html").read_text()


def test_all_errors_are_reported_at_once_and_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "CHANGELOG.md").write_text("# Changelog\n")
    sentences = refused(monkeypatch, "./nowhere", "absent", "--changelog", "CHANGELOG.md", "--json", "d.json")
    assert [sentence.split()[0] for sentence in sentences] == ["./nowhere", "`absent`", "CHANGELOG.md"]
    assert not (folder / "d.json").exists()


def test_without_a_pipeline_here_there_is_no_workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, "./old")[0].startswith("workspace holds no data")


def test_the_process_ends_with_0_on_differences_and_with_2_on_a_mistake(folder: Path) -> None:
    command = [sys.executable, "-m", "stages.diff", "./old"]
    done = [
        subprocess.run([*command, new], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        for new in ("./new", "./nowhere")
    ]
    assert [one.returncode for one in done] == [0, 2]
    assert done[1].stderr.startswith("error: ./nowhere is no folder; give a git commit") and not done[1].stdout


def test_folders_are_compared_without_importing_dvc(folder: Path) -> None:
    code = "import sys; from stages.diff import version_of; version_of('./old'); print('dvc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_a_reader_that_has_seen_enough_gets_no_traceback(folder: Path) -> None:
    command = f"{sys.executable} -m stages.diff ./old ./new | true"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_file_that_cannot_be_written_is_refused_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, "./old", "./none", "--json", "old") == [
        "./none is no folder; give " + diff._SIDE,
        "--json old cannot be written: it is there, and no file; give the path of another file",
    ]
