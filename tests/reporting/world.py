"""A working directory as stage `report` finds it: small datasets and their receipts, databases, answers, reports."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.files import write_json
from stages.core.layout import DATABASES, SYNTHETIC_DATABASES, evaluation_file
from stages.core.receipts import write_receipt
from stages.core.tables import write_dataset
from stages.databases.paths import database_path
from stages.datasets.answers import ANSWERS, answers_of
from stages.execution.worker_pool import local
from stages.reporting.metrics import MODELS
from stages.reporting.records import Datasets, Tables, explorer_tables
from stages.reporting.sources import open_all
from tests import ROOT
from tests.execution.world import LIMITS
from tests.workplace import EXECUTION, put_rows

TEST_SET = "demo-dev"
GOLD_SQL = "SELECT name FROM singer ORDER BY name"
SAMPLES = [
    (GOLD_SQL, "match"),
    ("select name from singer order by name", "match"),
    ("SELECT name FROM singer ORDER BY name DESC", "mismatch"),
    ("SELECT name FROM singer WHERE age > 20", "mismatch"),
    ("SELECT nam FROM singer", "exec_error"),
    ("SELECT name FROM singer WHERE age > 20", "mismatch"),
]
"""The candidates of the train question; two have the same SQL."""
FIGURES = {
    "questions": 1,
    "ex": 0.5,
    "ex_low": 0.4,
    "ex_high": 0.6,
    "ex_difficulty": {"easy": 0.5},
    "verdicts": {"match": 1, "mismatch": 1},
    "sampled_questions": 2, "pass_at": {"1": 0.5, "2": 0.6},
    "maj_at": {"1": 0.5, "2": 0.5},
}


def write_database(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "CREATE TABLE singer (name TEXT, age INTEGER);"
            "INSERT INTO singer VALUES ('Ann', 30), ('Bob', 20), ('Cid', 40);"
        )


def question(number: int, split: str, **changed: Any) -> dict[str, Any]:
    return {
        "question_id": f"demo/{split}/{number:04}",
        "source": "demo",
        "split": split,
        "db_id": "music",
        "question": "Which singers?",
        "evidence": "",
        "gold_sql": GOLD_SQL,
        "other_golds": "",
        "difficulty": "easy",
        "origin": "human",
    } | changed


def answer(model: str, sample: int | None, sql: str, verdict: str) -> dict[str, Any]:
    return {
        "answer_id": f"{model}/{sample}",
        "model": model,
        "test_set": TEST_SET,
        "question_id": "demo/dev/0000",
        "sample": sample,
        "completion": sql,
        "sql": sql,
        "verdict_strict": verdict,
        "verdict_spider": verdict,
        "verdict_bird": verdict,
        "steps": 9,
        "rows": 3,
        "logprob": -0.126,
        "tokens": 7,
    }


def write_world(text: str = "plain") -> None:
    """Writes all that the stage reads. `text` stands in every text that a model or a corpus may choose."""
    for folder in (DATABASES, SYNTHETIC_DATABASES):
        write_database(database_path(folder, "music" if folder == DATABASES else "strong_bakery"))
    put_rows("questions", [question(0, "dev"), question(0, "train", question=f"Which singers? {text}", evidence=text)])
    put_rows(
        "gold",
        [
            {
                "question_id": f"demo/{split}/0000",
                "verdict": "ok",
                "steps": 9,
                "rows": 3,
                "columns": 1,
                "digest": "d",
                "flags": "limit_tie" if split == "dev" else "",
                "findings": '{"limit_tie": "a tie"}' if split == "dev" else "{}",
            }
            for split in ("dev", "train")
        ],
    )
    put_rows(
        "synthetic",
        [
            {
                "item_id": f"strong/{number}",
                "domain": "bakery",
                "db_id": "strong_bakery",
                "question": text,
                "evidence": "",
                "gold_sql": "SELECT count(*) FROM singer",
                "difficulty": "easy",
                "concept": "count",
                "model": "m",
                "model_version": "1",
                "refusal": refusal,
                "checks": "",
                "votes": 1,
                "repairs": 0,
            }
            for number, refusal in enumerate([None, "outvoted"])
        ],
    )
    put_rows("prompts", [])
    put_rows("sft", [])
    samples = [
        {
            "candidate_id": f"{number:016x}",
            "question_id": "demo/train/0000",
            "sample": number,
            "completion": f"{sql}\n{text}",
            "sql": sql,
            "model": "weak",
            "model_version": "f" * 64,
            "prompt_sha256": "0" * 64,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 80,
            "seed": 3,
            "finish_reason": "stop",
            "tokens": 9,
            "logprob": -1.234,
            "db_sha256": "d" * 64,
            "verdict": verdict,
            "steps": 20,
            "rows": 3,
            "digest": "d",
            "contract": "strict",
            "sqlite_version": "3.54.1",
            "error": f"no such column: {text}" if verdict == "exec_error" else None,
            "error_class": "no_such_column" if verdict == "exec_error" else None,
        }
        for number, (sql, verdict) in enumerate(SAMPLES)
    ]
    put_rows("candidates", samples)
    put_rows("exec_results", samples)
    put_rows(
        "counterexamples",
        [
            {
                "candidate_id": f"{number:016x}",
                "question_id": "demo/train/0000",
                "class": "rows" if number else "survived",
                "mutants_tried": 8,
                "mutants_void": 0,
                "witness_number": number or None,
                "witness": f'{{"mutant": 1, "changes": ["{number}"]}}' if number else None,
            }
            for number in (0, 1)
        ],
    )
    put_rows(
        "pairs",
        [
            {
                "pair_id": "p",
                "question_id": "demo/train/0000",
                "db_id": "music",
                "prompt": text,
                "chosen": GOLD_SQL,
                "rejected": SAMPLES[3][0],
                "chosen_id": f"{0:016x}",
                "rejected_id": f"{3:016x}",
                "rejected_verdict": "mismatch",
                "similarity": 0.61,
            }
        ],
    )
    for model in MODELS:
        sql, verdict = (GOLD_SQL, "match") if model == "dpo" else (SAMPLES[2][0], "mismatch")
        rows = [answer(model, sample, sql, verdict) for sample in (None, 0)]
        frame = pl.DataFrame(
            [{name: row.get(name) for name in ANSWERS.columns} for row in rows], schema=ANSWERS.columns
        )
        dataset = answers_of(model, TEST_SET)
        write_dataset(frame, dataset, dataset.file)
        write_receipt(dataset, frame.height, True)
        write_json(evaluation_file(model, TEST_SET), FIGURES)
    write_reports()


def write_reports() -> None:
    """Copies from the repository's reports what this world does not write itself."""
    for name in ("synthesize", "gold", "candidates", "exec_results", "counterexamples", "pairs", "train_dpo", "times"):
        shutil.copy(ROOT / f"reports/{name}.json", f"reports/{name}.json")
    for name in ("train_sft", "train_dpo"):
        shutil.copytree(ROOT / "reports" / name, Path("reports") / name, dirs_exist_ok=True)


PARAMS: dict[str, Any] = {
    "test_sets": [TEST_SET],
    "execution": EXECUTION,
    "evaluate": {"seed": 5, "resamples": 100, "contract": "strict"},
}


def datasets() -> Datasets:
    return open_all(MODELS, [TEST_SET])


def tables_of(data: Datasets) -> Tables:
    return explorer_tables(data, "strict", LIMITS, local(1), Cache(Path("cache")))
