"""Syntax trees: what has one, and how far two are apart."""

import polars as pl
import pytest
import sqlglot

from stages.pairing.syntax_trees import DEEPEST, LONGEST, SyntaxTrees, parse


def distance(one: str, other: str) -> int | None:
    lists = SyntaxTrees().branches(pl.Series([one, other]))
    distances: list[int | None] = lists[:1].list.set_symmetric_difference(lists[1:]).list.len().to_list()
    return distances[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t", "select A from T;"),
        ("SELECT a FROM t WHERE a <> 1", "SELECT a FROM t WHERE a != 1"),
    ],
)
def test_queries_that_differ_in_writing_alone_have_the_same_tree(one: str, other: str) -> None:
    assert distance(one, other) == 0


def test_a_literal_in_another_case_is_another_node() -> None:
    assert distance("SELECT 'a'", "SELECT 'A'") not in (0, None)


def test_a_changed_leaf_costs_less_than_a_changed_clause() -> None:
    query = "SELECT a, b FROM t WHERE c = 1"
    leaf, clause = distance(query, "SELECT a, b FROM t WHERE c = 2"), distance(query, "SELECT a, b FROM t ORDER BY c")
    assert leaf is not None and clause is not None and leaf < clause


def test_a_branch_that_comes_twice_counts_twice() -> None:
    sums = ["SELECT 1", "SELECT 1 + 1", "SELECT 1 + 1 + 1", "SELECT 1 + 1 + 1 + 1"]
    distances = [distance(sums[0], text) or 0 for text in sums]
    assert distances[0] < distances[1] < distances[2] < distances[3]


@pytest.mark.parametrize(
    "text",
    [
        "SELEC a FROM", "", ";", "SELECT 1; SELECT 2", "VACUUM into x", "SELECT 'a", "no query at all, sorry",
        "SELECT " + "(" * 100_000, "SELECT " + "(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1),
        "SELECT " + "NOT " * 2000 + "1", "SELECT " + "CASE WHEN 1 THEN " * 400 + "1" + " END" * 400,
        "SELECT " + "- " * 4000 + "1", "SELECT " + "1 + " * LONGEST + "1", "x" * 5_000_000,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_text_that_is_no_query_or_too_much_of_one_has_no_tree(text: str) -> None:
    assert SyntaxTrees().branches(pl.Series([text])).to_list() == [None]


@pytest.mark.parametrize("part", ["1 + ", "a AND ", "'x' || ", "a, "])
def test_a_long_query_that_is_not_deep_has_a_tree(part: str) -> None:
    assert parse("SELECT " + part * (LONGEST // len(part) - 3) + "1") is not None


def test_each_distinct_text_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def record(text: str, read: str) -> list[None]:
        parsed.append(text)
        return [None]

    monkeypatch.setattr(sqlglot, "parse", record)
    trees = SyntaxTrees()
    trees.branches(pl.Series(["a", "b", "a"]))
    trees.branches(pl.Series(["b", "c"]))
    assert sorted(parsed) == ["a", "b", "c"]
