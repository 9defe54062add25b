import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from stages.core.errors import UserError
from stages.datasets.catalog import DATASETS
from stages.diffing.comparison import compare
from stages.diffing.folders import folder_version
from tests.diffing.world import frame, keyed, write_pipeline

EXEC = {"verdict": "match", "contract": "strict", "db_sha256": "d", "sqlite_version": "3"}


def write_export(folder: Path) -> Path:
    """An export as it is published: a candidate and its verdict in one row, a question and its gold too."""
    candidates = keyed("candidates", "c", question_id="q", sql="SELECT 1")
    gold = keyed("gold", "q", verdict="ok", flags="")
    results = pl.DataFrame([EXEC])
    configs = {
        "candidates": {"train": pl.concat([candidates, results, pl.DataFrame({"db_id": ["d"]})], how="horizontal")},
        "gold": {
            split: keyed("questions", f"q{place}" if place else "q", split=split, gold_sql="SELECT 1")
            .hstack(gold.drop("question_id").get_columns()).with_columns(prompt=pl.lit("Which?"))
            for place, split in enumerate(("train", "dev"))
        },
        "pairs": {"train": keyed("pairs", "p").with_columns(extra=pl.lit(1))},
        "answers": {"dev": pl.DataFrame({"answer_id": "dpo/q/greedy", "question_id": "q"})},
    }
    for config, splits in configs.items():
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            rows.write_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    return folder


def write_checkout(folder: Path, lock: dict[str, Any] | None = None) -> Path:
    """A checkout whose one dataset is `pairs`."""
    (folder / "data").mkdir(parents=True)
    write_pipeline(folder, "pairs")
    keyed("pairs", "p").write_parquet(folder / "data" / "pairs.parquet")
    if lock:
        (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": lock}))
    return folder


def test_an_export_holds_the_datasets_that_its_configs_are_made_of(tmp_path: Path) -> None:
    loaded = folder_version(write_export(tmp_path), "mine")
    assert set(loaded.tables) == {"questions", "gold", "prompts", "candidates", "exec_results", "pairs"}
    assert loaded.params is None
    for dataset in ("questions", "gold", "candidates"):
        assert set(loaded.tables[dataset].columns) == set(DATASETS[dataset].columns)
    assert loaded.tables["prompts"].columns.keys() == {"question_id", "db_id", "prompt"}
    assert loaded.tables["exec_results"].columns.keys() == {DATASETS["exec_results"].key, "question_id", "sql", *EXEC}
    assert loaded.tables["questions"].read("split")["split"].sort().to_list() == ["dev", "train"]


def test_an_export_and_the_checkout_it_came_from_have_the_same_rows(tmp_path: Path) -> None:
    export, checkout = write_export(tmp_path / "export"), write_checkout(tmp_path / "checkout")
    datasets = compare(folder_version(export, "export"), folder_version(checkout, "checkout")).datasets
    pairs = datasets["pairs"]
    assert (pairs.added, pairs.removed, pairs.changed, pairs.columns_removed) == (0, 0, 0, ["extra"])
    assert (datasets["gold"].old, datasets["gold"].new) == (2, None)


def test_an_export_without_verdicts_has_no_exec_results(tmp_path: Path) -> None:
    (tmp_path / "candidates").mkdir()
    keyed("candidates", "c").write_parquet(tmp_path / "candidates" / "train-00000-of-00001.parquet")
    assert set(folder_version(tmp_path, "mine").tables) == {"candidates"}


def test_a_checkout_tells_its_params_and_its_reports_but_no_receipts(tmp_path: Path) -> None:
    names = ("pairs", "validation/pairs", "validation/answers/sft/weak-dev")
    entry = {
        "params": {"params.yaml": {"pairs": {"limit": 1e-06, "none": None, "drop": ["a"]}}},
        "outs": [{"path": path} for path in ("data/pairs.parquet", *(f"reports/{name}.json" for name in names))],
    }
    write_checkout(tmp_path, {"pairs": entry, "gone@x": {"params": {"params.yaml": {"gone": 1}}}})
    (tmp_path / "reports/validation/answers/sft").mkdir(parents=True)
    for name in names:
        (tmp_path / "reports" / f"{name}.json").write_text('{"a": {"b": 1, "c": true, "d": [1], "e": NaN}, "f": 0.5}')
    loaded = folder_version(tmp_path, "mine")
    assert loaded.params == {"pairs.limit": 1e-06, "pairs.none": None, "pairs.drop": ["a"]}
    assert loaded.metrics == {"reports/pairs.json": {"a.b": 1, "f": 0.5}}


def test_reports_of_a_matrix_are_read_whether_they_are_metrics_or_not_and_no_summary(tmp_path: Path) -> None:
    write_checkout(tmp_path)
    stage = {"cmd": "x", "metrics": [{"reports/evaluate/${item.model}-${item.set}.json": {"cache": False}}]}
    summary = {"cmd": "x", "metrics": [{"reports/metrics.json": {"cache": False}}]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {
        "evaluate": stage, "report": summary,
        "pairs": {"cmd": "x", "outs": ["data/pairs.parquet", "reports/pairs.json"]},
    }}))  # fmt: skip
    outs = {
        "evaluate@sft/weak-dev": "reports/evaluate/sft/weak-dev.json", "report": "reports/metrics.json",
        "pairs": "reports/pairs.json",
    }  # fmt: skip
    stages = {name: {"outs": [{"path": path}]} for name, path in outs.items()}
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": stages}))
    (tmp_path / "reports/evaluate/sft").mkdir(parents=True)
    for path in outs.values():
        (tmp_path / path).write_text('{"ex": 1}')
    files = ("reports/evaluate/sft/weak-dev.json", "reports/pairs.json")
    assert folder_version(tmp_path, "mine").metrics == {file: {"ex": 1} for file in files}


