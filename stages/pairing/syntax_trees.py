"""How far two queries are apart as syntax trees.

sqlglot parses a text, as SQLite's, into a tree. Its nodes are labelled with their class and with what they hold that is
no node: a name (in lower case), a literal, a join's kind. The binary branch of a node is its label, that of its first
child and that of its next sibling. The distance of two trees is the binary branch distance (Yang, Kalnis and Tung,
SIGMOD 2005): the number of branches, counted with repetition, that only one of them has. It takes linear time, and is
at most five times the number of nodes to insert, delete and relabel between both trees.
"""

import logging
import re
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from typing import Any

import polars as pl
import sqlglot
from sqlglot import exp

LONGEST = 10_000
"""Characters that a text may have to be parsed."""
DEEPEST = 25
"""Brackets, CASE and NOT that may stand open at once in a text that is parsed. Python's limit of nested calls is met at
about twice as many; where exactly depends on who calls."""
_NESTING = re.compile(r"[(\[{}\])]|\b(?:case|end|not)\b", re.IGNORECASE)

Branch = tuple[str, str, str, int]
"""The labels of a node, of its first child and of its next sibling, "" where there is none; and how many equal branches
came before."""


class SyntaxTrees:
    """The branches of texts as numbers, which hold as long as this lives. Each distinct text is parsed once."""

    def __init__(self) -> None:
        self._numbers: dict[Branch, int] = {}
        self._branches: dict[str, list[int] | None] = {}
        self._lock = Lock()
        logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it also warns of what it parses

    def branches(self, texts: pl.Series) -> pl.Series:
        """A list of distinct numbers for each text; NULL where sqlglot cannot parse it."""
        distinct = texts.unique().alias("text")
        with self._lock:
            lists = [self._branches_of(text) for text in distinct]
        known = distinct.to_frame().with_columns(branches=pl.Series(lists, dtype=pl.List(pl.UInt32)))
        return texts.alias("text").to_frame().join(known, on="text", how="left", maintain_order="left")["branches"]

    def _branches_of(self, text: str) -> list[int] | None:
        if text not in self._branches:
            tree, numbers = parse(text), self._numbers
            self._branches[text] = (
                None if tree is None else [numbers.setdefault(branch, len(numbers)) for branch in _branches(tree)]
            )
        return self._branches[text]


def parse(text: str) -> exp.Expr | None:
    """The tree of the one statement in a text; None where sqlglot cannot parse it, or it is too long or too deep."""
    if len(text) > LONGEST or _depth(text) > DEEPEST:
        return None
    try:
        statements = sqlglot.parse(text, read="sqlite")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    whole = len(statements) == 1 and not isinstance(statements[0], exp.Command)  # one that it knows by name only
    return statements[0] if whole else None


def _depth(text: str) -> int:
    """How many brackets, CASE and NOT stand open at once, at most. A NOT stays open, and what is in literals counts."""
    marks = _NESTING.findall(text)
    if len(marks) <= DEEPEST:
        return len(marks)
    return max(accumulate(-1 if mark in ")]}" or mark.lower() == "end" else 1 for mark in marks))


def _branches(tree: exp.Expr) -> Iterator[Branch]:
    counts: dict[tuple[str, str, str], int] = {}
    label, children = _node(tree)
    stack = [(label, children, "")]
    while stack:
        label, children, sibling = stack.pop()
        nodes = [_node(child) for child in children]
        branch = (label, nodes[0][0] if nodes else "", sibling)
        counts[branch] = before = counts.get(branch, -1) + 1
        yield (*branch, before)
        followers = [each[0] for each in nodes[1:]] + [""]
        stack += [(*node, follower) for node, follower in zip(nodes, followers, strict=True)] if nodes else []


def _node(node: exp.Expr) -> tuple[str, list[exp.Expr]]:
    """A node's label and its children."""
    children: list[exp.Expr] = []
    held: list[Any] = [type(node).__name__]
    for name, value in node.args.items():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, exp.Expr):
                children.append(each)
            elif each:
                held += [name, each.lower() if isinstance(node, exp.Identifier) and isinstance(each, str) else each]
    return " ".join(map(str, held)), children
