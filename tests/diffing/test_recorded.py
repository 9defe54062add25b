"""Params come from the stage that owns them, and a stage that did not run since they changed is stale."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from stages.core.errors import UserError
from stages.diffing.dvc_files import Contents, contents_of
from tests import ROOT

PIPELINE = {
    "corpus": {"cmd": "x"}, "train_sft": {"matrix": {"role": ["strong", "weak"]}, "cmd": "x"}, "pairs": {"cmd": "x"},
    "train_dpo": {"cmd": "x"},
    "evaluate": {
        "matrix": {"model": ["dpo"], "test_set": "${test_sets}"}, "cmd": "x",
        "metrics": [{"reports/${item.model}-${item.test_set}.json": {"cache": False}}],
    },
    "publish": {"cmd": "x"},
}  # fmt: skip
SFT = {"strong": {"seed": 1, "lora": {"rank": 8}}, "weak": {"seed": 2, "lora": None}}
PARAMS: dict[str, Any] = {
    "corpus": {"sources": {}, "share": 1.0e-4}, "train_sft": SFT,
    "pairs": {"neg_limit": 1, "drop_flags": ["limit_tie"]},
    "train_dpo": {"objective": "cdpo"}, "objectives": {"cdpo": {"beta": 0.1}, "ipo": {"beta": 0.1}},
    "test_sets": ["dev", "test"], "evaluate": {"seed": 5}, "limits": {"rows": 10},
}  # fmt: skip


def entry(deps: Mapping[str, str], outs: Mapping[str, str], *sections: str, **params: Any) -> dict[str, Any]:
    """An entry of dvc.lock. `deps`, `outs`: path to md5; `sections`: those of PARAMS that the stage reads."""
    values = {name: PARAMS[name] for name in sections} | {
        name.replace("__", "."): part for name, part in params.items()
    }
    return {
        "cmd": "x", "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()],
        "outs": [{"path": path, "md5": md5} for path, md5 in outs.items()], "params": {"params.yaml": values},
    }  # fmt: skip


def whole() -> dict[str, Any]:
    """The entries after a run of all, in which `publish` repeats every section."""
    models = {"models/sft/strong": "s.dir", "models/sft/weak": "w.dir"}
    return {
        "publish": entry(
            {"data/pairs.parquet": "p", "models/sft": "b.dir", "models/dpo": "d.dir"}, {"reports/publish": "e.dir"},
            "corpus", "pairs", "train_dpo", "objectives", "test_sets", "evaluate",
            train_sft__strong=SFT["strong"], train_sft__weak=SFT["weak"],
        ),
        "corpus": entry({"data/raw": "r.dir"}, {"data/questions.parquet": "q"}, "corpus", "limits"),
        **{
            f"train_sft@{role}": entry(
                {"data/questions.parquet": "q"}, {f"models/sft/{role}": models[f"models/sft/{role}"]},
                **{f"train_sft__{role}": SFT[role]},
            )
            for role in SFT
        },
        "pairs": entry({"models/sft/weak": "w.dir"}, {"data/pairs.parquet": "p"}, "pairs", "limits"),
        "train_dpo": entry(
            {"data/pairs.parquet": "p", "models/sft/strong": "s.dir"}, {"models/dpo": "d.dir"},
            "train_dpo", objectives__cdpo={"beta": 0.1},
        ),
        **{
            f"evaluate@dpo-{name}": entry({"models/dpo": "d.dir"}, {f"reports/dpo-{name}.json": name}, "evaluate")
            for name in ("dev", "test")
        },
    }  # fmt: skip


def contents(lock: Mapping[str, Any], params: Mapping[str, Any] | None = PARAMS) -> Contents:
    text = None if params is None else json.dumps(params)
    return contents_of(json.dumps({"stages": PIPELINE}), json.dumps({"stages": lock}), text, "v")


def changed(section: str, **values: Any) -> dict[str, Any]:
    """PARAMS with other values in a section."""
    return PARAMS | {section: PARAMS[section] | values}


def test_after_a_run_of_all_no_stage_is_stale() -> None:
    assert contents(whole()).stale == {}


def test_the_committed_lock_is_read_without_a_mistake_of_form() -> None:
    pipeline, lock, params = ((ROOT / name).read_text() for name in ("dvc.yaml", "dvc.lock", "params.yaml"))
    found = contents_of(pipeline, lock, params, "v")
    assert found.params["train_dpo.learning_rate"] == 1e-4 and found.params["pairs.pos_limit"] is None
    assert not [reason for reasons in found.stale.values() for reason in reasons if "learning_rate" in reason]


def test_a_section_comes_from_its_own_stage_and_what_repeats_it_is_stale() -> None:
    lock = whole()
    lock["pairs"] = entry(
        {"models/sft/weak": "w.dir"}, {"data/pairs.parquet": "p2"}, pairs=changed("pairs", neg_limit=2)["pairs"]
    )
    found = contents(lock, changed("pairs", neg_limit=2))
    assert found.params["pairs.neg_limit"] == 2
    assert found.stale == {
        "train_dpo": ["data/pairs.parquet"], "evaluate@dpo-dev": ["models/dpo"], "evaluate@dpo-test": ["models/dpo"],
        "publish": ["pairs.neg_limit: 1 -> 2", "data/pairs.parquet", "models/dpo"],
    }  # fmt: skip


def test_what_a_section_no_longer_has_is_not_taken_from_what_repeats_it() -> None:
    lock, params = whole(), changed("pairs", draw=None)
    lock["publish"]["params"]["params.yaml"]["pairs"] = PARAMS["pairs"] | {"draw": {"seed": 1}}
    lock["pairs"] = entry({"models/sft/weak": "w.dir"}, {"data/pairs.parquet": "p2"}, pairs=params["pairs"])
    recorded = contents(lock, params).params
    assert recorded["pairs.draw"] is None and "pairs.draw.seed" not in recorded


def test_a_section_of_a_role_comes_from_the_stage_of_that_role() -> None:
    lock, strong = whole(), {"seed": 9, "lora": {"rank": 8}}
    lock["train_sft@strong"] = entry(
        {"data/questions.parquet": "q"}, {"models/sft/strong": "s2.dir"}, train_sft__strong=strong
    )
    found = contents(lock, changed("train_sft", strong=strong))
    assert (found.params["train_sft.strong.seed"], found.params["train_sft.weak.seed"]) == (9, 2)
    assert found.stale["train_dpo"] == ["models/sft/strong"] and "pairs" not in found.stale
    assert found.stale["publish"] == ["train_sft.strong.seed: 1 -> 9", "models/dpo"]


def test_a_folder_that_stages_write_to_has_changed_where_one_of_them_is_stale() -> None:
    lock = whole()
    lock["corpus"]["outs"][0]["md5"] = "q2"
    assert contents(lock).stale["publish"] == ["data/pairs.parquet", "models/sft", "models/dpo"]


def test_params_that_were_edited_and_not_run_are_not_those_of_the_data() -> None:
    found = contents(whole(), changed("pairs", neg_limit=3))
    assert found.params["pairs.neg_limit"] == 1
    assert found.stale["pairs"] == ["pairs.neg_limit: 1 -> 3"]
    assert list(found.stale) == ["pairs", "train_dpo", "evaluate@dpo-dev", "evaluate@dpo-test", "publish"]


def test_of_a_matrix_that_ran_in_part_the_params_are_those_of_the_items_that_ran() -> None:
    lock = whole()
    lock["evaluate@dpo-test"] = entry({"models/dpo": "d.dir"}, {"reports/dpo-test.json": "t2"}, evaluate={"seed": 6})
    found = contents(lock, changed("evaluate", seed=6))
    assert found.params["evaluate.seed"] == 6
    assert found.stale == {
        "evaluate@dpo-dev": ["evaluate.seed: 5 -> 6"], "publish": ["evaluate.seed: 5 -> 6"],
    }  # fmt: skip


def test_a_section_that_no_stage_is_named_after_is_that_of_a_stage_that_ran_with_it() -> None:
    lock = whole()
    lock["pairs"] = entry({"models/sft/weak": "w.dir"}, {"data/pairs.parquet": "p"}, "pairs", limits={"rows": 20})
    found = contents(lock, changed("limits", rows=20))
    assert found.params["limits.rows"] == 20
    assert found.stale["corpus"] == ["limits.rows: 10 -> 20"]


def test_without_a_params_file_a_shared_section_is_that_of_the_first_stage() -> None:
    lock = whole()
    lock["pairs"] = entry({"models/sft/weak": "w.dir"}, {"data/pairs.parquet": "p"}, "pairs", limits={"rows": 20})
    found = contents(lock, None)
    assert (found.params["limits.rows"], found.stale) == (10, {})


def test_params_that_publish_alone_reads_come_from_it() -> None:
    found = contents(whole()).params
    assert (found["objectives.ipo.beta"], found["test_sets"]) == (0.1, ["dev", "test"])


def test_a_param_that_is_new_in_a_section_makes_its_stage_stale() -> None:
    assert contents(whole(), changed("pairs", pos_limit=None)).stale["pairs"] == ["pairs.pos_limit: – -> null"]


def test_a_param_that_is_gone_from_params_makes_its_stage_stale() -> None:
    assert contents(whole(), PARAMS | {"limits": {}}).stale["corpus"] == ["limits.rows: 10 -> –", "limits: – -> {}"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0.0001", "1.0e-4"), ("1e-06", "0.000001"), ("1.0", "1"), ("", "null"), ("", "~"), ("true", "True"),
        ("{}", "{}"), ("[a, 1.0]", "['a', 1]"), ("'7'", "'7'"), ("v0.1.0", "v0.1.0"), ("'1e-06'", "'1e-06'"),
    ],
)  # fmt: skip
def test_a_value_that_dvc_writes_in_another_way_is_the_same(written: str, read: str) -> None:
    lock = f"stages:\n  pairs:\n    params:\n      params.yaml:\n        pairs:\n          x: {written}\n"
    assert contents_of(json.dumps({"stages": PIPELINE}), lock, f"pairs:\n  x: {read}\n", "v").stale == {}


def test_an_item_that_is_no_longer_in_its_matrix_counts_for_nothing() -> None:
    lock = whole()
    lock["evaluate@dpo-gone"] = entry({"models/dpo": "old.dir"}, {"reports/dpo-gone.json": "g"}, evaluate={"seed": 1})
    found = contents(lock)
    assert found.stale == {} and found.metrics == ["reports/dpo-dev.json", "reports/dpo-test.json"]


def test_items_that_params_decide_all_count_where_these_are_not_known() -> None:
    assert contents(whole(), None).metrics == ["reports/dpo-dev.json", "reports/dpo-test.json"]


def test_params_that_are_no_yaml_are_refused() -> None:
    with pytest.raises(UserError, match=r"^v: params.yaml is not valid YAML \(.*\); correct or restore it$"):
        contents_of(json.dumps({"stages": PIPELINE}), "", "a: [", "v")
