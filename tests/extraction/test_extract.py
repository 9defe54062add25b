"""The SQL in a completion: cases as data, what must hold of every text, and how long hostile ones take."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.extraction.extract import extract_sql
from stages.sql.tokens import tokens_of
from tests.real import REAL

CASES = YAML(typ="safe", pure=True).load(Path("tests/fixtures/completions.yaml").read_text(encoding="utf-8"))
MARKS = ["```", "~~~", "`", "'", '"', ";", "\n", " ", "SELECT ", "WITH a AS (", "--", "/*", "*/", "[", "<", "</think>"]
HOSTILE = [
    "`", "~", "```\n", "```x", "```/*", "```--", "'", "''", '"', "[", "(", "<", "<think>", "</think>", "\n", " ", "--",
    "/*", "-- \n", "WITH ", "WITH a(", 'WITH "', "WITH [", "SELECT ", ".SELECT ", ": UPDATE x", "\n\nselect",
    "SELECT '\n", "x: `SELECT", ": SELECT '", "1", "a ", "EXPLAIN ", "INSERT OR ",
    "a select ", "a\nselect ", 'a "select', "FROM\nSELECT ", "- SELECT ", "\n- SELECT ", "**SELECT ", "'SELECT ",
    "[SQL] ", "is \"SELECT 'a", "`SELECT `a", "[INST]", "[/SQL]", "select a: ```", "select the ```sql\n",
    "<answer>", "\\boxed{", "```{", "[THINK]", "{\"a\":", "{\"a\": \"", "\"a\": \"b\" ", "<|im_start|>user ",
    "Explanation: ", "This the ", "\nThis the", "1 This the one ", "\nThe Of the", "，", "甲，", "该查询",
    "assistantfinal", "\n\nIn the", "\n\nAs ", "\n\na(b, c)", "Select a:\n", "```\nFinal query:\n",
    "Final query: SELECT 1;", "<|channel>thought", "{\"",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["case"]))
def test_the_sql_in_a_completion(case: dict[str, str]) -> None:
    assert extract_sql(case["completion"]) == case["sql"]


# Not what ends a statement without a `;`: full-width punctuation, and what only stands at the beginning of a line.
ONE_LINE = st.text(st.characters(exclude_characters=";`~<[\n；。，、！？："))


@given(st.sampled_from(["SELECT ", "select ", "WITH "]), ONE_LINE)
def test_what_begins_as_a_query_stays_as_it_is(begin: str, rest: str) -> None:
    assert extract_sql(f" {begin}{rest}\n") == f"{begin}{rest}".strip()


@pytest.mark.realdata
@pytest.mark.parametrize("separator", ["\n", "\n\n"])
def test_a_real_query_is_kept_wherever_its_lines_break(separator: str) -> None:
    draw = random.Random(0)
    for question in json.loads((REAL / "spider" / "dev.json").read_text()):
        gold = question["query"].strip("; ")
        query = "".join(separator if token.isspace() and draw.random() < 0.3 else token for token in tokens_of(gold))
        assert extract_sql(query) == query.strip()


@given(st.lists(st.sampled_from(MARKS) | st.text(max_size=5)).map("".join))
def test_what_comes_out_is_a_piece_of_the_completion(completion: str) -> None:
    sql = extract_sql(completion)
    assert sql in completion and sql == sql.strip()


@pytest.mark.timeout(120)  # in quadratic time it would be hours
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("before", ["", "SELECT ", "select ", "```sql\nSELECT ", "Well, "])
def test_a_large_text_of_anything_takes_linear_time(before: str, piece: str) -> None:
    text = before + piece * (150_000 // len(piece))
    assert extract_sql(text) in text
