"""Kinds of question: what is refused in `kinds.yaml`, which questions are kept, and how they are worded."""

import random
from collections import Counter
from pathlib import Path

import apsw
import pytest

from stages.core.errors import UserError
from stages.corpora.demo.databases import Column, Database, Table, load
from stages.corpora.demo.kinds import Kind, read_kinds
from stages.corpora.demo.questions import Question, QuestionDraw

GOOD = """kinds:
  - kind: oldest
    difficulty: easy
    slots: {t: table, l: label of t, n: number of t, v: threshold of n}
    sql: SELECT {l} FROM {t} WHERE {n} > {v}
    ask: ["The {l} of {t+} with {n} above {v}?", "Which {t+} have {a n} above {v}?", "Whose {n} {is n} above {v}?"]
"""
MISTAKES = {
    "an unknown difficulty": ("easy", "simple", "kinds.0.difficulty"),
    "too few phrasings": (', "Whose {n} {is n} above {v}?"', "", "kinds.0.ask"),
    "an unknown type of slot": ("label of t", "name of t", "'name of t', which is no type of slot"),
    "a slot of a later slot": ("label of t", "label of x", "slot l: 'x' is no earlier slot"),
    "a slot of a slot of another type": ("threshold of n", "threshold of t", "slot v: 't' is no earlier slot"),
    "a place without a slot": ("{a n}", "{a m}", "{a m}, which is no slot"),
    "a form that the slot has not": ("{t+} have", "{t>l} have", "{t>l}, which is no slot"),
    "a brace too many": ("Which {t+}", "Which {{t+}", "a brace that is no slot"),
}
SINGER = Table(
    name="lead_singer",
    plural="lead singers",
    columns=(
        Column("name", "label", "", "", ("Ada Flint", "Ben Ohm", "Cleo Flint", "Dan Roe")),
        Column("country", "category", "", "", ("Peru", "Peru", "Norway", None)),
        Column("age", "number", "oldest", "youngest", (30, 20, 40, 40)),
    ),
    parents={},
    keys={},
    keys_first=False,
    rows=4,
)
ALBUM = Table(
    name="album",
    plural="albums",
    columns=(
        Column("title", "label", "", "", ("Red", "Blue", "Green")),
        Column("sales", "number", "", "", (2015, 1998, 2015)),
    ),
    parents={"lead_singer": "recorded by"},
    keys={"lead_singer": (1, 1, 3)},
    keys_first=False,
    rows=3,
)
DATABASE = Database("music_1", (SINGER, ALBUM))


def a_kind(sql: str, slots: dict[str, str | dict[str, str]], *phrasings: str, **readings: list[str]) -> Kind:
    fields = {"kind": "k", "difficulty": "easy", "slots": slots, "sql": sql, "ask": list(phrasings or ("a", "b", "c"))}
    return Kind.model_validate({**fields, **readings})


def drawn(kind: Kind, count: int = 30) -> tuple[list[Question], Counter[str]]:
    draw = QuestionDraw(DATABASE, random.Random(1))
    return draw.questions([kind], count), draw.drops


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_kinds_is_a_sentence_naming_the_file_and_the_field(tmp_path: Path, mistake: str) -> None:
    right, wrong, message = MISTAKES[mistake]
    assert right in GOOD
    file = tmp_path / "kinds.yaml"
    file.write_text(GOOD.replace(right, wrong, 1))
    with pytest.raises(UserError) as caught:
        read_kinds(file)
    assert str(file) in str(caught.value) and "kinds.0" in str(caught.value)
    assert message in str(caught.value)


def test_a_kind_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kinds.yaml"
    file.write_text(GOOD + GOOD.removeprefix("kinds:\n"))
    with pytest.raises(UserError, match="oldest stands twice"):
        read_kinds(file)


def test_the_words_of_every_form_are_written() -> None:
    slots: dict[str, str | dict[str, str]] = {"t": "child", "p": "parent of t", "n": "number of t", "m": "number of p"}
    text = "{a t}, {t+}, {t>p}, {p}, {a n}, {is n}, {is m}, {m.high}, {m.low}"
    questions, _ = drawn(a_kind("SELECT {n} FROM {t}", slots, text, text, text))
    assert questions[0].text == "an album, albums, recorded by, lead singer, sales, are, is, oldest, youngest"


