import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.receipts import write_receipt
from stages.core.tables import read_any, write_dataset
from stages.datasets.catalog import DATASETS
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.pairing.sides import REASONS
from stages.pairs import REJECTED, PairsParams, main, report_of
from stages.sql.tokens import similarity, sql_tokens
from tests import FIXTURES, ROOT
from tests.pairing.tables import (
    GOLD_SQL,
    MIXED,
    PUBLISHED,
    VERDICTS,
    Candidate,
    frame_of,
    ids_of,
    pairs_of,
    prompts_of,
    questions_of,
    tables_of,
    view_of,
    witnesses_of,
)
from tests.workplace import put, set_arguments, write_params

EQUAL_SQL = json.loads((FIXTURES / "pairs" / "equal_sql.json").read_text(encoding="utf-8"))


def reference(candidates: list[Candidate], verdicts: tuple[str, ...]) -> set[tuple[str, str]]:
    """The pairs of one question with dedup and no limits, the slow and simple way: no literals, so plain lower case."""

    def plain(sql: str) -> str:
        return "".join(sql.lower().split()).rstrip(";")

    firsts = {
        f"q:{at}": (plain(sql), verdict)
        for at, (sql, verdict) in enumerate(candidates)
        if not any(plain(sql) == plain(before) for before, _ in candidates[:at])
    }
    return {
        (one, other)
        for one, other in product(firsts, firsts)
        if firsts[one][1] == "match" and firsts[other][1] in verdicts
    }


@pytest.mark.parametrize("neg_filter", REJECTED)
def test_without_limits_every_right_one_meets_every_wrong_one(neg_filter: str) -> None:
    made = ids_of(pairs_of({"q": MIXED}, neg_filter=neg_filter, neg_limit=None))
    expected = reference(MIXED, REJECTED[neg_filter])
    assert len(made) == len(expected)
    assert set(made) == expected


def test_without_dedup_equal_sql_counts_each_time() -> None:
    assert len(pairs_of({"q": MIXED}, dedup=False, neg_limit=None)) == 3 * 4


@pytest.mark.parametrize("case", EQUAL_SQL, ids=lambda case: str(case["why"]))
def test_sql_is_equal_as_the_case_says(case: dict[str, Any]) -> None:
    assert (sql_tokens(case["one"]) == sql_tokens(case["other"])) is case["equal"]


def test_of_equal_sql_the_lowest_sample_is_kept() -> None:
    made = pairs_of({"q": [("select 1", "match"), ("SELECT 1;", "match"), ("SELECT 2", "mismatch")]})
    assert ids_of(made) == [("q:0", "q:2")]


def test_a_question_that_is_never_right_gives_no_pairs_unless_the_gold_is_kept() -> None:
    wrong = {"q": [("SELECT name FROM singer", "mismatch")]}
    assert pairs_of(wrong).is_empty()
    kept = pairs_of(wrong, keep_gold=True).select("chosen_id", "chosen", "rejected_id")
    assert kept.rows() == [(None, GOLD_SQL, "q:0")]


def test_the_gold_is_not_chosen_again_where_a_candidate_says_the_same() -> None:
    candidates = {"q": [("SELECT COUNT(*) FROM singer;", "match"), ("SELECT 2", "mismatch")]}
    assert set(pairs_of(candidates, keep_gold=True)["chosen_id"]) == {"q:0"}


@pytest.mark.parametrize("verdict", ["exec_error", "over_budget", "undecided"])
def test_a_gold_that_is_not_usable_is_not_chosen(verdict: str) -> None:
    assert pairs_of({"q": [("SELECT 2", "mismatch")]}, verdict, keep_gold=True).is_empty()


def test_a_wrong_candidate_that_says_what_a_right_one_or_the_gold_says_is_not_rejected() -> None:
    wrong = [("select 1", "mismatch"), (GOLD_SQL.lower(), "over_budget"), ("SELECT 3", "mismatch")]
    assert ids_of(pairs_of({"q": [("SELECT 1", "match"), *wrong]}, dedup=False, neg_limit=None)) == [("q:0", "q:3")]


