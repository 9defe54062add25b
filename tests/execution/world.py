"""A tiny database, tables about it, and params: what the tests of execution share."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from stages.core.receipts import write_receipt
from stages.core.tables import COLUMNS, write_table
from stages.execution.sandbox import Limits

LIMITS = Limits(wall_seconds=20, memory_mb=512, max_rows=20_000, result_mb=20)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
CROSS_JOIN = "SELECT * FROM singer a, singer b, singer c, singer d, singer e, singer f, singer g, singer h, singer i"


def counting(steps: int) -> str:
    """A query of about 16 steps for each of `steps`."""
    return f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {steps}) SELECT count(*) FROM n"


def make_database(folder: Path, db_id: str = "music") -> Path:
    """Singers of whom two have the same age, and albums of which one is of no singer."""
    path = folder / db_id / f"{db_id}.sqlite"
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript("""
        CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT);
        INSERT INTO singer VALUES (1, 'Ada', 30, 'Peru'), (2, 'Bea', 40, 'Peru'), (3, 'Cid', 40, 'Chad'),
                                  (4, 'Dan', 51, NULL);
        CREATE TABLE album (album_id INTEGER PRIMARY KEY, singer_id INTEGER, title TEXT);
        INSERT INTO album VALUES (1, 1, 'One'), (2, 1, 'Two'), (3, 2, 'Three'), (4, NULL, 'Four');
    """)
    connection.close()
    return path


def write_questions(folder: Path, golds: Sequence[str], db_ids: Sequence[str] = ("music",)) -> pl.DataFrame:
    """`questions.parquet` with a true receipt `questions.json`: one question for each gold, the databases in turn."""
    rows: list[dict[str, object]] = [
        {
            "question_id": f"demo/train/{number:04}", "source": "demo", "split": "train",
            "db_id": db_ids[number % len(db_ids)], "question": f"Which {number}?", "evidence": "", "gold_sql": gold,
            "difficulty": ("easy", "hard")[number % 2], "origin": "human",
        }
        for number, gold in enumerate(golds)
    ]  # fmt: skip
    return write_dataset(folder, "questions", rows)


def write_prompts(folder: Path) -> pl.DataFrame:
    """`prompts.parquet` with a true receipt: a prompt for each question of `questions.parquet`."""
    rows: list[dict[str, object]] = [
        {
            "question_id": question_id, "db_id": db_id, "prompt": f"singer(name)\nquestion: {question}\nsql:\n",
            "tokens": 9, "dropped_tables": "[]", "lost_tables": "[]",
        }
        for question_id, db_id, question in pl.read_parquet(folder / "questions.parquet")
        .select("question_id", "db_id", "question").iter_rows()
    ]  # fmt: skip
    return write_dataset(folder, "prompts", rows)


def write_candidates(folder: Path, samples: Sequence[tuple[int, str]]) -> pl.DataFrame:
    """`candidates.parquet` with a true receipt: (number of the question, SQL) each."""
    rows: list[dict[str, object]] = [
        {
            "candidate_id": f"{index:016x}", "question_id": f"demo/train/{number:04}", "sample": index,
            "completion": sql, "sql": sql, "model": "weak", "model_version": "0", "prompt_sha256": "0" * 64,
            "temperature": 1.0, "top_p": 1.0, "max_tokens": 64, "seed": 0, "finish_reason": "stop", "tokens": 1,
            "logprob": -1.0,
        }
        for index, (number, sql) in enumerate(samples)
    ]  # fmt: skip
    return write_dataset(folder, "candidates", rows)


def write_dataset(folder: Path, dataset: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=COLUMNS[dataset])
    write_table(frame, folder / f"{dataset}.parquet", dataset)
    accept(folder, dataset)
    return frame


def accept(folder: Path, dataset: str) -> None:
    """A receipt that says the dataset holds to its contract."""
    table = folder / f"{dataset}.parquet"
    write_receipt(folder / f"{dataset}.json", dataset, len(pl.read_parquet(table)), True, table)
