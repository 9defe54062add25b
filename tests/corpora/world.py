"""Small sources in the layouts of the benchmarks, written where a test wants them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

Row = dict[str, Any]


def make_database(path: Path, script: str = "CREATE TABLE singer(id INTEGER PRIMARY KEY, name TEXT)") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.execute(script)
    connection.close()
    return path


def write_json(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def spider_row(number: int, db_id: str = "music", **more: Any) -> Row:
    return {"db_id": db_id, "question": f"Question {number}?", "query": f"SELECT {number} FROM singer", **more}


def bird_row(number: int, db_id: str = "music", **more: Any) -> Row:
    return {
        "question_id": 900 + number, "db_id": db_id, "question": f"Question {number}?", "evidence": f"hint {number}",
        "SQL": f"SELECT {number} FROM singer", "difficulty": "simple", **more,
    }  # fmt: skip


def make_spider(raw: Path, train: int = 3, others: int = 2, dev: int = 2) -> Path:
    """`raw/spider`, its train questions with the parsed query in every second row."""
    folder = raw / "spider"
    rows = [spider_row(number) | ({"sql": {"select": [False, []]}} if number % 2 else {}) for number in range(train)]
    write_json(folder / "train_spider.json", rows)
    if others:
        write_json(folder / "train_others.json", [spider_row(100 + number) for number in range(others)])
    write_json(folder / "dev.json", [spider_row(200 + number, "zoo") for number in range(dev)])
    for db_id in ("music", "zoo"):
        make_database(folder / "database" / db_id / f"{db_id}.sqlite")
    return folder


def make_bird(raw: Path, dev: int = 3) -> Path:
    """`raw/bird`: dev as it is shipped, train in a folder of its own."""
    folder = raw / "bird"
    write_json(folder / "dev.json", [bird_row(number) for number in range(dev)])
    write_json(folder / "train" / "train.json", [
        {"db_id": "films", "question": "How many?", "evidence": "", "SQL": "SELECT count(*) FROM singer"},
    ])  # fmt: skip
    make_database(folder / "dev_databases" / "music" / "music.sqlite")
    make_database(folder / "train" / "train_databases" / "films" / "films.sqlite")
    return folder
