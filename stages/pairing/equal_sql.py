"""Which candidates of a question have equal SQL: the same tokens, by `stages.sql.tokens.sql_tokens`."""

import polars as pl

from stages.pairing.token_numbers import token_numbers


def squeezed(texts: pl.Series) -> pl.Series:
    """Each text without white space and final `;`, in lower case: "" where it has no tokens. Equal SQL is equal here,
    and so is some that differs."""
    if texts.str.contains("[\t\n\f\r]").any():
        for space in "\t\n\f\r":
            texts = texts.str.replace_all(space, "", literal=True)
    return texts.str.replace_all(" ", "", literal=True).str.to_lowercase().str.strip_chars_end(";")


def first_equal(rows: pl.DataFrame) -> pl.Series:
    """For each row the number of the first row of its question that has equal SQL. Columns: question, text, squeezed.

    Rows are put together by a hash of their squeezed texts, which costs little. Where texts that differ come together,
    their tokens decide.
    """
    rows = rows.select("question", "text", key=pl.struct("question", "squeezed").hash())
    rows = rows.with_row_index("row").with_columns(first=pl.col("row").first().over("key"))
    differs = [pl.col(name) != pl.col(name).gather("first") for name in ("question", "text")]
    unsure_firsts = rows.filter(pl.any_horizontal(differs))["first"].unique()
    if unsure_firsts.is_empty():
        return rows["first"]
    unsure = rows.filter(pl.col("first").is_in(unsure_firsts.implode()))
    exact = unsure.select("row", exact=pl.col("row").first().over("question", _tokens(unsure["text"])))
    joined = rows.join(exact, on="row", how="left", maintain_order="left")
    return joined.select(pl.coalesce("exact", "first")).to_series()


def _tokens(texts: pl.Series) -> pl.Series:
    """A number for each text, the same for equal SQL."""
    distinct = texts.unique().alias("text")
    tokens = token_numbers(distinct)
    known: dict[bytes, int] = {}
    numbers = [known.setdefault(tokens.of(text).tobytes(), len(known)) for text in range(len(distinct))]
    known_texts = distinct.to_frame().with_columns(tokens=pl.Series(numbers, dtype=pl.UInt32))
    return texts.alias("text").to_frame().join(known_texts, on="text", how="left", maintain_order="left")["tokens"]
