"""How fast is the verdict engine? `python -m tests.benchmarks.speed [part …]` prints one line a part.

Each line holds a ratio of two figures that were taken in the same run, the two sides in turn, several times: the
medians, and in brackets the smallest and the largest. The other side is Python's own sqlite3, used plainly. Needs the
real predictions beside the repository (../shared/real), and a quiet machine.

- `all`: all systems on Spider dev, runaway cross joins included: `score` as a whole process on two workers, from JSONL
  to the written verdicts, against sqlite3 executing every distinct statement once.
- `good`: the systems but those of 2020: predictions a second on two workers, start-up excluded, and the processor time
  of both workers against the plain loop over the same statements.
- `million`: 250, 500 and 1,000 thousand candidates, half of them distinct: time a candidate, and memory.
- `start`: one question, and one system's predictions, as whole processes.
- `official`: `score` of one system against a plain loop that executes as the official evaluator does: a connection
  for every query, gold and prediction anew for each question.
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import polars as pl

from stages.databases.paths import database_path
from stages.execution.judge import judge
from stages.execution.records import GoldQuestion, Item, Rules
from stages.execution.worker_pool import local
from stages.predictions.gold_files import Gold, read_gold
from stages.predictions.prediction_files import read_predictions
from tests import ROOT
from tests.benchmarks.agreement import BUDGET, LIMITS
from tests.real import REAL

GOLD, DATABASES = REAL / "spider" / "dev.json", REAL / "spider" / "database"
PREDICTIONS = REAL / "predictions" / "spider_dev"
RUNAWAY = "testsuite2020_"
ONE_SYSTEM = "codes_7b"
WORKERS = 2
STEPS = BUDGET.floor
MILLION_STEPS = 1_000_000
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")

Statement = tuple[str, str]
"""A database file and a text."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one side took: seconds of wall clock, seconds of processor time where it was measured, and of a command the
    peak memory in MB of its process and of the largest child of that."""

    wall: float
    processor: float = 0
    own_mb: float = 0
    child_mb: float = 0


def systems(golds: Sequence[Gold]) -> dict[str, list[str]]:
    """The predictions of each system, one a question, by its name."""
    return {file.stem: [sql for (sql,) in read_predictions(file, golds)] for file in sorted(PREDICTIONS.glob("*.txt"))}


def items_of(golds: Sequence[Gold], predicted: Iterable[Sequence[str]]) -> list[Item]:
    """What is judged: the predictions whose database is there."""
    paths = [database_path(DATABASES, gold.db_id) for gold in golds]
    questions = [
        GoldQuestion(str(path), gold.sql) if path.is_file() else None for gold, path in zip(golds, paths, strict=True)
    ]
    return [(question, sql) for sqls in predicted for question, sql in zip(questions, sqls, strict=True) if question]


def plain(statements: Sequence[Statement], steps: int) -> Took:
    """What sqlite3 takes to run each statement to its end, or for so many steps, in a process of its own whose start
    does not count; a database is opened once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_plain_loop, statements, steps).result()


def _plain_loop(statements: Sequence[Statement], steps: int) -> Took:
    connections: dict[str, sqlite3.Connection] = {}
    begin, processor = time.perf_counter(), time.process_time()
    for database, sql in statements:
        if database not in connections:
            connections[database] = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
            connections[database].set_progress_handler(lambda: 1, steps)
        try:
            connections[database].execute(sql).fetchall()
        except (sqlite3.Error, sqlite3.Warning):  # most of them no right SQL, the others beyond the steps
            continue
    return Took(time.perf_counter() - begin, time.process_time() - processor)


def score(gold: Path, predictions: Path, folder: Path, *flags: str) -> Took:
    """Runs `python -m stages.score` as a user does, with a new cache; verdicts and metrics are written to `folder`."""
    with TemporaryDirectory(dir=folder) as cache:
        return ran([
            sys.executable, "-m", "stages.score", f"--gold={gold}", f"--predictions={predictions}",
            f"--databases={DATABASES}", "--contract=spider", "--allow-missing", f"--workers={WORKERS}",
            f"--cache={cache}", f"--per-item={folder / 'items.jsonl'}", f"--json={folder / 'metrics.json'}", *flags,
        ])  # fmt: skip


