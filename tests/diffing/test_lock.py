"""Params come from the stage that owns them, and a stage that did not run again is named as stale."""

from pathlib import Path
from typing import Any

import pytest

from stages.diff import version_of
from stages.diffing.comparison import compare
from stages.diffing.lock import owned_params, stale_stages
from stages.diffing.terminal import text_of
from tests.diffing.world import keyed, make_version, new_repository, run, version


def entry(params: dict[str, Any] | None = None, reads: dict[str, str] | None = None, **makes: str) -> dict[str, Any]:
    """A stage of dvc.lock: its params, and the md5 of what it reads and makes, by path."""
    return {
        "params": {"params.yaml": params or {}},
        "deps": [{"path": path, "md5": md5} for path, md5 in (reads or {}).items()],
        "outs": [{"path": path.replace("__", "/"), "md5": md5} for path, md5 in makes.items()],
    }


def stale_of(current: dict[str, Any] | None = None, **entries: dict[str, Any]) -> dict[str, str]:
    named = {stage.replace("__", "@"): each for stage, each in entries.items()}
    return stale_stages(named, owned_params(named, current or {}))


def test_a_param_has_the_value_that_the_stage_of_its_section_ran_with() -> None:
    pairs, publish = entry({"pairs": {"neg_limit": "2"}}), entry({"pairs": {"neg_limit": "1"}, "publish.push": "false"})
    assert owned_params({"pairs": pairs, "publish": publish}, {}) == {
        "pairs.neg_limit": ("2", "pairs"), "publish.push": ("false", "publish"),
    }  # fmt: skip


def test_a_stage_that_recorded_another_value_is_stale_and_so_is_what_reads_its_outputs() -> None:
    stale = stale_of(
        pairs=entry({"pairs": {"limit": "2"}}, pairs="new"), train=entry({"pairs": {"limit": "1"}}, model="m"),
        evaluate=entry(reads={"model": "m"}), other=entry(reads={"pairs": "new"}),
    )  # fmt: skip
    assert stale == {
        "train": "was made with pairs.limit 1, pairs with 2", "evaluate": "reads model, and train is stale",
    }  # fmt: skip


def test_a_stage_that_read_an_earlier_output_is_stale() -> None:
    stale = stale_of(pairs=entry(pairs="new"), train=entry(reads={"pairs": "old"}))
    assert stale == {"train": "read another pairs than the one that pairs made last"}


def test_a_stage_that_reads_a_folder_with_the_output_of_a_stale_one_is_stale() -> None:
    stale = stale_of(
        sft=entry(sft="new"), train__weak=entry(reads={"sft": "old"}, models__weak="m"),
        publish=entry(reads={"models": "x", "modelsx": "y"}),
    )  # fmt: skip
    assert stale["publish"] == "reads models/weak, and train@weak is stale"


@pytest.mark.parametrize(("current", "stale"), [("4", "evaluate@b"), ("8", "evaluate@a"), ("0", "evaluate@b")])
def test_of_two_stages_of_a_section_the_one_that_differs_from_params_yaml_is_stale(current: str, stale: str) -> None:
    entries = {"evaluate__a": entry({"evaluate": {"n": "4"}}), "evaluate__b": entry({"evaluate": {"n": "8"}})}
    assert list(stale_of({"evaluate": {"n": current}}, **entries)) == [stale]


def test_numbers_written_in_two_ways_are_one_value() -> None:
    entries = {"evaluate__a": entry({"evaluate": {"x": "0.5"}}), "evaluate__b": entry({"evaluate": {"x": "1e-06"}})}
    assert list(stale_of({"evaluate": {"x": "1e-6"}}, **entries)) == ["evaluate@a"]


def test_where_all_ran_nothing_is_stale() -> None:
    entries = {
        "pairs": entry({"pairs": {"limit": "2"}}, pairs="a"),
        "train": entry({"pairs": {"limit": "2"}}, reads={"pairs": "a", "code.py": "x"}, model="b"),
    }
    assert stale_of(**entries) == {}


def test_a_partial_run_shows_its_param_and_names_the_stages_that_are_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    tables = {"pairs": keyed("pairs", "a"), "sft": keyed("sft", "q")}
    make_version(tmp_path, tables, {"pairs": {"neg_limit": 1}, "sft": {"seed": 1}})
    pipeline = (tmp_path / "dvc.yaml").read_text()
    publish = '"publish": {"cmd": "cp data/pairs.parquet out", "deps": ["data/pairs.parquet"], "params": ["pairs"], '
    (tmp_path / "dvc.yaml").write_text(pipeline.replace('{"stages": {', f'{{"stages": {{{publish}"outs": ["out"]}}, '))
    run(tmp_path, "dvc", "repro", "--quiet")
    run(tmp_path, "git", "add", "--all")
    run(tmp_path, "git", "commit", "--quiet", "--message", "published")
    keyed("pairs", "b").write_parquet(tmp_path / "pairs.made")
    run(tmp_path, "dvc", "exp", "run", "--quiet", "-S", "pairs.neg_limit=2", "pairs")
    found = compare(version_of("HEAD"), version_of("workspace"))
    assert found.params == {"pairs.neg_limit": {"old": 1, "new": 2}}
    assert found.new.stale == {"publish": "was made with pairs.neg_limit 1, pairs with 2"}
    assert found.old.stale == {}
    assert "Stale in workspace: publish was made with pairs.neg_limit 1, pairs with 2" in text_of(found)


def test_a_stale_stage_stands_in_the_json() -> None:
    new = version("new")
    new.stale["publish"] = "reads pairs, and pairs is stale"
    assert compare(version("old"), new).as_json()["new"]["stale"] == new.stale
