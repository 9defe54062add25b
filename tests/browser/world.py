"""Made-up data of every kind for the explorer, in the shapes of the report's data, and a page to show it.

`python -m tests.browser.world FOLDER` writes `small.html` (every verdict, flag and hostile text) and `large.html` (as
many rows as the demo has) into it, to be opened by hand.
"""

import base64
import gzip
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.datasets.verdicts import GOLD_FLAGS, VERDICTS
from stages.pages.html import render_page

Row = dict[str, Any]
Tables = dict[str, dict[str, Any]]

REPORTING = Path(__file__).parents[2] / "stages/reporting"
PARTS = {"style": "explorer.css", "shell": "explorer.html", "script": "explorer.js"}
MODELS = ("sft/weak", "sft/strong", "dpo")
META: Row = {
    "served": False,
    "contract": "strict",
    "candidate_model": "weak",
    "models": list(MODELS),
    "preview_rows": 5,
}
HOSTILE = (
    "<script>window.__pwned = 1; alert(1)</script>",
    "</script><script>window.__pwned = 2</script>",
    '"><img src=x onerror="window.__pwned = 3">',
    "javascript:window.__pwned=4",
    "line\u2028end\u2029s",
    "abc\u202etxt.exe\u2066 \x1b[31m\x00",
    "all: "
    + "".join(map(chr, (*range(1, 9), *range(11, 32), *range(127, 160), 0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F)))
    + "".join(map(chr, (*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0xFFF9, 0xFFFB, 0xE0001, 0xE007F)))
    + " end",
    "<!--<script>",
    "__proto__",
    "&lt;b&gt; {{ 7 * 7 }} ' \" ` \\ %00",
)
CODED = {
    "split",
    "source",
    "database",
    "difficulty",
    "flags",
    "gold_verdict",
    "verdict",
    "strict",
    "spider",
    "bird",
    "error_class",
    "model",
    "finish_reason",
    "witness_class",
    "rejected_verdict",
    "evidence",
    "completion",
    "gold_error",
    "gold_findings",
    "error",
    "witness",
    "missing",
    "extra",
    "note",
}


def page_with(meta: Row, tables: Tables) -> str:
    """The page with the explorer over these tables, and a short report before it."""
    packed = gzip.compress(json.dumps(tables, ensure_ascii=False).encode(), mtime=0)
    parts = {name: Markup((REPORTING / file).read_text(encoding="utf-8")) for name, file in PARTS.items()}
    values = {"meta": Markup(_script_json(meta)), "tables": base64.b64encode(packed).decode(), **parts}
    return render_page(Path(__file__).with_name("page.html"), values, served=meta["served"])


def _script_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "".join(f"\\u{ord(char):04x}" if char in "<>&\u2028\u2029" else char for char in text)


