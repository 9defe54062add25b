"""What do counterexample databases find on Spider dev? `python -m tests.benchmarks.counterexamples [part …]`.

Needs the real predictions beside the repository (../shared/real). All parts use the contract `spider` and 8 mutants.

- `gaps`: of the systems whose EX and TS (test-suite accuracy, Zhong et al. 2020) the CodeS paper publishes (Li et al.
  2024, table 5): the share of questions whose match falls, beside the published gap of EX and TS.
- `sample`: 100 matches that fall, drawn by a seed over all systems and questions, to be read by a person: written to
  `reports/counterexamples/sample.jsonl`. What was read of it stands in `read.jsonl` beside it.
- `gold`: every gold of Spider train and dev as its own candidate: none may have a witness.
- `time`: `score` of all systems without counterexamples and with them, as whole processes, in turn.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from stages.cache.result_cache import Cache, default_folder
from stages.core.files import fingerprint, write_text
from stages.databases.paths import database_path
from stages.execution.judge import judge
from stages.execution.records import GoldQuestion, Rules
from stages.execution.worker_pool import local
from stages.mutation.findings import Question, Settings
from stages.mutation.witnesses import find_witnesses
from stages.predictions.gold_files import Gold, read_gold
from stages.score import SEED
from stages.sql.tokens import sql_tokens
from tests import ROOT
from tests.benchmarks.agreement import BUDGET, LIMITS
from tests.benchmarks.speed import (
    DATABASES,
    GOLD,
    WORKERS,
    in_turn,
    said,
    score,
    systems,
    walls,
    write_candidates,
)  # fmt: skip
from tests.real import REAL

MUTANTS = 8
RULES = Rules("spider", BUDGET, LIMITS)
SETTINGS = Settings("spider", SEED, MUTANTS, BUDGET.floor, LIMITS)
REPORTS = ROOT / "reports" / "counterexamples"
READ = 100
PUBLISHED = {
    "c3_chatgpt": (81.8, 71.4), "din_gpt4_few_shot": (76.8, 67.4), "dail_sql_gpt4_sc": (83.6, 76.2),
    "graphix_t5_3b_picard": (81.0, 75.0), "codes_3b": (83.4, 78.1), "codes_7b": (85.4, 80.3), "codes_15b": (84.9, 79.4),
}  # fmt: skip
"""EX and TS in per cent."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What all systems predicted that matches. `witnesses`: system and question to the witness, or None; `questions`:
    how many have a database."""

    golds: list[Gold]
    texts: dict[str, list[str]]
    witnesses: dict[tuple[str, int], dict[str, Any] | None]
    questions: int


def matches() -> Matches:
    """Judges all predictions, and searches a witness for those that match."""
    golds, cache = read_gold(GOLD), Cache(default_folder())
    texts = systems(golds)
    paths = [database_path(DATABASES, gold.db_id) for gold in golds]
    there = [index for index, path in enumerate(paths) if path.is_file()]
    keys = [(system, index) for system in texts for index in there]
    items = [(GoldQuestion(str(paths[index]), golds[index].sql), texts[system][index]) for system, index in keys]
    outcomes = dict(zip(keys, judge(items, RULES, local(WORKERS), cache), strict=True))
    right: dict[int, set[str]] = defaultdict(set)
    for (system, index), outcome in outcomes.items():
        if outcome.verdict == "match":
            right[index].add(texts[system][index])
    questions = [Question(str(paths[index]), golds[index].sql, tuple(sorted(right[index]))) for index in right]
    findings = find_witnesses(questions, SETTINGS, local(WORKERS), cache)
    witnesses = {
        (index, sql): finding.witness
        for index, question, each in zip(right, questions, findings, strict=True)
        for sql, finding in zip(question.candidates, each.candidates, strict=True)
    }
    by_system = {
        (system, index): witnesses[index, texts[system][index]]
        for (system, index), outcome in outcomes.items() if outcome.verdict == "match"
    }  # fmt: skip
    return Matches(golds, texts, by_system, len(there))


def gaps(judged: Matches) -> None:
    for system, (ex, ts) in PUBLISHED.items():
        falls = [witness is not None for (name, _), witness in judged.witnesses.items() if name == system]
        here, fell = 100 * len(falls) / judged.questions, 100 * sum(falls) / judged.questions
        share = f"{fell / (ex - ts):.0%} of the gap of {ex - ts:.1f}"
        print(f"{system:22} EX {here:.1f}, falls {fell:.1f}: {share} (published EX {ex}, TS {ts})")


def sample(judged: Matches) -> None:
    """Each prediction once, however many systems made it. The draw is by a hash: more falls change few of it."""
    questions = [entry["question"] for entry in json.loads(GOLD.read_text(encoding="utf-8"))]
    drawn: dict[tuple[int, tuple[str, ...]], dict[str, Any]] = {}
    fallen = [key for key, witness in judged.witnesses.items() if witness]
    keys = sorted(fallen, key=lambda key: fingerprint(SEED, *key))
    for system, index in keys:
        key = (index, sql_tokens(judged.texts[system][index]))
        if key not in drawn and len(drawn) < READ:
            drawn[key] = {
                "index": index, "system": system, "db_id": judged.golds[index].db_id, "question": questions[index],
                "gold": judged.golds[index].sql, "prediction": judged.texts[system][index],
                "witness": judged.witnesses[system, index],
            }  # fmt: skip
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn.values())
    write_text(REPORTS / "sample.jsonl", lines)
    print(f"{len(drawn)} of {len(keys)} falls ({len({index for _, index in keys})} questions) drawn")


def gold(files: Sequence[Path] = (GOLD, REAL / "spider" / "train_spider.json")) -> None:
    golds = [gold for file in files for gold in read_gold(file)]
    paths = {gold.db_id: database_path(DATABASES, gold.db_id) for gold in golds}
    questions = [
        Question(str(paths[gold.db_id]), gold.sql, (f"{gold.sql} /* so that it is executed */",))
        for gold in golds if paths[gold.db_id].is_file()
    ]  # fmt: skip
    for contract in ("spider", "strict"):
        settings = Settings(contract, SEED, MUTANTS, BUDGET.floor, LIMITS)
        findings = find_witnesses(questions, settings, local(WORKERS), Cache(default_folder()))
        kinds = Counter(each.candidates[0].kind for each in findings)
        neighbours, parted = sum(each.neighbours for each in findings), sum(each.parted for each in findings)
        print(f"{contract}: {len(questions)} golds as their own candidates: {dict(kinds)}")
        print(f"{contract}: {parted} of {neighbours} neighbours of the golds parted")


def time(turns: int = 3) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        predictions = write_candidates(list(systems(read_gold(GOLD)).values()), folder / "all.jsonl")
        plain, tried = in_turn(
            turns, lambda: score(GOLD, predictions, folder),
            lambda: score(GOLD, predictions, folder, f"--counterexamples={MUTANTS}"),
        )  # fmt: skip
    ratio = median(walls(tried)) / median(walls(plain))
    print(f"all: {said(walls(plain))}; with counterexamples {said(walls(tried))}; ratio {ratio:.1f} (at most 10)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("gaps", "sample", "gold", "time")
    parser.add_argument("parts", nargs="*", choices=(*parts, []), metavar="part")
    chosen = parser.parse_args().parts or parts
    judged = matches() if {"gaps", "sample"} & set(chosen) else None
    if judged and "gaps" in chosen:
        gaps(judged)
    if judged and "sample" in chosen:
        sample(judged)
    if "gold" in chosen:
        gold()
    if "time" in chosen:
        time()


if __name__ == "__main__":
    main()
