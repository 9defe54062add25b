"""How fast are two versions compared? `python -m tests.benchmarks.diff` prints a line a kind of version.

A million pairs on either side: 100,000 are only in the old one, 100,000 only in the new one, and 100,000 of the others
have another `rejected`. `python -m stages.diff` runs as a whole process, on two folders and on two git revisions whose
pairs are in DVC's cache. Beside it, in the same turns: polars reading both files, as a whole process too. It prints the
medians, in brackets the smallest and the largest, the ratio, and the largest memory.
"""

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import polars as pl

from tests.benchmarks.speed import Took, ran
from tests.diffing.world import make_version, new_repository, run

TURNS = 5
PAIRS, APART, CHANGED = 1_000_000, 100_000, 100_000
QUESTIONS = 50_000
_DDL = "\n".join(f"table_{one}(id, name, table_{one + 1}_id -> table_{one + 1}, city, year)" for one in range(6))
_READ = "import sys, polars; [polars.read_parquet(path) for path in sys.argv[1:]]"


def pairs(start: int) -> pl.DataFrame:
    """A million pairs, numbered from `start`; every tenth of them has another `rejected` if they start elsewhere."""
    number = pl.int_range(start, start + PAIRS, eager=True).alias("number")
    text, asked = pl.col("number").cast(pl.String), (pl.col("number") % QUESTIONS).cast(pl.String)
    hashed = pl.col("number").hash(1).cast(pl.String).str.zfill(20)
    limited = pl.lit(start > 0) & (pl.col("number") % (PAIRS // CHANGED) == 0)
    other = pl.when(limited).then(pl.lit(" LIMIT 1")).otherwise(pl.lit(""))
    return number.to_frame().select(
        pair_id=hashed.str.slice(4), question_id=pl.lit("spider/train/") + asked,
        db_id=pl.lit("db_") + asked.str.head(2),
        prompt=pl.lit(f"{_DDL}\nquestion: How many of them are above ") + asked + pl.lit("?\nsql:\n"),
        chosen=pl.lit("SELECT name, city FROM table_1 WHERE year > ") + text + pl.lit(" ORDER BY name"),
        rejected=pl.lit("SELECT name FROM table_2 AS t JOIN table_3 ON t.id = id WHERE city = ") + text + other,
        chosen_id=hashed.str.head(16), rejected_id=hashed.str.tail(16), rejected_verdict=pl.lit("mismatch"),
        similarity=pl.col("number") / PAIRS, witness=pl.lit(None, pl.String),
    ).sort("pair_id")  # fmt: skip


def diff(folder: Path, old: str, new: str) -> Took:
    """Runs the command in `folder`, with all it can write."""
    files = [f"--json={folder / 'diff.json'}", f"--html={folder / 'diff.html'}"]
    return ran([sys.executable, "-m", "stages.diff", old, new, *files], folder)


def prepare(folder: Path) -> list[str]:
    """Both versions as folders `old` and `new`, and as tags `v1` and `v2` of a repository; their files."""
    new_repository(folder)
    files = []
    for name, tag, start in (("old", "v1", 0), ("new", "v2", APART)):
        made = pairs(start)
        (folder / name / "pairs").mkdir(parents=True)
        files.append(str(folder / name / "pairs" / "train-00000-of-00001.parquet"))
        made.write_parquet(files[-1])
        with (folder / ".gitignore").open("a") as ignored:
            ignored.write(f"/{name}\n")
        make_version(folder, {"pairs": made}, {})
        run(folder, "git", "tag", tag)
    return files


def main() -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        files = prepare(folder)
        turns = [
            {
                "two folders": diff(folder, "./old", "./new"),
                "two revisions": diff(folder, "v1", "v2"),
                "read": ran([sys.executable, "-c", _READ, *files]),
            }
            for _ in range(TURNS)
        ]
    read = median(one["read"].wall for one in turns)
    for name in ("two folders", "two revisions"):
        walls, memory = [one[name].wall for one in turns], max(one[name].own_mb for one in turns)
        print(
            f"{name} of {PAIRS:,} pairs: {median(walls):.2f} s ({min(walls):.2f}-{max(walls):.2f}), at most 5; "
            f"reading both files {read:.2f} s; ratio {median(walls) / read:.1f}; {memory:.0f} MB"
        )


if __name__ == "__main__":
    main()
