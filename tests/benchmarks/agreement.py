"""Do the `spider` and `bird` contracts give the labels that the benchmarks' own evaluators gave?

`python -m tests.benchmarks.agreement` judges every prediction in `shared/real` that has a label, and writes each
disagreement with its reason to `reports/agreement/<benchmark>.jsonl`, and the counts to `summary.json` beside them. A
reason is written down only where it was shown to hold; else it is `unexplained`:

- `no SQL statement`: the text is a comment or `;`. The official evaluator executes it, gets no rows, and finds them
  equal to the gold's, which has none either.
- `needs more than the budget`: with the budget lifted the query ends, and the verdict is the label.
- `another SQLite version`: executed by Python's own sqlite3 and compared by the same contract, the result gives the
  label. It rests on the SQLite of the machine, whose version is in the evidence and in the summary.

Not compared: `*.official_exec_plug`. That metric asks whether the prediction is right with any of the gold's values
put in the place of its own, which is another question.
"""

import argparse
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw

from stages.core.files import write_json, write_text
from stages.databases.paths import database_path
from stages.execution.comparison import CONTRACTS, Contract, Result
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Outcome, Rules
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import local, usable_cpus, worker_count
from stages.predictions.gold_files import read_gold
from stages.predictions.prediction_files import read_predictions
from stages.sql.text import spider_orders, spider_text, statements
from tests import ROOT
from tests.real import REAL

REPORTS = ROOT / "reports" / "agreement"
BUDGET = Budget(floor=20_000_000, factor=50)
LIMITS = Limits(wall_seconds=60, memory_mb=1024, max_rows=5_000_000, result_mb=400)
NO_SQL, MORE_STEPS, OTHER_SQLITE = "no SQL statement", "needs more than the budget", "another SQLite version"
UNEXPLAINED = "unexplained"
_LIFTED = Budget(floor=10**12, factor=1)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Where the labelled predictions of a benchmark lie, relative to `shared/real`. `labels`: the suffix of the files
    of labels, one a question: 1, 0, or `-` where the question's database is missing."""

    name: str
    contract: Contract
    gold: str
    predictions: str
    databases: str
    labels: str


