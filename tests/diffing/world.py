"""Small versions to compare: tables of some rows, folders and repositories that hold them."""

import json
import subprocess
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import polars as pl
from dvc.repo import Repo

from stages.datasets.catalog import DATASETS
from stages.diffing.recorded import flat
from stages.diffing.versions import Version, open_table
from tests.workplace import EXECUTION

_FOLDER = TemporaryDirectory()  # of all tables; it goes with the process
PARAMS: dict[str, dict[str, Any]] = {
    "exec_results": {"contract": "strict", "budget_floor": 1000, "budget_factor": 50}, "execution": EXECUTION,
}  # fmt: skip


def frame(dataset: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of a dataset; columns that are not given are NULL."""
    columns = DATASETS[dataset].columns
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)


def keyed(dataset: str, *keys: str, **values: Any) -> pl.DataFrame:
    """Rows of a dataset with these keys and the same values elsewhere."""
    return frame(dataset, *({DATASETS[dataset].key: key, **values} for key in keys))


def write_pipeline(folder: Path, *datasets: str) -> None:
    """A dvc.yaml whose stages copy `<dataset>.made` to `data/<dataset>.parquet`, and `<dataset>.json` to a metric."""
    stages = {
        dataset: {
            "cmd": f"mkdir -p data reports; cp {dataset}.made data/{dataset}.parquet; cp {dataset}.json reports",
            "deps": [f"{dataset}.made", f"{dataset}.json"], "params": [dataset], "outs": [f"data/{dataset}.parquet"],
            "metrics": [{f"reports/{dataset}.json": {"cache": False}}],
        }
        for dataset in datasets
    }  # fmt: skip
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))  # which is YAML, too


def make_version(folder: Path, tables: dict[str, pl.DataFrame], params: dict[str, Any], **metrics: Any) -> None:
    """Has the repository make these datasets, and commits what git is to know of them."""
    for dataset, rows in tables.items():
        rows.write_parquet(folder / f"{dataset}.made")
        (folder / f"{dataset}.json").write_text(json.dumps(metrics.get(dataset, {"out": rows.height})))
    write_pipeline(folder, *tables)
    (folder / "params.yaml").write_text(json.dumps({dataset: {"seed": 1} for dataset in tables} | params))
    with chdir(folder), Repo() as repo:  # DVC finds stages by the working directory
        repo.reproduce()
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a version")


def new_repository(folder: Path) -> None:
    """An empty git and DVC repository. What the versions are made of is not in git."""
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    run(folder, "git", "config", "user.name", "Test")
    run(folder, "git", "config", "user.email", "test@example.org")
    Repo.init(str(folder)).close()
    (folder / ".gitignore").write_text("*.made\n/data\n/site\n")


def run(folder: Path, *command: str) -> str:
    """What a command prints. Raises AssertionError where it fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def version(
    name: str = "v", params: dict[str, Any] | None = PARAMS, metrics: dict[str, dict[str, float]] | None = None,
    **tables: pl.DataFrame,
) -> Version:  # fmt: skip
    """A version whose tables lie in a folder of their own."""
    folder = Path(mkdtemp(dir=_FOLDER.name))
    opened = {}
    for dataset, rows in tables.items():
        rows.write_parquet(folder / f"{dataset}.parquet")
        opened[dataset] = open_table(f"{name}: {dataset}", dataset, [folder / f"{dataset}.parquet"])
    return Version(name, None, opened, None if params is None else flat(params), {} if metrics is None else metrics)
