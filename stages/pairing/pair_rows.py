"""The rows of `pairs`."""

from hashlib import sha256
from json.encoder import encode_basestring_ascii

import polars as pl

from stages.datasets.pairs import PAIRS
from stages.pairing.sides import Sides


def pair_rows(pairs: pl.DataFrame, sides: Sides, questions: pl.DataFrame) -> pl.DataFrame:
    """The columns of `pairs` for pairs of rows of both sides, which have the columns chosen, rejected and similarity.

    `questions` have `prompt`; `question` of the sides is a row number there.
    """
    chosen = sides.chosen.select("question", chosen="text", chosen_id="candidate_id", witness="witness")
    verdict = pl.col("verdict").cast(pl.String)
    rejected = sides.rejected.select(rejected="text", rejected_id="candidate_id", rejected_verdict=verdict)
    rows = pl.concat([
        chosen.select(pl.all().gather(pairs["chosen"])), rejected.select(pl.all().gather(pairs["rejected"])),
        pairs.select("similarity"),
    ], how="horizontal")  # fmt: skip
    prompts = questions.select("question_id", "db_id", "prompt").select(pl.all().gather(rows["question"]))
    rows = rows.hstack(prompts)
    return rows.with_columns(pair_id=pair_ids(rows)).select(*PAIRS.columns)


def pair_ids(rows: pl.DataFrame) -> pl.Series:
    """Of each pair the first 16 digits of `fingerprint(question_id, chosen_id, chosen, rejected_id, rejected)`, by
    pasting the JSON texts of the parts together."""
    names = ("question_id", "chosen_id", "chosen", "rejected_id", "rejected")
    parts = [_json(rows[name]) for name in names]
    lists = rows.select(pl.format("[{}]", pl.concat_str(parts, separator=", ")).alias("parts"))["parts"].to_list()
    return pl.Series([sha256(text.encode()).hexdigest()[:16] for text in lists], dtype=pl.String)


def _json(texts: pl.Series) -> pl.Series:
    """Each text as a JSON text in ASCII, as `json.dumps` gives it."""
    encoded = [encode_basestring_ascii(text) for text in texts.fill_null("")]
    return pl.Series(encoded, dtype=pl.String).to_frame("json").select(
        pl.when(texts.is_null()).then(pl.lit("null")).otherwise("json")
    ).to_series()
