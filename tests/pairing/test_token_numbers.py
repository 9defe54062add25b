"""Many texts at once give what `sql_tokens` and `similarity` give for each."""

from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pairing.equal_sql import first_equal, squeezed
from stages.pairing.rows import WHITE_SPACE
from stages.pairing.similarity import LONGEST, token_similarities
from stages.pairing.token_numbers import token_numbers
from stages.sql.tokens import similarity, sql_tokens
from tests.pairing.test_view import texts

words = st.lists(st.sampled_from(["a", "b", "c", "(", ")", ",", ";"]), max_size=40).map(" ".join)


@given(st.lists(texts, max_size=30))
@settings(max_examples=300, deadline=None)
def test_texts_have_equal_numbers_where_they_have_equal_tokens(many: list[str]) -> None:
    numbers = token_numbers(pl.Series(many, dtype=pl.String))
    by_tokens: dict[tuple[str, ...], bytes] = {}
    by_numbers: dict[bytes, tuple[str, ...]] = {}
    for place, text in enumerate(many):
        tokens, bytes_of = sql_tokens(text), numbers.of(place).tobytes()
        assert by_tokens.setdefault(tokens, bytes_of) == bytes_of and by_numbers.setdefault(bytes_of, tokens) == tokens
        assert len(numbers.of(place)) == len(tokens)


@given(st.lists(st.tuples(st.integers(0, 2), texts), max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_first_equal_row_is_that_with_equal_tokens_in_the_same_question(rows: list[tuple[int, str]]) -> None:
    table = pl.DataFrame(rows, schema={"question": pl.UInt32, "text": pl.String}, orient="row")
    firsts = first_equal(table.with_columns(squeezed=squeezed(table["text"])))
    keys = [(question, sql_tokens(text)) for question, text in rows]
    assert firsts.to_list() == [keys.index(key) for key in keys]


@given(st.lists(texts, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_squeezed_text_is_empty_only_where_there_are_no_tokens(many: list[str]) -> None:
    short = squeezed(pl.Series(many, dtype=pl.String))
    assert [text == "" for text in short] == [not sql_tokens(text) for text in many]


def similarities(many: list[str]) -> None:
    pairs = list(pairwise(many))
    chosen, rejected = (pl.Series([pair[side] for pair in pairs], dtype=pl.String) for side in (0, 1))
    expected = [similarity(sql_tokens(first), sql_tokens(second)) for first, second in pairs]
    assert token_similarities(chosen, rejected).to_list() == expected


@given(st.lists(words | texts, max_size=12))
@settings(max_examples=300, deadline=None)
def test_many_similarities_are_what_each_is(many: list[str]) -> None:
    similarities(many)


def test_similarities_of_long_texts_are_what_each_is() -> None:
    sizes = (0, 1, 100, LONGEST // 2, LONGEST, 1200)
    similarities(["a b " * size + "c " * rest for size in sizes for rest in (0, 1, 7)])


def test_white_space_is_what_python_strips() -> None:
    assert set(WHITE_SPACE) == {sign for sign in map(chr, range(0x110000)) if not sign.strip()}
