"""How fast is the server of the report? `python -m tests.benchmarks.report [candidates]` prints a line a filter.

Candidates like the demo's, eight a question. Each line has the median of five lists with their facets, and how many
times as long a scan of the Parquet files takes that only counts the same questions, in the same run. Then one question
with all that is known of it, less its previews, and the peak memory of the process that serves.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from stages.core.receipts import write_receipt
from stages.core.tables import write_dataset
from stages.datasets.catalog import DATASETS
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.questions import QUESTIONS
from stages.reporting.question_index import QuestionIndex, read_filters
from stages.reporting.sources import open_for_server, rows_of_question, served_files
from tests.benchmarks.pairs_tables import tables

QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"verdict": "mismatch"},
    {"model": "candidates", "verdict": "exec_error"},
    {"text": "singer 12"},
    {"difficulty": "easy", "verdict": "match", "text": "which"},
)
RUNS = 5


def write_tables(candidates: int) -> None:
    """Datasets and receipts in the working directory; those that have no part in it are empty."""
    frames = tables(candidates)
    for name, dataset in DATASETS.items():
        frame = frames.get(name, pl.DataFrame(schema=dataset.columns))
        write_dataset(frame, dataset)
        write_receipt(dataset, frame.height, True)


def median_of(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def scanned(query: dict[str, str]) -> int:
    """The number of questions that the filters leave, by a scan of the files."""
    questions, results = pl.scan_parquet(QUESTIONS.file), pl.scan_parquet(EXEC_RESULTS.file)
    for word in query.get("text", "").lower().split():
        texts = pl.concat_str("question_id", "question", "gold_sql", separator="\n").str.to_lowercase()
        questions = questions.filter(texts.str.contains(word, literal=True))
    if "difficulty" in query:
        questions = questions.filter(pl.col("difficulty") == query["difficulty"])
    if "verdict" in query:
        results = results.filter(pl.col("verdict") == query["verdict"])
        questions = questions.join(results, on="question_id", how="semi")
    return int(questions.select(pl.len()).collect().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidates", type=int, nargs="?", default=1_000_000)
    count = parser.parse_args().candidates
    with TemporaryDirectory() as folder, chdir(folder):
        Path("data").mkdir()
        writer = multiprocessing.get_context("spawn").Process(target=write_tables, args=(count,))
        writer.start()
        writer.join()
        begin = time.perf_counter()
        opened, files = open_for_server((), ()), served_files()
        index = QuestionIndex(opened, "strict")
        seconds = time.perf_counter() - begin
        print(f"{count:,} candidates of {index.questions.height:,} questions, opened in {seconds:.1f} s")
        for query in QUERIES:
            filters = read_filters(query)
            total = index.page(filters, 0, 50)["total"]
            assert total == scanned(query)
            served, scan = median_of(partial(index.page, filters, 0, 50)), median_of(partial(scanned, query))
            print(f"{query}: {total:,} questions, {1000 * served:.0f} ms, a scan {scan / served:.1f} times that")
        question_id = str(index.questions["question_id"][index.questions.height // 2])
        print(f"one question: {1000 * median_of(lambda: rows_of_question(question_id, opened, files)):.0f} ms")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
