"""The view gives what the loops over rows gave, for all that they knew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.pairing import order, view
from stages.pairing.rows import candidate_rows, with_witnesses
from tests.pairing import reference
from tests.pairing.tables import (
    GOLD_SQL,
    MIXED,
    VERDICTS,
    Candidate,
    ids_of,
    pairs_of,
    params,
    tables_of,
    view_of,
    witnesses_of,
)

PIECES = [
    "SELECT", "select", "a", "A", "1", "1.", ".5", "'x'", "'X'", "'", '"a"', '"A"', "`", "[", "]", "--", "\n", "/*",
    "*/", "x'", ";", " ", "\t", "\x0b", "\x1c", "\xa0", "<", "=", ">", "|", "-", "é", "É", "\u0663", "\u212a", "\u01c5",
    "İ", "Σ", "(", ")",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=8) | st.just(GOLD_SQL)
questions_of_texts = st.dictionaries(
    st.sampled_from(["a", "b", "ü"]), st.lists(st.tuples(texts, st.sampled_from(VERDICTS)), max_size=12), min_size=1
)
old_params = st.fixed_dictionaries({
    "seed": st.integers(-(2**63), 2**63 - 1), "dedup": st.booleans(), "keep_gold": st.booleans(),
    "neg_filter": st.sampled_from(["all", "executable", "error"]),
    "neg_limit": st.none() | st.integers(1, 3), "pos_limit": st.none() | st.integers(1, 3),
})  # fmt: skip


@given(questions_of_texts, old_params, st.sampled_from(["ok", "exec_error"]), st.sampled_from([1, 3, 10**9]))
@example({"a": [("", "match"), ("\x1c", "no_sql"), ("x", "no_sql")]}, {}, "ok", 1)
@example({"a": [], "b": MIXED}, {"keep_gold": True, "neg_limit": None, "pos_limit": 2}, "ok", 3)
@settings(max_examples=300, deadline=None)
def test_the_view_gives_the_rows_and_counts_of_the_loops(
    candidates: dict[str, list[Candidate]], changed: dict[str, Any], gold: str, part: int
) -> None:
    tables = tables_of(candidates, gold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "PART", part)
        patch.setattr(order, "TOGETHER", part)
        table, counts = view_of(tables, **changed)
    pairs, expected_counts = reference.make_pairs(*tables, params(**changed))
    expected = reference.pair_rows(pairs, tables[0]).sort("pair_id")
    assert table.rows() == expected.rows()
    assert +counts == +expected_counts


def test_the_view_writes_the_bytes_of_the_loops(tmp_path: Path) -> None:
    tables = tables_of({"q": MIXED, "r": MIXED[::-1]})
    pairs, _ = reference.make_pairs(*tables, params(neg_limit=2))
    reference.pair_rows(pairs, tables[0]).sort("pair_id").write_parquet(tmp_path / "loops")
    view_of(tables, neg_limit=2)[0].write_parquet(tmp_path / "view")
    assert (tmp_path / "loops").read_bytes() == (tmp_path / "view").read_bytes()


def test_a_result_without_its_candidate_is_left_out_as_in_the_loops() -> None:
    questions, candidates, results = tables_of({"q": MIXED})
    tables = (questions, candidates[1:], results)
    pairs, _ = reference.make_pairs(*tables, params(neg_limit=None))
    expected = reference.pair_rows(pairs, questions).sort("pair_id")
    assert view_of(tables, {}, neg_limit=None)[0].equals(expected)


def test_literals_in_another_case_are_not_equal() -> None:
    right, wrong = ["SELECT 'a'", "SELECT 'A'"], ["select 'b'", "SELECT 'B'"]
    candidates = [*((sql, "match") for sql in right), *((sql, "mismatch") for sql in wrong)]
    assert pairs_of({"q": candidates}, neg_limit=None).height == 4


ACCIDENT: list[Candidate] = [
    ("SELECT 1", "match"), ("select 1;", "match"), ("SELECT 2", "match"), ("SELECT 1 ", "mismatch"),
    ("SELECT 3", "mismatch"),
]  # fmt: skip


def test_a_chosen_that_a_counterexample_refutes_is_dropped_before_equal_ones_are() -> None:
    table, counts = view_of(tables_of({"q": ACCIDENT}), {"q:0": 8}, counterexamples=8)
    assert set(table["chosen_id"]) == {"q:1", "q:2"}
    assert (counts["right_by_accident"], counts["duplicate"]) == (1, 0)


def test_the_text_of_a_right_one_by_accident_is_not_rejected() -> None:
    table, counts = view_of(tables_of({"q": ACCIDENT}), {"q:0": 1, "q:1": 1}, counterexamples=1, neg_limit=None)
    assert ids_of(table) == [("q:2", "q:4")]
    assert counts["equal_to_right"] == 1


@pytest.mark.parametrize("counterexamples", [0, 2])
def test_a_witness_beyond_the_databases_asked_for_stands_beside_the_pair(counterexamples: int) -> None:
    table, _ = view_of(tables_of({"q": ACCIDENT}), {"q:2": 3}, counterexamples=counterexamples)
    assert dict(table.select("chosen_id", "witness").rows()) == {"q:0": None, "q:2": '{"mutant": 3}'}


def test_more_counterexamples_only_drop_chosen() -> None:
    few, many = (
        view_of(tables_of({"q": ACCIDENT}), {"q:0": 1, "q:1": 2, "q:2": 5}, counterexamples=n, neg_limit=None)[0]
        for n in (1, 2)
    )
    assert set(many["chosen_id"]) < set(few["chosen_id"])


def test_a_match_that_no_counterexample_was_tried_on_stops_the_stage_and_says_what_to_run() -> None:
    questions, candidates, results = tables_of({"q": ACCIDENT})
    message = r"2 candidates that matched \(the first: q:1\); run `dvc repro counterexamples`"
    with pytest.raises(UserError, match=message):
        with_witnesses(candidate_rows(questions, candidates, results), witnesses_of(results, {}).head(1))
