"""How fast is it from a benchmark's files to an SFT set? `python -m tests.benchmarks.corpora` prints a line a stage.

Spider as it lies beside the repository (../shared/real): 7,876 questions, 157 databases. The stages `corpus`, `gold`
(with an empty cache), `prompts` and `sft` run as whole processes, two workers, several times; validation does not
count. Beside them, in the same turns: Python's own sqlite3 executing every gold once. It prints medians, and the
largest memory of a process and of its largest child.
"""

import shutil
import sys
from contextlib import chdir
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

from stages.core.files import read_json
from stages.core.layout import RAW, report_file
from stages.core.params import read_sections
from stages.core.receipts import write_receipt
from stages.core.tables import Dataset, read_dataset
from stages.databases.paths import database_path
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.datasets.sft import SFT
from stages.predictions.gold_files import read_gold
from tests import ROOT
from tests.benchmarks.speed import Took, plain, ran
from tests.real import REAL
from tests.workplace import write_params

TURNS = 3
STEPS = 50_000_000
SPIDER = REAL / "spider"
WHOLE = {"share": 1.0, "limit": None}


def prepare() -> None:
    """Puts Spider into data/raw, and writes the params."""
    shutil.copytree(SPIDER, RAW / "spider")
    params = dict(read_sections(ROOT / "params.yaml"))
    sources = {"spider": {"train": WHOLE, "dev": WHOLE}}
    params["corpus"] = {"seed": 1, "allow_missing": True, "rewrites": None, "demo": None, "sources": sources}
    params["prompts"] = {**cast("dict[str, Any]", params["prompts"]), "style": "create_table"}
    write_params(**params)


def stage(name: str, dataset: Dataset, *flags: str) -> Took:
    """Runs a stage as DVC does; the dataset that it made has a true receipt then."""
    took = ran([sys.executable, "-m", f"stages.{name}", *flags], Path())
    write_receipt(dataset, read_dataset(dataset).height, True)
    return took


def turn() -> dict[str, Took]:
    """All stages once, and plain sqlite3 on the golds."""
    shutil.rmtree("cache", ignore_errors=True)
    return {
        "corpus": stage("corpus", QUESTIONS),
        "gold": stage("gold", GOLD, "--cache", "cache", "--workers", "2"),
        "prompts": stage("prompts", PROMPTS),
        "sft": stage("sft", SFT),
        "sqlite3": plain(statements(), STEPS),
    }


def statements() -> list[tuple[str, str]]:
    """The database file and gold of every question of train and dev whose database is there, in the files' order."""
    golds = [gold for name in ("train_spider", "dev") for gold in read_gold(SPIDER / f"{name}.json")]
    paths = [(database_path(RAW / "spider" / "database", gold.db_id), gold.sql) for gold in golds]
    return [(str(path), sql) for path, sql in paths if path.is_file()]


def main() -> None:
    with TemporaryDirectory() as folder, chdir(folder):
        prepare()
        turns = [turn() for _ in range(TURNS)]
        kept = read_json(report_file("sft"))
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
