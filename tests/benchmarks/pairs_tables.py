"""Tables of any number of candidates, like the demo's: eight samples a question, of which half or fewer are right."""

import numpy as np
import polars as pl

from stages.datasets.catalog import DATASETS
from stages.datasets.counterexamples import COUNTEREXAMPLES

SAMPLES = 8
_FORMS = (
    "SELECT {1}_{0}, count(*) FROM {2}_{0} WHERE {3} > {4} GROUP BY {1}_{0}",
    "SELECT T1.{1} FROM {2}_{0} AS T1 JOIN {3}_{0} AS T2 ON T1.id = T2.{2}_id WHERE T2.name = 'Name {4}' "
    "ORDER BY T1.{1} DESC",
    "SELECT {1} FROM {2}_{0} WHERE id NOT IN (SELECT {2}_id FROM {3}_{0} WHERE year < {4}) AND city = 'City {4}'",
    "SELECT avg({1}), max({1}) FROM {2}_{0} WHERE {3} BETWEEN {4} AND 2{4}",
    "SELECT {1}, {3} FROM {2}_{0} ORDER BY {1} + {4} DESC LIMIT 3",
)  # fmt: skip
_WORDS = ("name", "age", "city", "year", "price", "singer", "album", "concert", "stadium", "country")


def _texts(number: pl.Expr, variant: pl.Expr) -> pl.Expr:
    """A query about the question `number`; another `variant`, another query."""
    words = pl.Series(_WORDS)

    def word(shift: int, step: pl.Expr) -> pl.Expr:
        return (number * 7 + shift * 3 + step) % len(_WORDS)

    def named(index: pl.Expr) -> pl.Expr:
        return index.replace_strict(range(len(_WORDS)), words, return_dtype=pl.String)

    literal = (number * 13 % 977 + (variant % 3 == 2).cast(pl.Int64) * variant).cast(pl.String)
    fields = [
        (number % 5000).cast(pl.String), named(word(0, (variant % 3 == 0).cast(pl.Int64) * variant)),
        named(word(1, (variant % 5 == 4).cast(pl.Int64))), named(word(2, (variant % 3 == 1).cast(pl.Int64) * variant)),
        literal,
    ]  # fmt: skip
    forms = number % len(_FORMS)
    text: pl.Expr = pl.lit(None, pl.String)
    for at, form in enumerate(_FORMS):
        parts = [pl.lit(part) if odd % 2 == 0 else fields[int(part)] for odd, part in enumerate(_split(form))]
        text = pl.when(forms == at).then(pl.concat_str(parts)).otherwise(text)
    return pl.when(variant % 11 == 10).then(text.str.replace("FROM", "FORM")).otherwise(text)


def _split(form: str) -> list[str]:
    return form.replace("{", "\0").replace("}", "\0").split("\0")


def tables(candidates: int) -> dict[str, pl.DataFrame]:
    """`questions`, `gold`, `prompts`, `candidates`, `exec_results` and `counterexamples`, by name.

    Of the questions half are never right. Of the samples of the others six in ten are, and most of them say the same.
    """
    draw = np.random.default_rng(1)
    number = np.arange(candidates) // SAMPLES
    solvable = (number * 2654435761 % 100) < 52
    right = solvable & (draw.random(candidates) < 0.55)
    variant = np.where(right, 0, 1 + np.minimum(draw.geometric(0.18, candidates), 30))
    letters = draw.random(candidates) < 0.15
    failed = ~right & (variant % 5 > 0)
    base = pl.DataFrame({"number": number, "variant": variant, "right": right, "failed": failed, "letters": letters,
                         "sample": np.arange(candidates) % SAMPLES})  # fmt: skip
    base = base.with_columns(
        candidate_id=_hex(pl.int_range(pl.len()).hash(1)), question_id=_question_id(pl.col("number")),
        sql=_texts(pl.col("number"), pl.col("variant")),
    )  # fmt: skip
    written = pl.col("sql").str.replace("SELECT", "select").str.replace_all(", ", ",")
    base = base.with_columns(sql=pl.when("letters").then(written).otherwise("sql")).sort("candidate_id")
    questions = pl.DataFrame({"number": np.arange(-(-candidates // SAMPLES))}).select(
        "number", question_id=_question_id(pl.col("number")), gold_sql=_texts(pl.col("number"), pl.lit(0))
    )
    wrong = pl.when("failed").then(pl.lit("exec_error")).otherwise(pl.lit("mismatch"))
    verdict = pl.when("right").then(pl.lit("match")).otherwise(wrong)
    error = pl.when("failed").then(pl.lit("no such column: ") + pl.col("variant").cast(pl.String))
    number_text = pl.col("number").cast(pl.String)
    prompt = pl.lit("singer(singer_id, name, age) concert(concert_id, singer_id -> singer, year, city)\n" * 4)
    return {
        "questions": _full(questions.with_columns(
            source=pl.lit("demo"), split=pl.lit("train"), db_id="db_" + number_text, question="How many " + number_text,
            evidence=pl.lit(""), difficulty=pl.lit("easy"), origin=pl.lit("human")), "questions"),
        "gold": _full(questions.with_columns(verdict=pl.lit("ok"), flags=pl.lit("")), "gold"),
        "prompts": _full(questions.with_columns(
            db_id="db_" + number_text, prompt=prompt + "question: How many " + number_text + "?\nsql:\n",
            lost_tables=pl.lit("[]")), "prompts"),
        "candidates": _full(base.with_columns(
            completion="sql", model=pl.lit("sft/weak"), model_version=pl.lit("0" * 40), finish_reason=pl.lit("stop"),
            prompt_sha256=_hex(pl.col("number").hash(2)) + "0" * 48, logprob=pl.col("number") / 7), "candidates"),
        "exec_results": _full(base.with_columns(
            verdict=verdict, error=error, steps="number", contract=pl.lit("strict"), sqlite_version=pl.lit("3.54.1"),
            digest=pl.when(~pl.col("failed")).then(_hex(pl.col("number").hash(3))),
            db_sha256=_hex(pl.col("number").hash(4)) + "0" * 48), "exec_results"),
        "counterexamples": base.filter("right").select(
            "candidate_id", "question_id", pl.lit(None, pl.String).alias("class"),
            mutants_tried=pl.lit(8, pl.Int64), mutants_void=pl.lit(0, pl.Int64),
            witness_number=pl.when(pl.col("number") % 40 == 0).then(pl.lit(3, pl.Int64)),
            witness=pl.when(pl.col("number") % 40 == 0).then(pl.lit('{"mutant": 3}'))
        ).select(*COUNTEREXAMPLES.columns),
    }  # fmt: skip


def _question_id(number: pl.Expr) -> pl.Expr:
    return "demo/train/" + number.cast(pl.String).str.zfill(7)


def _hex(hashed: pl.Expr) -> pl.Expr:
    """16 digits that are spread as those of a hash."""
    return hashed.cast(pl.String).str.zfill(20).str.tail(16)


def _full(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """All columns of the dataset, sorted by its key; NULL where the frame has none."""
    dataset = DATASETS[name]
    columns = [
        (pl.col(column) if column in frame.columns else pl.lit(None)).cast(dtype).alias(column)
        for column, dtype in dataset.columns.items()
    ]
    return frame.select(columns).sort(dataset.key)