def table(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """Columns of the rows, those of CODED as a dictionary."""
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {
        "rows": len(rows),
        "columns": {name: _coded(values) if name in CODED else values for name, values in columns.items()},
    }


def _coded(values: list[Any]) -> Row:
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    codes = {value: code for code, value in enumerate(distinct)}
    return {"values": distinct, "codes": [-1 if value is None else codes[value] for value in values]}


COLUMNS = {
    "databases": "db_id ddl",
    "questions": "question_id split source database question evidence difficulty gold_sql flags gold_verdict "
    "gold_error gold_steps gold_rows gold_preview gold_findings",
    "outcomes": "question sql verdict strict spider bird error_class error steps rows preview witness_class witness",
    "candidates": "question sample outcome logprob tokens finish_reason completion",
    "answers": "question model sample outcome logprob tokens completion",
    "pairs": "question pair_id chosen rejected chosen_outcome rejected_outcome rejected_verdict similarity witness",
    "previews": "columns rows total missing extra note",
}


def tables_of(rows: dict[str, list[Row]]) -> Tables:
    return {name: table(rows[name], names.split()) for name, names in COLUMNS.items()}


def small(served: bool = False) -> tuple[Row, Tables]:
    """About 240 questions: every verdict, flag, null and length; each hostile text in every field of one question."""
    rows: dict[str, list[Row]] = {name: [] for name in COLUMNS}
    draw = random.Random(1)
    for number in range(3):
        name = ("concert_hall", "world_1", "a_database_with_a_very_long_name_that_does_not_fit_on_a_telephone")[number]
        rows["databases"].append(
            {
                "db_id": name,
                "ddl": f"CREATE TABLE singer_{number} (\n  id INTEGER PRIMARY KEY,\n  name TEXT NOT NULL\n);",
            }
        )
    for number in range(230):
        _ordinary(rows, number, draw)
    for text in HOSTILE:
        _hostile(rows, text)
    _unlike_texts(rows)
    rows["questions"].append({"question_id": "zz/bare", "database": 0, "gold_verdict": "ok"})  # all else is null
    models = [*MODELS, HOSTILE[0]]
    return {**META, "served": served, "questions": len(rows["questions"]), "models": models}, tables_of(rows)


def _ordinary(rows: dict[str, list[Row]], number: int, draw: random.Random) -> None:
    question, condition = len(rows["questions"]), f"age > {number}"
    flags: list[str] = [GOLD_FLAGS[number % len(GOLD_FLAGS)]] if number % 7 == 0 else []
    if number % 3 == 0:
        flags.append("pair")
    failed = number % 50 == 49
    gold = f"SELECT name, count(*) FROM singer WHERE {condition} GROUP BY name ORDER BY count(*) DESC"
    rows["previews"].append(
        {"columns": 2, "total": 9, "rows": json.dumps([[f"'singer {n}'", str(n)] for n in range(5)])}
    )
    rows["questions"].append(
        {
            "question_id": f"demo/{number:04}",
            "split": ("train", "dev", "test")[number % 3],
            "source": ("demo", "spider")[number % 2],
            "database": number % 3,
            "question": f"How many singers of each name are older than {number}?"
            + " Please leave nobody out." * (number % 5) ** 2,
            "evidence": "older refers to age" if number % 4 == 0 else None,
            "difficulty": ("easy", "medium", "hard", "extra")[number % 4],
            "gold_sql": gold,
            "flags": ",".join(flags),
            "gold_verdict": "exec_error" if failed else "ok",
            "gold_error": "no such column: age" if failed else None,
            "gold_steps": 12345,
            "gold_rows": 9,
            "gold_preview": None if failed else len(rows["previews"]) - 1,
            "gold_findings": json.dumps(
                {flag: f"{flag}: what was seen, in a sentence." for flag in flags if flag != "pair"}
            )
            if flags
            else None,
        }
    )
    first = len(rows["outcomes"])
    for place in range(1 + number % 5):
        _outcome(rows, question, gold, VERDICTS[(number + place) % len(VERDICTS)], place)
    outcomes = range(first, len(rows["outcomes"]))
    for sample in range(8 if number % 3 == 0 else 0):
        rows["candidates"].append(
            {
                "question": question,
                "sample": sample,
                "outcome": draw.choice(outcomes),
                "logprob": -draw.random() * 9,
                "tokens": 24,
                "finish_reason": "length" if sample == 7 else "stop",
                "completion": "```sql\nSELECT 1\n```" if sample == 3 else None,
            }
        )
    for model in MODELS:
        for answer_sample in (None, 1, 2) if number % 3 else ():
            rows["answers"].append(
                {
                    "question": question,
                    "model": model,
                    "sample": answer_sample,
                    "outcome": draw.choice(outcomes),
                    "logprob": None,
                    "tokens": 20,
                }
            )
    if "pair" in flags:
        rows["pairs"].append(
            {
                "question": question,
                "pair_id": f"pair-{number}",
                "chosen": gold,
                "rejected": rows["outcomes"][first]["sql"],
                "chosen_outcome": None,
                "rejected_outcome": first,
                "rejected_verdict": rows["outcomes"][first]["verdict"],
                "similarity": 0.8125,
            }
        )


def _outcome(rows: dict[str, list[Row]], question: int, gold: str, verdict: str, place: int) -> None:
    sql = gold.replace("DESC", f"ASC LIMIT {place}") + (" /* a long comment */" * 40 if place == 3 else "")
    outcome: Row = {
        "question": question,
        "sql": sql,
        "verdict": verdict,
        "strict": verdict,
        "spider": verdict,
        "bird": verdict,
        "steps": 4321,
    }
    if verdict == "no_sql":
        outcome |= {"sql": None, "steps": None}
    if verdict == "exec_error":
        outcome |= {"error_class": "no_such_column", "error": "no such column: singer.nmae"}
    if verdict in ("match", "mismatch"):
        wrong = verdict == "mismatch"
        shown = [[f"'singer {n}'", "NULL" if wrong and n == 2 else str(n)] for n in range(5)]
        rows["previews"].append(
            {
                "columns": 2,
                "rows": json.dumps(shown),
                "total": 9,
                "missing": json.dumps(shown[4]) if not wrong else json.dumps(["'singer 2'", "2"]),
                "extra": json.dumps(["'singer 2'", "NULL"] if place % 2 else ["'far away'", "77"]),
                "note": "the same rows in another order" if place == 4 else None,
            }
            if wrong
            else {"columns": 2, "rows": json.dumps(shown), "total": 9}
        )
        outcome |= {"preview": len(rows["previews"]) - 1, "rows": 9}
    if verdict == "match":
        witness = {
            "mutant": 3,
            "changes": ["singer: 3 of 10 rows left", "age 30 → 31"],
            "gold": "('Ann', 1)",
            "candidate": "(no row)",
            "gold_rows": 2,
            "candidate_rows": 1,
        }
        outcome |= {
            "bird": "mismatch",
            "witness_class": ("rows", "survived")[place % 2],
            "witness": None if place % 2 else json.dumps(witness),
        }
    rows["outcomes"].append(outcome)


def _hostile(rows: dict[str, list[Row]], text: str) -> None:
    """A question with `text` in every field that is text."""
    question, outcome, preview = (len(rows[name]) for name in ("questions", "outcomes", "previews"))
    witness = json.dumps(
        {"mutant": 1, "changes": [text], "gold": text, "candidate": text, "gold_rows": 1, "candidate_rows": 0}
    )
    cells = json.dumps([[text, text]])
    rows["databases"].append({"db_id": text, "ddl": text})
    rows["previews"] += [
        {"columns": 2, "rows": cells, "total": 1, "missing": None, "extra": None, "note": text},
        {
            "columns": 2,
            "rows": cells,
            "total": 1,
            "missing": json.dumps([text, "1"]),
            "extra": json.dumps([text, text]),
            "note": text,
        },
    ]
    rows["questions"].append(
        {
            "question_id": f"hostile/{len(rows['databases']):02}/{text}",
            "split": text,
            "source": text,
            "database": len(rows["databases"]) - 1,
            "question": text,
            "evidence": text,
            "difficulty": text,
            "gold_sql": text,
            "flags": text,
            "gold_verdict": text,
            "gold_error": text,
            "gold_steps": 1,
            "gold_rows": 1,
            "gold_preview": preview,
            "gold_findings": json.dumps({text: text}),
        }
    )
    for sql in (text, text + text):
        rows["outcomes"].append(
            {
                "question": question,
                "sql": sql,
                "verdict": text if sql == text else "mismatch",
                "strict": text + ".",
                "spider": text,
                "bird": text,
                "error_class": text,
                "error": text,
                "steps": 1,
                "rows": 1,
                "preview": preview + 1,
                "witness_class": text,
                "witness": witness,
            }
        )
    rows["candidates"].append(
        {
            "question": question,
            "sample": 0,
            "outcome": outcome,
            "logprob": -1.0,
            "tokens": 3,
            "finish_reason": text,
            "completion": text,
        }
    )
    for model, of_model in ((MODELS[2], outcome), (HOSTILE[0], outcome + 1)):
        rows["answers"].append(
            {
                "question": question,
                "model": model,
                "sample": None,
                "outcome": of_model,
                "logprob": -1.0,
                "tokens": 3,
                "completion": text,
            }
        )
    rows["pairs"].append(
        {
            "question": question,
            "pair_id": text,
            "chosen": text,
            "rejected": text + " x",
            "chosen_outcome": outcome,
            "rejected_outcome": outcome,
            "rejected_verdict": text,
            "similarity": 0.5,
            "witness": witness,
        }
    )


def _unlike_texts(rows: dict[str, list[Row]]) -> None:
    """A pair of two texts of 5,000 tokens without a common one."""
    texts = {side: " ".join(f"{side}_{number}" for number in range(5_000)) for side in ("chosen", "rejected")}
    rows["pairs"].append(
        {
            "question": len(rows["questions"]),
            "pair_id": "unlike",
            **texts,
            "rejected_verdict": "mismatch",
            "similarity": 0.0,
        }
    )
    rows["questions"].append(
        {"question_id": "long/unlike", "database": 0, "gold_verdict": "ok", "question": "long", "flags": "pair"}
    )


def large() -> tuple[Row, Tables]:
    """22,168 questions, 56,000 candidates, 60,000 answers: the demo's size."""
    rows: dict[str, list[Row]] = {name: [] for name in COLUMNS}
    draw = random.Random(2)
    rows["databases"] = [{"db_id": f"database_{number}", "ddl": "CREATE TABLE t (a, b);"} for number in range(160)]
    for number in range(22_168):
        train = number < 18_168
        gold = f"SELECT c{number % 97}, count(*) FROM t{number % 160} WHERE c{number % 89} > {number} GROUP BY 1"
        rows["questions"].append(
            {
                "question_id": f"demo/{number:05}",
                "split": "train" if train else "dev",
                "source": "demo",
                "database": number % 160,
                "question": f"How many of kind {number % 97} have a value above {number}, of each name?",
                "evidence": None,
                "difficulty": ("easy", "medium", "hard", "extra")[number % 4],
                "gold_sql": gold,
                "flags": "limit_tie,pair" if number % 11 == 0 else "",
                "gold_verdict": "ok",
                "gold_steps": draw.randrange(9999),
                "gold_rows": 3,
            }
        )
        first = len(rows["outcomes"])
        for place in range(3):
            verdict = draw.choice(VERDICTS[:3])
            rows["outcomes"].append(
                {
                    "question": number,
                    "sql": f"{gold} LIMIT {place}",
                    "verdict": verdict,
                    "strict": verdict,
                    "steps": draw.randrange(9999),
                }
            )
        outcomes = range(first, first + 3)
        if number < 7_000:
            rows["candidates"] += [_sample(number, sample, draw.choice(outcomes), draw) for sample in range(8)]
        if not train:
            rows["answers"] += [
                {**_sample(number, None, draw.choice(outcomes), draw), "model": model} for model in MODELS
            ]
            rows["answers"] += [
                {**_sample(number, sample, draw.choice(outcomes), draw), "model": model}
                for model in MODELS
                for sample in range(4)
            ]
    return {**META, "questions": 22_168}, tables_of(rows)


def _sample(question: int, sample: int | None, outcome: int, draw: random.Random) -> Row:
    return {
        "question": question,
        "sample": sample,
        "outcome": outcome,
        "logprob": round(-9 * draw.random(), 4),
        "tokens": 24,
        "finish_reason": "stop",
    }


def main() -> None:
    folder = Path(sys.argv[1])
    for name, world in (("small", small()), ("large", large())):
        (folder / f"{name}.html").write_text(page_with(*world), encoding="utf-8")


if __name__ == "__main__":
    main()