def test_a_phrasing_whose_superlative_is_missing_is_not_used() -> None:
    slots: dict[str, str | dict[str, str]] = {"t": "child", "n": "number of t"}
    questions, _ = drawn(a_kind("SELECT {n} FROM {t}", slots, "The {n.high}", "The {n.low}", "All {n}"))
    assert [question.text for question in questions] == ["All sales"]


def test_values_are_quoted_and_letters_are_not() -> None:
    slots: dict[str, str | dict[str, str]] = {"t": "child", "l": "label of t", "x": "letter of l", "v": "value of l"}
    sql = "SELECT {l} FROM {t} WHERE {l} LIKE '{x}%' AND {l} = {v}"
    questions, _ = drawn(a_kind(sql, slots, "{x} {v}", "{x} {v}", "{x} {v}"), 3)
    for question in questions:
        title = question.text.split()[1]
        assert question.sql == f"SELECT title FROM album WHERE title LIKE '{title[0]}%' AND title = '{title}'"


def test_a_threshold_is_a_stored_number_but_neither_the_least_nor_the_greatest() -> None:
    slots: dict[str, str | dict[str, str]] = {"t": "table", "n": "number of t", "v": "threshold of n"}
    questions, _ = drawn(a_kind("SELECT {n} FROM {t} WHERE {n} = {v}", slots, *["{n} {v}"] * 3))
    assert [question.sql for question in questions] == ["SELECT age FROM lead_singer WHERE age = 30"]


def test_no_years_are_added_up() -> None:
    slots: dict[str, str | dict[str, str]] = {"t": "table", "n": "amount of t"}
    questions, _ = drawn(a_kind("SELECT SUM({n}) FROM {t}", slots, *["{n}"] * 3))
    assert [question.text for question in questions] == ["age"]


@pytest.mark.parametrize(
    ("reason", "sql", "readings"),
    [
        ("empty", "SELECT name FROM lead_singer WHERE age > 99", {}),
        ("empty", "SELECT MAX(age) FROM lead_singer WHERE age > 99", {}),
        ("unstable", "SELECT name FROM lead_singer LIMIT 1", {}),
        ("unstable", "SELECT name FROM lead_singer ORDER BY age", {}),
        ("ambiguous", "SELECT name FROM lead_singer WHERE country != 'Peru'",
         {"alike": ["SELECT name FROM lead_singer WHERE country IS NOT 'Peru'"]}),
        ("undiscriminating", "SELECT name FROM lead_singer WHERE age > 1",
         {"unlike": ["SELECT name FROM lead_singer"]}),
    ],
)
def test_a_gold_that_tells_no_right_answer_is_dropped_and_counted(
    reason: str, sql: str, readings: dict[str, list[str]]
) -> None:
    questions, drops = drawn(a_kind(sql, {"t": "any table"}, **readings))
    assert questions == [] and set(drops) == {reason}


def test_rows_may_come_in_any_order_where_the_gold_does_not_order_them() -> None:
    questions, _ = drawn(a_kind("SELECT name FROM lead_singer", {"t": "table"}))
    assert len(questions) == 1


def test_a_question_is_not_asked_twice() -> None:
    questions, drops = drawn(a_kind("SELECT name FROM lead_singer", {"t": "table"}))
    assert len(questions) == 1 and drops["asked before"] > 0


def test_a_kind_whose_sql_fails_is_named() -> None:
    with pytest.raises(UserError, match=r"kind k: 'SELECT nam FROM lead_singer' fails"):
        drawn(a_kind("SELECT nam FROM lead_singer", {"t": "table"}))


def test_only_the_outermost_order_counts_as_ordered() -> None:
    ordered = a_kind("SELECT a FROM b WHERE c IN (SELECT d FROM (SELECT 1)) ORDER BY e", {"t": "table"})
    inner = a_kind("SELECT a FROM b WHERE c = (SELECT MAX(d) FROM e ORDER BY f LIMIT 1)", {"t": "table"})
    assert ordered.ordered and not inner.ordered


def test_the_file_of_a_database_holds_its_rows() -> None:
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", load(DATABASE).serialize("main"))
    assert connection.execute("SELECT album_id, title, sales, lead_singer_id FROM album").fetchall() == [
        (1, "Red", 2015, 1), (2, "Blue", 1998, 1), (3, "Green", 2015, 3),
    ]
