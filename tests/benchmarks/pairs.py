"""How fast are pairs made of candidates? `python -m tests.benchmarks.pairs [candidates]` prints a line a size.

Candidates like the demo's, a quarter of them and all: eight samples a question, a quarter of them right, seven of ten
texts distinct. Timed is what makes the table of pairs of tables in memory, in a process of its own, without reading
and writing; beside it, up to a million candidates, the loops over rows that it was before (tests/pairing/reference.py),
in the same run. The peak memory is that of the whole process, tables included. Then the stage as its user runs it,
reading and writing included.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.receipts import open_dataset, write_receipt
from stages.core.tables import write_dataset
from stages.datasets.candidates import CANDIDATES
from stages.datasets.catalog import DATASETS
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.pairing.rows import RESULT_COLUMNS, SAMPLE_COLUMNS, candidate_rows, with_witnesses
from stages.pairing.view import make_pairs
from stages.pairs import PairsParams, settings_of
from tests import ROOT
from tests.benchmarks.pairs_tables import tables
from tests.benchmarks.speed import ran
from tests.pairing import reference
from tests.workplace import write_params

MOST_IN_LOOPS = 1_000_000
PARAMS: dict[str, Any] = {
    "preset": None, "seed": 7, "drop_flags": ["limit_tie"], "dedup": True, "keep_gold": False, "neg_filter": "all",
    "neg_limit": 1, "pos_limit": None, "counterexamples": 0,
}  # fmt: skip


def write_tables(candidates: int, neg_order: str) -> None:
    """Datasets, receipts and params.yaml in the working directory."""
    write_params(pairs=PARAMS | {"neg_order": neg_order})
    for name, frame in tables(candidates).items():
        dataset = DATASETS.get(name, COUNTEREXAMPLES)
        write_dataset(frame, dataset)
        write_receipt(dataset, frame.height, True)


def measure(side: str, neg_order: str) -> dict[str, float]:
    """Makes the pairs of the tables in the working directory: seconds, processor seconds and pairs."""
    questions = open_dataset(QUESTIONS, ("question_id", "db_id", "gold_sql"))
    questions = questions.hstack(open_dataset(GOLD, ("verdict", "flags")))
    questions = questions.hstack(open_dataset(PROMPTS, ("prompt", "lost_tables")))
    counterexamples = open_dataset(COUNTEREXAMPLES)
    candidates, results = open_dataset(CANDIDATES, SAMPLE_COLUMNS), open_dataset(EXEC_RESULTS, RESULT_COLUMNS)
    params = PairsParams.model_validate(PARAMS | {"neg_order": neg_order})
    begin, processor = time.perf_counter(), time.process_time()
    if side == "view":
        rows = with_witnesses(candidate_rows(questions, candidates, results), counterexamples)
        del candidates, results
        table, _ = make_pairs(rows, questions, settings_of(params))
    else:
        table = reference.pair_rows(reference.make_pairs(questions, candidates, results, params)[0], questions)
    return {
        "seconds": time.perf_counter() - begin, "processor": time.process_time() - processor, "pairs": table.height,
        "peak_mb": int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000,
    }  # fmt: skip


def measured(side: str, neg_order: str) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.pairs", "--measure", side, "--neg-order", neg_order]
    output = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    return dict(json.loads(output))


def line(candidates: int, neg_order: str) -> str:
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        subprocess.run([sys.executable, "-m", "tests.benchmarks.pairs", "--write", str(candidates), "--neg-order",
                        neg_order], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        view = measured("view", neg_order)
        text = (
            f"{candidates:,} candidates, {view['pairs']:,} pairs, {neg_order}: {view['seconds']:.2f} s "
            f"({view['processor']:.2f} s of the processor), {1e6 * view['seconds'] / candidates:.2f} µs a candidate, "
            f"{view['peak_mb']:.0f} MB"
        )
        if neg_order == "random" and candidates <= MOST_IN_LOOPS:
            loops = measured("loops", neg_order)
            text += f"; loops over rows {loops['seconds']:.1f} s, ratio {view['seconds'] / loops['seconds']:.3f}"
        stage = ran([sys.executable, "-m", "stages.pairs"], Path(folder))
        os.chdir(ROOT)
    return f"{text}; the stage, reading and writing included, {stage.wall:.1f} s, {stage.own_mb:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="?", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--neg-order", default="random", help="random (default), nearest or frequent")
    parser.add_argument("--measure", choices=["view", "loops"], help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_tables(args.write, args.neg_order)
    elif args.measure:
        print(json.dumps(measure(args.measure, args.neg_order)))
    else:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
        for candidates in (args.candidates // 4, args.candidates):
            print(line(candidates, args.neg_order), flush=True)


if __name__ == "__main__":
    main()
