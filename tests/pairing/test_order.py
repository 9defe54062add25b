"""`neg_order`: which rejected comes first."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pairing.tables import Candidate, ids_of, pairs_of, tables_of, view_of

NEAR: list[Candidate] = [
    ("SELECT name FROM singer WHERE age > 20", "match"),
    ("SELECT count(*) FROM album JOIN song ON album.id = song.album_id", "mismatch"),
    ("SELECT name FROM singer WHERE age > 30", "mismatch"),
    ("SELECT name FROM singer", "mismatch"),
    ("SELEC name FROM singer WHERE age > 20 (", "exec_error"),
    ("select count( * ) from album join song on album.id = song.album_id", "mismatch"),
]


def rejected_by(neg_order: str, neg_limit: int | None) -> list[str]:
    return [rejected for _, rejected in ids_of(pairs_of({"q": NEAR}, neg_order=neg_order, neg_limit=neg_limit))]


def test_nearest_takes_the_smallest_edits_first_and_what_cannot_be_parsed_last() -> None:
    nearest = [set(rejected_by("nearest", limit)) for limit in (1, 2, 3, 4)]
    assert nearest == [{"q:2"}, {"q:2", "q:3"}, {"q:1", "q:2", "q:3"}, {"q:1", "q:2", "q:3", "q:4"}]


def test_under_nearest_the_similarity_is_of_trees_and_null_where_there_is_none() -> None:
    table, counts = view_of(tables_of({"q": NEAR}), neg_order="nearest", neg_limit=None)
    similarity = dict(table.select("rejected_id", "similarity").rows())
    assert similarity["q:4"] is None and counts["unparsed"] == 1
    assert 1 > similarity["q:2"] > similarity["q:3"] > similarity["q:1"] >= 0


def test_frequent_takes_the_mistake_of_most_samples_first() -> None:
    assert rejected_by("frequent", 1) == ["q:1"]


def test_a_mistake_is_as_frequent_as_all_samples_that_make_it_whatever_their_verdicts() -> None:
    candidates = [("SELECT 1", "match"), ("SELECT 2", "mismatch"), ("SELECT 3", "mismatch"), ("SELECT  3", "undecided")]
    assert ids_of(pairs_of({"q": candidates}, neg_order="frequent")) == [("q:0", "q:2")]


@pytest.mark.parametrize("neg_order", ["nearest", "frequent"])
def test_ties_are_broken_by_the_draw(neg_order: str) -> None:
    """Mistakes that are equally near, and equally frequent: the draw of `random` decides."""
    candidates = [("SELECT a", "match"), *((f"SELECT b{number}", "mismatch") for number in range(9))]
    for seed in range(5):
        ordered = pairs_of({"q": candidates}, neg_order=neg_order, seed=seed, neg_limit=3)
        drawn = pairs_of({"q": candidates}, neg_order="random", seed=seed, neg_limit=3)
        assert ids_of(ordered) == ids_of(drawn)


@pytest.mark.parametrize("neg_order", ["random", "nearest", "frequent"])
def test_without_a_limit_the_order_changes_no_pair(neg_order: str) -> None:
    assert set(rejected_by(neg_order, None)) == {"q:1", "q:2", "q:3", "q:4"}


candidate_lists = st.lists(
    st.tuples(st.sampled_from([sql for sql, _ in NEAR] + ["(" * 3000, "SELECT 'a'", "SELECT 'A'", "x" * 20_000, "1"]),
              st.sampled_from(["match", "mismatch", "exec_error", "undecided"])),
    max_size=12,
)  # fmt: skip


@given(candidate_lists, st.booleans(), st.sampled_from(["random", "nearest", "frequent"]), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_a_higher_limit_only_adds_pairs_in_every_order(
    candidates: list[Candidate], dedup: bool, neg_order: str, neg_limit: int
) -> None:
    few, more = (
        set(ids_of(pairs_of({"q": candidates}, dedup=dedup, neg_order=neg_order, neg_limit=limit)))
        for limit in (neg_limit, neg_limit + 1)
    )
    assert few <= more


@given(candidate_lists, st.sampled_from(["nearest", "frequent"]))
@settings(max_examples=50, deadline=None)
def test_the_same_tables_give_the_same_rows(candidates: list[Candidate], neg_order: str) -> None:
    questions: dict[str, Any] = {"q": candidates, "r": candidates[::-1]}
    assert pairs_of(questions, neg_order=neg_order).equals(pairs_of(questions, neg_order=neg_order))
