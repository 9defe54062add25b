import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.databases.descriptions import notes_of
from stages.databases.first_rows import literal


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        ({}, ""),
        ({"name": "Full Name", "description": "the name", "values": "a, b"}, "Full Name; the name; a, b"),
        ({"name": "FULL_NAME", "description": "the name"}, "the name"),
        ({"name": "the name", "description": "The Name"}, "the name"),
        ({"values": "commonsense evidence:\r\n\n0 = no\t1 = yes"}, "commonsense evidence: 0 = no 1 = yes"),
    ],
)
def test_a_note_says_in_one_line_what_is_known_of_a_column_and_nothing_twice(texts: dict[str, str], note: str) -> None:
    assert notes_of({"t": {"full_name": texts}}) == {"t": {"full_name": note}}


@given(st.text(), st.text(), st.text())
def test_a_note_is_one_line_whatever_the_texts(name: str, description: str, values: str) -> None:
    note = notes_of({"t": {"c": {"name": name, "description": description, "values": values}}})["t"]["c"]
    assert len(note.splitlines()) <= 1


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "utf-16-le"]))
def test_a_text_value_is_one_line_whatever_its_bytes(text: bytes, codec: str) -> None:
    rendered = literal(text, codec)
    assert len(rendered.splitlines()) == 1
    assert rendered[1:-1].replace("''", "").count("'") == 0


@pytest.mark.parametrize(
    ("value", "literal_text"),
    [(None, "NULL"), (7, "7"), (-1.5, "-1.5"), (b"it's", "'it''s'"), ("<BLOB of 3 bytes>",) * 2,
     (float("inf"), "9e999"), (float("-inf"), "-9e999"), (b"a  b\tc", "'a  b c'")],
)  # fmt: skip
def test_a_value_is_shown_as_sql_writes_it(value: str | int | float | bytes | None, literal_text: str) -> None:
    assert literal(value, "utf-8") == literal_text


def test_of_descriptions_that_differ_in_letter_case_the_first_that_says_something_counts() -> None:
    texts = {"description": "first"}
    notes = notes_of({"FRPM": {"Name": texts}, "frpm": {"NAME": {}, "name": {"description": "second"}, "other": texts}})
    assert notes == {"frpm": {"name": "first", "other": "first"}}