def ran(command: list[str], folder: Path = ROOT) -> Took:
    """Runs a command in `folder` to its end. Raises subprocess.CalledProcessError where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, begin, own, child = _children_time(), time.perf_counter(), 0, 0
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            own = max(own, _peak_kb(process.pid))
            child = max([child, *map(_peak_kb, _children(process.pid))])
            time.sleep(0.02)
        seconds = time.perf_counter() - begin
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Took(seconds, _children_time() - before, own_mb=own / 1000, child_mb=child / 1000)


def _children_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_kb(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def in_turn(turns: int, *sides: Callable[[], Took]) -> list[list[Took]]:
    """What each side takes, the sides in turn."""
    taken = [[side() for side in sides] for _ in range(turns)]
    return [list(values) for values in zip(*taken, strict=True)]


def said(values: Sequence[float], unit: str = "s") -> str:
    places = 0 if min(values) > 100 else 2
    return f"{median(values):.{places}f} {unit} ({min(values):.{places}f}–{max(values):.{places}f})"


def walls(took: Iterable[Took]) -> list[float]:
    return [one.wall for one in took]


def used(took: Iterable[Took]) -> list[float]:
    return [one.processor for one in took]


def write_candidates(predicted: Sequence[Sequence[str]], path: Path) -> Path:
    """All predictions as JSONL: those of a question are its samples."""
    with path.open("w", encoding="utf-8") as file:
        for sample, sqls in enumerate(predicted):
            for index, sql in enumerate(sqls):
                file.write(json.dumps({"index": index, "sample": sample, "sql": sql}) + "\n")
    return path


def part_all(turns: int, folder: Path) -> str:
    golds = read_gold(GOLD)
    predicted = list(systems(golds).values())
    file = write_candidates(predicted, folder / "all.jsonl")
    items = items_of(golds, predicted)
    distinct = distinct_statements(items)
    ours, theirs = in_turn(
        turns, lambda: score(GOLD, file, folder, f"--budget={STEPS}"), lambda: plain(distinct, STEPS)
    )
    ratio = median(walls(ours)) / median(walls(theirs))
    return (
        f"{len(items)} predictions of {len(predicted)} systems: score {said(walls(ours))}; sqlite3 on {len(distinct)} "
        f"distinct statements {said(walls(theirs))}; ratio {ratio:.3f} (at most 0.25); of processor time, all "
        f"processes together, {median(used(ours)) / median(used(theirs)):.3f}"
    )


def distinct_statements(items: Iterable[Item]) -> list[Statement]:
    return sorted({(question.database, sql) for question, sql in items})


def part_good(turns: int, folder: Path) -> str:
    golds = read_gold(GOLD)
    good = [sqls for name, sqls in systems(golds).items() if not name.startswith(RUNAWAY)]
    items = items_of(golds, good)
    distinct = distinct_statements(items)
    databases = sorted({database for database, _ in distinct})[:WORKERS]
    trivial = [(GoldQuestion(database, "SELECT 1"), "SELECT 1") for database in databases]
    starts, ours, theirs = in_turn(
        turns, lambda: judged(trivial), lambda: judged(items), lambda: plain(distinct, STEPS)
    )
    rates = [len(items) / (took.wall - start.wall) for took, start in zip(ours, starts, strict=True)]
    workers = [took.processor - start.processor for took, start in zip(ours, starts, strict=True)]
    return (
        f"{len(items)} predictions of {len(good)} systems: {said(rates, 'a second')} (at least 12000), start-up of "
        f"{said(walls(starts))} left out; processor time of the workers {said(workers)}, of sqlite3 on {len(distinct)} "
        f"distinct statements {said(used(theirs))}; ratio {median(workers) / median(used(theirs)):.2f} (at most 1.5)"
    )


def judged(items: Sequence[Item]) -> Took:
    """Judges without a cache. The processor time is that of the workers."""
    before, begin = _children_time(), time.perf_counter()
    judge(items, Rules("spider", BUDGET, LIMITS), local(WORKERS))
    return Took(time.perf_counter() - begin, _children_time() - before)


def part_million(turns: int, folder: Path) -> str:
    golds = read_gold(GOLD)
    by_question = zip(golds, zip(*systems(golds).values(), strict=True), strict=True)
    real = [(gold, sqls) for gold, sqls in by_question if database_path(DATABASES, gold.db_id).is_file()]
    gold_file = folder / "gold.txt"
    gold_file.write_text("".join(f"{gold.sql}\t{gold.db_id}\n" for gold, _ in real), encoding="utf-8")
    counts = (250_000, 500_000, 1_000_000)
    took = []
    for count in counts:
        file = write_many([sqls for _, sqls in real], count, folder / "many.parquet")
        took.append(score(gold_file, file, folder, f"--budget={MILLION_STEPS}"))
    distinct = pl.read_parquet(file).select("index", "sql").n_unique()
    each = [1_000_000 * one.processor / count for one, count in zip(took, counts, strict=True)]
    return (
        f"{counts[-1]} candidates, {distinct} distinct: {', '.join(f'{one.wall:.0f}' for one in took)} s for 250, 500 "
        f"and 1000 thousand; processor time a candidate {', '.join(f'{one:.0f}' for one in each)} µs, ratio of the "
        f"last to the first {each[-1] / each[0]:.2f} (linear: 1); peak memory {took[-1].own_mb:.0f} MB (at most 2000), "
        f"of a worker {took[-1].child_mb:.0f} MB (at most 1000)"
    )


def write_many(real: Sequence[Sequence[str]], count: int, path: Path) -> Path:
    """So many candidates as Parquet: of each question its real ones over and over, every other one varied."""
    rows = []
    for sample in range(-(-count // len(real))):
        for index, sqls in enumerate(real):
            sql = sqls[sample // 2 % len(sqls)]
            if sample % 2:
                sql = varied(sql, sample // 2 % 4, sample * len(real) + index)
            rows.append((index, sample, sql))
    pl.DataFrame(rows[:count], schema=["index", "sample", "sql"], orient="row").write_parquet(path)
    return path


def varied(sql: str, kind: int, number: int) -> str:
    """Another text, of much the same work: another alias, another limit, other space, or other numbers."""
    if kind == 0:
        return f"SELECT * FROM ({sql.rstrip('; ')}) AS t{number}"
    if kind == 1:
        return f"SELECT * FROM ({sql.rstrip('; ')}) LIMIT {number}"
    if kind == 2:
        return sql.replace(" ", " " * (2 + number % 1000), 1)
    return _NUMBER.sub(str(number), sql)


def part_start(turns: int, folder: Path) -> str:
    golds = read_gold(GOLD)
    one, prediction = folder / "one.txt", folder / "prediction.txt"
    one.write_text(f"{golds[0].sql}\t{golds[0].db_id}\n", encoding="utf-8")
    prediction.write_text(f"{golds[0].sql} \n", encoding="utf-8")
    first, whole, bare = map(walls, in_turn(
        turns,
        lambda: score(one, prediction, folder),
        lambda: score(GOLD, PREDICTIONS / f"{ONE_SYSTEM}.txt", folder),
        lambda: ran([sys.executable, "-c", "import apsw, polars, sqlite3"]),
    ))  # fmt: skip
    return (
        f"score of one question {said(first)} (at most 1.5), of one system's {len(golds)} predictions {said(whole)} "
        f"(at most 3); Python that imports polars and apsw {said(bare)}; ratio of the first to the last "
        f"{median(first) / median(bare):.1f}"
    )


def part_official(turns: int, folder: Path) -> str:
    golds = read_gold(GOLD)
    file = PREDICTIONS / f"{ONE_SYSTEM}.txt"
    items = items_of(golds, [[sql for (sql,) in read_predictions(file, golds)]])
    ours, theirs = map(walls, in_turn(turns, lambda: score(GOLD, file, folder), lambda: _official_loop(items)))
    return (
        f"{len(items)} predictions of {ONE_SYSTEM}: score, start-up included, {said(ours)}; sqlite3 on gold and "
        f"prediction, a connection each, nothing compared {said(theirs)}; ratio {median(ours) / median(theirs):.2f}"
    )


def _official_loop(items: Sequence[Item]) -> Took:
    begin = time.perf_counter()
    for question, sql in items:
        for text in (question.gold_sql, sql):
            with closing(sqlite3.connect(question.database)) as connection:
                try:
                    connection.execute(text).fetchall()
                except (sqlite3.Error, sqlite3.Warning):
                    continue
    return Took(time.perf_counter() - begin)


PARTS: dict[str, Callable[[int, Path], str]] = {
    "all": part_all, "good": part_good, "million": part_million, "start": part_start, "official": part_official,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all of them)")
    parser.add_argument("--turns", type=int, default=3, help="how often each side is measured (3)")
    args = parser.parse_args()
    if wrong := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{', '.join(wrong)}: there is no such part; choose from {', '.join(PARTS)}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    for part in args.parts or PARTS:
        with TemporaryDirectory() as folder:
            print(f"{part}: {PARTS[part](args.turns, Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