def test_a_candidate_with_no_sql_is_rejected_with_all_it_said_unless_that_is_blank() -> None:
    questions, candidates, results = tables_of({"q": [("SELECT 1", "match"), ("", "no_sql"), ("", "no_sql")]})
    candidates = candidates.with_columns(completion=pl.Series([" SELECT 1", "```\n```", " \n"]))
    pairs, counts = view_of((questions, candidates, results), neg_limit=None)
    assert pairs["rejected"].to_list() == ["```\n```"]
    assert counts["blank"] == 1


def test_limits_hold() -> None:
    right = [(f"SELECT {number}", "match") for number in range(5)]
    wrong = [(f"SELECT {number}", "mismatch") for number in range(10, 16)]
    made = pairs_of({"q": right + wrong}, neg_limit=3, pos_limit=2)
    assert sorted(Counter(made["chosen_id"]).values()) == [3, 3]
    assert len(set(ids_of(made))) == 6


@pytest.mark.parametrize("limit", ["neg_limit", "pos_limit"])
def test_a_higher_limit_only_adds_pairs(limit: str) -> None:
    candidates = [(f"SELECT {number}", "match" if number < 5 else "mismatch") for number in range(12)]
    few, more, every = (set(ids_of(pairs_of({"q": candidates}, "ok", **{limit: most}))) for most in (1, 3, None))
    assert few < more < every


def test_another_seed_draws_other_pairs() -> None:
    candidates = [(f"SELECT {number}", "match" if number < 10 else "mismatch") for number in range(30)]
    assert ids_of(pairs_of({"q": candidates}, seed=1)) != ids_of(pairs_of({"q": candidates}, seed=2))


candidate_lists = st.lists(
    st.tuples(st.sampled_from(["SELECT 1", "select 1;", "SELECT 2", "SELECT 'a'", "SELECT 'A'", GOLD_SQL, "x", ""]),
              st.sampled_from(VERDICTS)),
    max_size=12,
)  # fmt: skip
question_tables = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), candidate_lists, min_size=1)
any_params = st.fixed_dictionaries({
    "seed": st.integers(0, 3), "dedup": st.booleans(), "keep_gold": st.booleans(),
    "neg_filter": st.sampled_from(list(REJECTED)),
    "neg_limit": st.none() | st.integers(1, 3), "pos_limit": st.none() | st.integers(1, 3),
    "neg_order": st.sampled_from(["random", "nearest", "frequent"]),
})  # fmt: skip


@given(question_tables, any_params)
@settings(max_examples=60)
def test_what_is_chosen_is_right_and_what_is_rejected_is_surely_wrong(
    questions: dict[str, list[Candidate]], drawn: dict[str, Any]
) -> None:
    verdicts = {f"{q}:{at}": said for q, candidates in questions.items() for at, (_, said) in enumerate(candidates)}
    for pair in pairs_of(questions, **drawn).iter_rows(named=True):
        assert sql_tokens(pair["chosen"]) != sql_tokens(pair["rejected"])
        assert pair["rejected_verdict"] == verdicts[pair["rejected_id"]] in REJECTED[drawn["neg_filter"]]
        assert pair["rejected_id"].split(":")[0] == pair["question_id"]
        if pair["chosen_id"] is None:
            assert drawn["keep_gold"] and pair["chosen"] == GOLD_SQL
        else:
            assert verdicts[pair["chosen_id"]] == "match" and pair["chosen_id"].split(":")[0] == pair["question_id"]


@given(question_tables, any_params)
@settings(max_examples=60)
def test_the_counts_add_up(questions: dict[str, list[Candidate]], drawn: dict[str, Any]) -> None:
    made, counts = view_of(tables_of(questions), **drawn)
    kept = {candidate_id for pair in ids_of(made) for candidate_id in pair if candidate_id is not None}
    assert counts["candidates"] == sum(map(len, questions.values()))
    assert len(kept) <= counts["candidates"] - sum(counts[reason] for reason in REASONS)
    assert counts["with_both"] == made["question_id"].n_unique()
    assert counts["questions"] == sum(bool(candidates) for candidates in questions.values())
    assert counts["questions"] == counts["with_right"] + counts["never_right"]
    assert counts["questions"] == counts["with_wrong"] + counts["never_wrong"]