BENCHMARKS = (
    Benchmark("spider_dev", "spider", "spider/dev.json", "predictions/spider_dev", "spider/database", ".official_exec"),
    Benchmark(
        "bird_superhero", "bird", "predictions/bird_superhero/gold_2023.sql", "predictions/bird_superhero",
        "bird/dev_databases", ".published_exec",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prediction with the official label: does it match?"""

    system: str
    index: int
    db_id: str
    official: bool
    item: Item


def labelled(benchmark: Benchmark, real: Path = REAL) -> list[Labelled]:
    """The labelled predictions of all systems whose question has a database, by system and question."""
    golds = read_gold(real / benchmark.gold)
    paths = [database_path(real / benchmark.databases, gold.db_id) for gold in golds]
    found = []
    for file in sorted((real / benchmark.predictions).glob(f"*{benchmark.labels}")):
        labels = file.read_text(encoding="utf-8").split()
        predictions = read_predictions(file.with_suffix(".txt"), golds)
        for index, (label, path, (sql,)) in enumerate(zip(labels, paths, predictions, strict=True)):
            if (label == "-") == path.is_file() or label not in "01-":
                raise ValueError(f"{file.name}, line {index + 1}: the label {label} does not fit {path.name}")
            if label != "-":
                question = GoldQuestion(str(path), golds[index].sql)
                found.append(Labelled(file.stem, index, golds[index].db_id, label == "1", (question, sql)))
    return found


def disagreements(benchmark: Benchmark, all_labelled: Sequence[Labelled], workers: int) -> list[dict[str, Any]]:
    """What the report says of each prediction that we judge otherwise than its label, by system and question."""
    rules = Rules(benchmark.contract, BUDGET, LIMITS)
    outcomes = judge([one.item for one in all_labelled], rules, local(workers), label=benchmark.name)
    return [
        _told(one, outcome, rules)
        for one, outcome in zip(all_labelled, outcomes, strict=True)
        if (outcome.verdict == "match") != one.official
    ]


def _told(one: Labelled, outcome: Outcome, rules: Rules) -> dict[str, Any]:
    reason, evidence = _reason(one, outcome, rules)
    return {
        "system": one.system, "index": one.index, "db_id": one.db_id, "official": int(one.official),
        "verdict": outcome.verdict, "reason": reason, "evidence": evidence, "sql": one.item[1],
    }  # fmt: skip


def _reason(one: Labelled, outcome: Outcome, rules: Rules) -> tuple[str, str]:
    """The reason why a verdict is not the label, and what shows it to be the reason."""
    question, sql = one.item
    there = Peer(rules.contract, question)
    if outcome.verdict == "no_sql" and not statements(sql) and there.label(sql) == one.official:
        gold, result = there.run(question.gold_sql), there.run(sql)
        if isinstance(gold, Result) and isinstance(result, Result) and not gold.rows and not result.rows:
            return NO_SQL, "the gold has no rows, and sqlite3 gives none for this text without a statement"
    if outcome.verdict == "over_budget":
        (lifted,) = judge([one.item], replace(rules, budget=_LIFTED), local(1))
        if lifted.verdict in ("match", "mismatch") and (lifted.verdict == "match") == one.official:
            return MORE_STEPS, f"with the budget lifted it ends after {lifted.steps} steps and is a {lifted.verdict}"
    elif sqlite3.sqlite_version != apsw.sqlite_lib_version() and there.label(sql) == one.official:
        ours = f"SQLite {apsw.sqlite_lib_version()} {'runs it' if outcome.error is None else outcome.error}"
        return OTHER_SQLITE, f"SQLite {sqlite3.sqlite_version} {_said(there.run(sql))}; {ours}"
    return UNEXPLAINED, outcome.error or f"{outcome.rows} rows"


def _said(result: Result | str) -> str:
    return f"says: {result}" if isinstance(result, str) else f"gives {len(result.rows)} rows"


@dataclass(frozen=True, slots=True)
class Peer:
    """A contract over results of Python's own sqlite3, each query run to its end, as the official evaluators do it."""

    contract: Contract
    question: GoldQuestion

    def label(self, sql: str) -> bool:
        """Whether the prediction matches; one that fails does not."""
        gold, result = self.run(self.question.gold_sql), self.run(sql)
        if isinstance(gold, str) or isinstance(result, str):
            return False
        return CONTRACTS[self.contract](gold, result, spider_orders(self.question.gold_sql))

    def run(self, sql: str) -> Result | str:
        """The result, or the error's message."""
        text = (spider_text(sql) or sql) if self.contract == "spider" else sql
        with closing(sqlite3.connect(f"file:{self.question.database}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda data: data.decode(errors="ignore")
            try:
                cursor = connection.execute(text)
                rows = cursor.fetchall()
            except (sqlite3.Error, sqlite3.Warning) as error:
                return str(error)
            return Result(len(cursor.description or ()), rows)


def summary_of(benchmark: Benchmark, all_labelled: Sequence[Labelled], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of one benchmark."""
    return {
        "contract": benchmark.contract,
        "systems": len({one.system for one in all_labelled}),
        "questions": len({one.index for one in all_labelled}),
        "labels": len(all_labelled),
        "agreeing": len(all_labelled) - len(found),
        "disagreements": dict(sorted(Counter(row["reason"] for row in found).items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=worker_count, default=usable_cpus(), help="number of processes")
    workers = parser.parse_args().workers
    counts: dict[str, Any] = {
        "sqlite": apsw.sqlite_lib_version(), "python_sqlite3": sqlite3.sqlite_version, "budget_floor": BUDGET.floor,
        "budget_factor": BUDGET.factor,
    }  # fmt: skip
    for benchmark in BENCHMARKS:
        all_labelled = labelled(benchmark)
        found = disagreements(benchmark, all_labelled, workers)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in found]
        write_text(REPORTS / f"{benchmark.name}.jsonl", "".join(lines))
        counts[benchmark.name] = summary_of(benchmark, all_labelled, found)
        print(benchmark.name, json.dumps(counts[benchmark.name]))
    write_json(REPORTS / "summary.json", counts)


if __name__ == "__main__":
    main()
