"""How fast is it from a benchmark's files to an SFT set? `python -m tests.benchmarks.corpora` prints a line a stage.

Spider as it lies beside the repository (../shared/real): 7,876 questions, 157 databases. The stages `corpus`, `gold`
(with an empty cache), `prompts` and `sft` run as whole processes, two workers, several times; validation does not
count. Beside them, in the same turns: Python's own sqlite3 executing every gold once. It prints medians, and the
largest memory of a process and of its largest child.
"""

import json
import shutil
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from stages.core.params import read_sections
from stages.core.receipts import write_receipt
from stages.core.tables import read_table
from stages.databases.paths import database_path
from stages.predictions.gold_files import read_gold
from tests import ROOT
from tests.benchmarks.speed import Took, plain, ran
from tests.real import REAL

TURNS = 3
STEPS = 50_000_000
SPIDER = REAL / "spider"
WHOLE = {"share": 1.0, "limit": None}


def prepare(folder: Path) -> None:
    """Spider in `folder/raw`, and the params."""
    shutil.copytree(SPIDER, folder / "raw" / "spider")
    params: dict[str, Any] = dict(read_sections(ROOT / "params.yaml"))
    sources = {"spider": {"train": WHOLE, "dev": WHOLE}}
    params["corpus"] = {"seed": 1, "allow_missing": True, "demo": None, "sources": sources}
    params["prompts"] = {**params["prompts"], "style": "create_table"}
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def stage(folder: Path, name: str, made: str, reads: list[str], *more: str) -> Took:
    """Runs a stage in `folder` as DVC does; what it made has a true receipt then."""
    tables = [word for read in reads for word in (f"--{read}", f"{read}.parquet", f"--{read}-receipt", f"{read}.json")]
    makes = [f"--{made}", f"{made}.parquet", "--report", "r.json"]
    took = ran([sys.executable, "-m", f"stages.{name}", *tables, *makes, *more], folder)
    table = folder / f"{made}.parquet"
    write_receipt(folder / f"{made}.json", made, read_table(table, made).height, True, table)
    return took


def turn(folder: Path) -> dict[str, Took]:
    """All stages once, and plain sqlite3 on the golds."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    databases = ("--databases", "databases")
    return {
        "corpus": stage(folder, "corpus", "questions", [], "--raw", "raw", *databases),
        "gold": stage(folder, "gold", "gold", ["questions"], *databases, "--page", "p.html", "--cache", "cache",
                      "--workers", "2"),
        "prompts": stage(folder, "prompts", "prompts", ["questions"], *databases),
        "sft": stage(folder, "sft", "sft", ["questions", "gold", "prompts"]),
        "sqlite3": plain(statements(folder), STEPS),
    }  # fmt: skip


def statements(folder: Path) -> list[tuple[str, str]]:
    """The database file and gold of every question of train and dev whose database is there, in the files' order."""
    golds = [gold for name in ("train_spider", "dev") for gold in read_gold(SPIDER / f"{name}.json")]
    paths = [(database_path(folder / "raw" / "spider" / "database", gold.db_id), gold.sql) for gold in golds]
    return [(str(path), sql) for path, sql in paths if path.is_file()]


def main() -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder)
        turns = [turn(folder) for _ in range(TURNS)]
        kept = json.loads((folder / "r.json").read_text())
    for name in turns[0]:
        walls = [one[name].wall for one in turns]
        memory = max(one[name].own_mb for one in turns), max(one[name].child_mb for one in turns)
        told = f", {memory[0]:.0f} MB and {memory[1]:.0f} MB" if name != "sqlite3" else " (executes each gold once)"
        print(f"{name}: {median(walls):.2f} s ({min(walls):.2f}-{max(walls):.2f}){told}")
    ours = median(sum(took.wall for name, took in one.items() if name != "sqlite3") for one in turns)
    plain_loop = median(one["sqlite3"].wall for one in turns)
    counts = f"{kept['in']} questions, {kept['out']} SFT rows"
    print(f"all four: {ours:.2f} s (at most 20), {counts}; ratio to sqlite3 {ours / plain_loop:.1f}")


if __name__ == "__main__":
    main()