def test_data_that_was_made_and_is_not_there_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    write_checkout(tmp_path, {"pairs": {"outs": [{"path": "data/pairs.parquet", "md5": "0"}]}})
    (tmp_path / "data" / "pairs.parquet").unlink()
    with pytest.raises(UserError, match=r"mine lacks data/pairs.parquet; run `dvc pull data/pairs.parquet`"):
        folder_version(tmp_path, "mine")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    frame("pairs").write_parquet(tmp_path / "other" / "x.parquet")
    with pytest.raises(UserError, match="mine holds no data"):
        folder_version(tmp_path, "mine")


def test_every_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write_export(tmp_path)
    for config in ("pairs", "candidates"):
        (tmp_path / config / "train-00000-of-00001.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError) as caught:
        folder_version(tmp_path, "mine")
    problems = [sentence.partition(" (")[0] for sentence in caught.value.sentences]
    assert problems == [f"mine: {config}/*.parquet is not a Parquet file" for config in ("candidates", "pairs")]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n" for before, after in pairwise("abcdefghi")
)


def test_a_lock_with_aliases_is_read_as_dvc_writes_it_for_params_that_stages_share(tmp_path: Path) -> None:
    write_checkout(tmp_path)
    params = {"pairs": {"neg_limit": 3, "drop_flags": ["limit_tie"]}}
    stages = {name: {"cmd": "x", "params": {"params.yaml": params}} for name in ("pairs", "sft")}
    text = yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)
    assert "&id001" in text and "*id001" in text
    (tmp_path / "dvc.lock").write_text(text)
    assert folder_version(tmp_path, "mine").params == {"pairs.neg_limit": 3, "pairs.drop_flags": ["limit_tie"]}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dvc.yaml", "{", r"dvc.yaml or dvc.lock is not as DVC writes it"),
        ("dvc.yaml", "[]", r"dvc.yaml or dvc.lock is not as DVC writes it"),
        ("dvc.lock", "[", r"dvc.yaml or dvc.lock is not as DVC writes it"),
        ("dvc.lock", "[" * 100_000, r"dvc.yaml or dvc.lock is not as DVC writes it .it is nested too deeply"),
        ("dvc.yaml", "- " * 100_000, r"dvc.yaml or dvc.lock is not as DVC writes it .it is nested too deeply"),
        ("dvc.lock", "a: &a [*a]", r"dvc.yaml or dvc.lock is not as DVC writes it .the alias `.a` stands for no value"),
        ("dvc.lock", BOMB, r"dvc.yaml or dvc.lock is not as DVC writes it .with its aliases, it has more than"),
        ("params.yaml", "a: &a [*a]", r"mine: params.yaml is not valid YAML .this value holds an alias to itself"),
        ("params.yaml", "# \n" * 100_000, r"mine: params.yaml is not valid YAML .it has 300,000 characters"),
        ("dvc.yaml", "stages: {\udcff}", r"mine: dvc.yaml is not UTF-8"),
        ("reports/pairs.json", "{", r"mine: reports/pairs.json is not JSON"),
        ("reports/pairs.json", "[]", r"mine: reports/pairs.json holds no JSON object"),
    ],
)
def test_a_file_that_dvc_did_not_write_is_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    write_checkout(tmp_path, {"pairs": {"outs": [{"path": "reports/pairs.json"}]}})
    (tmp_path / "reports").mkdir()
    (tmp_path / file).write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=message):
        folder_version(tmp_path, "mine")