@given(question_tables, any_params, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_the_rows_does_not_matter(
    questions: dict[str, list[Candidate]], drawn: dict[str, Any], shuffler: Any
) -> None:
    tables = tables_of(questions)
    first, second, third = (frame[shuffler.sample(range(frame.height), frame.height)] for frame in tables)
    pairs, counts = view_of((first, second, third), **drawn)
    expected, expected_counts = view_of(tables, **drawn)
    assert pairs.equals(expected) and counts == expected_counts


@given(question_tables, any_params)
@settings(max_examples=30)
def test_a_question_more_changes_no_pair_of_the_others(
    questions: dict[str, list[Candidate]], drawn: dict[str, Any]
) -> None:
    before = pairs_of(questions, **drawn)
    after = pairs_of({**questions, "aa": MIXED}, **drawn)
    assert after.filter(pl.col("question_id") != "aa").equals(before)


@given(st.text())
def test_any_text_has_tokens_and_is_like_itself(text: str) -> None:
    assert similarity(sql_tokens(text), sql_tokens(text)) == 1
    assert sql_tokens(f" {text}") == sql_tokens(text)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_similarity_is_a_share(one: list[str], other: list[str]) -> None:
    assert 0 <= similarity(tuple(one), tuple(other)) <= 1


def test_the_table_carries_prompt_texts_and_ids() -> None:
    (row,) = pairs_of({"q": MIXED[:2], "unused": []}).to_dicts()
    assert row.pop("pair_id") and row.pop("similarity") == similarity(sql_tokens(MIXED[0][0]), sql_tokens(MIXED[1][0]))
    assert row == {
        "question_id": "q", "db_id": "music", "prompt": "Prompt q",
        "chosen": MIXED[0][0], "rejected": MIXED[1][0], "chosen_id": "q:0",
        "rejected_id": "q:1", "rejected_verdict": "mismatch", "witness": None,
    }  # fmt: skip


@pytest.mark.parametrize("dedup", [True, False])
def test_pair_ids_are_unique(dedup: bool) -> None:
    assert pairs_of({"q": MIXED}, dedup=dedup, neg_limit=None)["pair_id"].is_unique().all()


def test_no_pairs_are_an_empty_table() -> None:
    assert pairs_of({"q": []}).schema == pairs_of({"q": [("x", "match")]}).schema == DATASETS["pairs"].columns


def test_the_report_says_what_became_of_every_candidate() -> None:
    verdicts = {"never": "no_sql", "always": "match", "lost": "gold_error"}
    tables = tables_of({"q": MIXED} | {question: [("SELECT 1", verdict)] for question, verdict in verdicts.items()})
    made, counts = view_of(tables)
    left_out = pl.DataFrame({"reason": ["flag_empty", "gold_table_dropped"], "questions": [2, 0], "candidates": [7, 0]})
    assert report_of(made, counts, left_out, "random") == {
        "in": 18,
        "out": 2,
        "dropped": {
            "flag_empty": 7, "gold_table_dropped": 0,
            "undecided": 1, "gold_error": 1, "not_in_neg_filter": 0, "blank": 0, "equal_to_right": 0,
            "right_by_accident": 0, "duplicate": 2,
        },
        "questions": {
            "in": 6, "dropped": {"flag_empty": 2, "gold_table_dropped": 0},
            "with_right": 2, "with_wrong": 2, "with_both": 1, "never_right": 2, "never_wrong": 2,
        },
        "not_drawn": {"over_pos_limit": 0, "over_neg_limit": 4},
        "unparsed": None,
        "gold_chosen": 0,
        "rejected_verdict": dict(Counter(made["rejected_verdict"])),
    }  # fmt: skip


def stage_in(folder: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets, true receipts and params.yaml in `folder`, which becomes the working directory."""
    monkeypatch.chdir(folder)
    set_arguments(monkeypatch, "pairs")
    write_params(pairs=section)
    _, candidates, results = tables_of({"q": MIXED})
    gold = frame_of([{"question_id": "q", "verdict": "ok", "flags": ""}], "gold")
    frames = (questions_of(["q"]), gold, prompts_of(["q"]), candidates, results)
    for name, frame in zip(("questions", "gold", "prompts", "candidates", "exec_results"), frames, strict=True):
        put(name, frame)
    put_counterexamples(results)


def put_counterexamples(results: pl.DataFrame) -> None:
    counterexamples = witnesses_of(results, {})
    write_dataset(counterexamples, COUNTEREXAMPLES)
    write_receipt(COUNTEREXAMPLES, counterexamples.height, True)


def test_the_stage_writes_the_same_bytes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_in(tmp_path, PUBLISHED, monkeypatch)
    main()
    first = Path("data/pairs.parquet").read_bytes(), Path("reports/pairs.json").read_bytes()
    main()
    assert first == (Path("data/pairs.parquet").read_bytes(), Path("reports/pairs.json").read_bytes())
    assert read_any(Path("data/pairs.parquet")).height == read_json(Path("reports/pairs.json"))["out"] == 2
    output = capsys.readouterr().out
    assert output.startswith("pairs: 2 rows, ") and ", not drawn: over_neg_limit 4, rejected: exec_error 1" in output


def test_a_question_whose_gold_is_flagged_gives_no_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, PUBLISHED | {"drop_flags": ["limit_tie"]}, monkeypatch)
    gold = read_any(Path("data/gold.parquet")).with_columns(flags=pl.lit("empty,limit_tie"))
    put("gold", gold)
    main()
    report = read_json(Path("reports/pairs.json"))
    assert (report["in"], report["out"], report["dropped"]["flag_limit_tie"]) == (len(MIXED), 0, len(MIXED))
    assert report["questions"]["in"] == report["questions"]["dropped"]["flag_limit_tie"] == 1


def test_a_table_that_changed_after_validation_stops_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, PUBLISHED, monkeypatch)
    results = read_any(Path("data/exec_results.parquet"))
    write_dataset(results.with_columns(verdict=pl.lit("match")), EXEC_RESULTS)
    with pytest.raises(UserError, match=r"data/exec_results.parquet has changed since"):
        main()
    assert not Path("data/pairs.parquet").exists()


def test_params_beside_their_preset_stop_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, PUBLISHED | {"preset": "grouped-any-limit1", "neg_limit": 3}, monkeypatch)
    with pytest.raises(UserError, match=r"^params.yaml: `pairs.neg_limit` is 3, but preset grouped-any-limit1 has 1; "):
        main()


def test_a_match_without_counterexamples_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, PUBLISHED, monkeypatch)
    put_counterexamples(read_any(Path("data/exec_results.parquet")).clear())
    with pytest.raises(UserError, match=r"3 candidates that matched .* run `dvc repro counterexamples`"):
        main()
    assert not Path("data/pairs.parquet").exists()


def test_the_report_counts_texts_without_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, PUBLISHED | {"neg_order": "nearest"}, monkeypatch)
    results = read_any(Path("data/exec_results.parquet"))
    broken = pl.when(pl.col("verdict") == "exec_error").then(pl.lit("SELECT nam FROM")).otherwise("sql")
    put("exec_results", results.with_columns(sql=broken))
    main()
    assert read_json(Path("reports/pairs.json"))["unparsed"] == 1


def test_every_wrong_param_is_told_at_once_and_a_limit_of_0_says_what_to_give_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = PUBLISHED | {"neg_limit": 0, "pos_limit": -1, "neg_filter": "nearest", "dedup": "yes", "neg_limits": 1}
    stage_in(tmp_path, wrong, monkeypatch)
    with pytest.raises(UserError) as caught:
        main()
    assert len(caught.value.sentences) == 5
    assert "params.yaml: `pairs.neg_limit` is 0; give 1 or more, or null for no limit" in caught.value.sentences
    assert not Path("data/pairs.parquet").exists()


def test_the_verdicts_that_may_be_rejected_are_those_of_the_contract() -> None:
    contract = json.loads((ROOT / "schemas" / "pairs.json").read_text(encoding="utf-8"))
    (closed,) = (one for one in contract["expectations"] if one["meta"]["id"] == "rejected_verdict-closed")
    assert set(closed["kwargs"]["value_set"]) == set(REJECTED["all"])
    assert set(REJECTED) == set(get_args(PairsParams.model_fields["neg_filter"].annotation))
    assert set(REJECTED["all"]) == {*REJECTED["executable"], *REJECTED["error"]}
