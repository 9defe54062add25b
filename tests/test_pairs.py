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
from stages.core.tables import read_any, write_dataset
from stages.datasets.catalog import DATASETS
from stages.datasets.exec_results import EXEC_RESULTS
from stages.pairs import REJECTED, Pair, PairsParams, main, make_pairs, pair_rows, report_of
from stages.sql.tokens import similarity, sql_tokens
from tests import FIXTURES, ROOT
from tests.workplace import put, set_arguments, write_params

EQUAL_SQL = json.loads((FIXTURES / "pairs" / "equal_sql.json").read_text(encoding="utf-8"))
PUBLISHED: dict[str, Any] = {
    "seed": 7, "dedup": True, "keep_gold": False, "neg_filter": "all", "neg_limit": 1, "pos_limit": None,
    "drop_flags": [],
}  # fmt: skip
"""`grouped-any-limit1`."""
VERDICTS = ("match", "mismatch", "exec_error", "over_budget", "undecided", "no_sql", "gold_error")
GOLD = "SELECT count(*) FROM singer"

Candidate = tuple[str, str]
"""SQL and its verdict."""
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
"""questions with the verdict of their gold and their prompt, candidates, exec_results."""


def params(**changed: Any) -> PairsParams:
    return PairsParams.model_validate(PUBLISHED | changed)


def questions_of(ids: list[str]) -> pl.DataFrame:
    row = {"source": "demo", "split": "train", "db_id": "music", "question": "How many?", "evidence": ""}
    rows = [{"question_id": one, **row, "gold_sql": GOLD, "difficulty": "easy", "origin": "human"} for one in ids]
    return pl.DataFrame(rows, schema=DATASETS["questions"].columns)


def prompts_of(ids: list[str], lost: str = "[]") -> pl.DataFrame:
    rows = [{"question_id": one, "db_id": "music", "prompt": f"Prompt {one}", "lost_tables": lost} for one in ids]
    return frame_of(rows, "prompts")


def tables_of(questions: dict[str, list[Candidate]], gold: str = "ok") -> Tables:
    """question_id to its candidates, as tables; the id of a candidate is `<question_id>:<sample>`."""
    asked = [
        {"candidate_id": f"{q}:{at}", "question_id": q, "sample": at, "sql": sql, "completion": sql, "verdict": said}
        for q, candidates in questions.items()
        for at, (sql, said) in enumerate(candidates)
    ]
    known = questions_of(list(questions)).with_columns(verdict=pl.lit(gold), prompt="Prompt " + pl.col("question_id"))
    return known, frame_of(asked, "candidates"), frame_of(asked, "exec_results")


def frame_of(rows: list[dict[str, Any]], dataset: str) -> pl.DataFrame:
    """The columns of a dataset; NULL where the rows say nothing."""
    full = [{column: row.get(column) for column in DATASETS[dataset].columns} for row in rows]
    return pl.DataFrame(full, schema=DATASETS[dataset].columns)


def pairs_of(questions: dict[str, list[Candidate]], gold: str = "ok", **changed: Any) -> list[Pair]:
    return make_pairs(*tables_of(questions, gold), params(**changed))[0]


def ids_of(pairs: list[Pair]) -> list[tuple[str | None, str | None]]:
    return [(chosen.id, rejected.id) for _, chosen, rejected in pairs]


def chosen_of(pairs: list[Pair]) -> set[str | None]:
    return {chosen.id for _, chosen, _ in pairs}


def rejected_of(pairs: list[Pair]) -> set[str]:
    return {rejected.verdict for _, _, rejected in pairs}


MIXED: list[Candidate] = [
    ("SELECT count(*) FROM singer", "match"),
    ("SELECT name FROM singer", "mismatch"),
    ("select COUNT( * ) from singer;", "match"),
    ("SELECT count(1) FROM singer", "match"),
    ("SELECT nam FROM singer", "exec_error"),
    ("SELECT NAME FROM singer ;", "mismatch"),
    ("SELECT * FROM singer, singer, singer", "over_budget"),
    ("SELECT random()", "undecided"),
]


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
    assert pairs_of(wrong) == []
    ((_, chosen, rejected),) = pairs_of(wrong, keep_gold=True)
    assert (chosen.id, chosen.text, rejected.id) == (None, GOLD, "q:0")


def test_the_gold_is_not_chosen_again_where_a_candidate_says_the_same() -> None:
    candidates = {"q": [("SELECT COUNT(*) FROM singer;", "match"), ("SELECT 2", "mismatch")]}
    assert chosen_of(pairs_of(candidates, keep_gold=True)) == {"q:0"}


@pytest.mark.parametrize("verdict", ["exec_error", "over_budget", "undecided"])
def test_a_gold_that_is_not_usable_is_not_chosen(verdict: str) -> None:
    assert pairs_of({"q": [("SELECT 2", "mismatch")]}, verdict, keep_gold=True) == []


def test_a_wrong_candidate_that_says_what_a_right_one_or_the_gold_says_is_not_rejected() -> None:
    wrong = [("select 1", "mismatch"), (GOLD.lower(), "over_budget"), ("SELECT 3", "mismatch")]
    assert ids_of(pairs_of({"q": [("SELECT 1", "match"), *wrong]}, dedup=False, neg_limit=None)) == [("q:0", "q:3")]


def test_a_candidate_with_no_sql_is_rejected_with_all_it_said_unless_that_is_blank() -> None:
    questions, candidates, results = tables_of({"q": [("SELECT 1", "match"), ("", "no_sql"), ("", "no_sql")]})
    candidates = candidates.with_columns(completion=pl.Series([" SELECT 1", "```\n```", " \n"]))
    made, counts = make_pairs(questions, candidates, results, params(neg_limit=None))
    assert [rejected.text for _, _, rejected in made] == ["```\n```"]
    assert counts["blank"] == 1


def test_limits_hold() -> None:
    right = [(f"SELECT {number}", "match") for number in range(5)]
    wrong = [(f"SELECT {number}", "mismatch") for number in range(10, 16)]
    made = pairs_of({"q": right + wrong}, neg_limit=3, pos_limit=2)
    assert Counter(chosen.id for _, chosen, _ in made) == dict.fromkeys(chosen_of(made), 3)
    assert len(chosen_of(made)) == 2
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
    st.tuples(st.sampled_from(["SELECT 1", "select 1;", "SELECT 2", "SELECT 'a'", "SELECT 'A'", GOLD, "x", ""]),
              st.sampled_from(VERDICTS)),
    max_size=12,
)  # fmt: skip
question_tables = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), candidate_lists, min_size=1)
any_params = st.fixed_dictionaries({
    "seed": st.integers(0, 3), "dedup": st.booleans(), "keep_gold": st.booleans(),
    "neg_filter": st.sampled_from(list(REJECTED)),
    "neg_limit": st.none() | st.integers(1, 3), "pos_limit": st.none() | st.integers(1, 3),
})  # fmt: skip


@given(question_tables, any_params)
@settings(max_examples=60)
def test_what_is_chosen_is_right_and_what_is_rejected_is_surely_wrong(
    questions: dict[str, list[Candidate]], drawn: dict[str, Any]
) -> None:
    for question_id, chosen, rejected in pairs_of(questions, **drawn):
        assert chosen.tokens != rejected.tokens
        assert rejected.verdict in REJECTED[drawn["neg_filter"]]
        for one in (chosen, rejected):
            if one.id is not None:
                asked, sample = one.id.split(":")
                assert (asked, questions[asked][int(sample)][1]) == (question_id, one.verdict)
        assert chosen.verdict == "match"
        assert chosen.id is not None or (drawn["keep_gold"] and chosen.text == GOLD)


@given(question_tables, any_params)
@settings(max_examples=60)
def test_the_counts_add_up(questions: dict[str, list[Candidate]], drawn: dict[str, Any]) -> None:
    made, counts = make_pairs(*tables_of(questions), params(**drawn))
    reasons = ("undecided", "gold_error", "not_in_neg_filter", "blank", "equal_to_right", "duplicate")
    kept = {one.id for pair in made for one in pair[1:] if one.id is not None}
    assert counts["candidates"] == sum(map(len, questions.values()))
    assert len(kept) <= counts["candidates"] - sum(counts[reason] for reason in reasons)
    assert counts["with_both"] == len({pair[0] for pair in made})
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
    assert make_pairs(first, second, third, params(**drawn)) == make_pairs(*tables, params(**drawn))


@given(question_tables, any_params)
@settings(max_examples=30)
def test_a_question_more_changes_no_pair_of_the_others(
    questions: dict[str, list[Candidate]], drawn: dict[str, Any]
) -> None:
    before = pairs_of(questions, **drawn)
    after = pairs_of({**questions, "aa": MIXED}, **drawn)
    assert [pair for pair in after if pair[0] != "aa"] == before


@given(st.text())
def test_any_text_has_tokens_and_is_like_itself(text: str) -> None:
    assert similarity(sql_tokens(text), sql_tokens(text)) == 1
    assert sql_tokens(f" {text}") == sql_tokens(text)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_similarity_is_a_share(one: list[str], other: list[str]) -> None:
    assert 0 <= similarity(tuple(one), tuple(other)) <= 1


def test_the_table_carries_prompt_texts_and_ids() -> None:
    (row,) = pair_rows(pairs_of({"q": MIXED[:2]}), tables_of({"q": [], "unused": []})[0]).to_dicts()
    assert row.pop("pair_id") and row.pop("similarity") == similarity(sql_tokens(MIXED[0][0]), sql_tokens(MIXED[1][0]))
    assert row == {
        "question_id": "q", "db_id": "music", "prompt": "Prompt q",
        "chosen": MIXED[0][0], "rejected": MIXED[1][0], "chosen_id": "q:0",
        "rejected_id": "q:1", "rejected_verdict": "mismatch", "witness": None,
    }  # fmt: skip


@pytest.mark.parametrize("dedup", [True, False])
def test_pair_ids_are_unique(dedup: bool) -> None:
    table = pair_rows(pairs_of({"q": MIXED}, dedup=dedup, neg_limit=None), tables_of({"q": []})[0])
    assert table["pair_id"].is_unique().all()


def test_no_pairs_are_an_empty_table() -> None:
    assert pair_rows([], tables_of({"q": []})[0]).schema == DATASETS["pairs"].columns


def test_the_report_says_what_became_of_every_candidate() -> None:
    verdicts = {"never": "no_sql", "always": "match", "lost": "gold_error"}
    tables = tables_of({"q": MIXED} | {question: [("SELECT 1", verdict)] for question, verdict in verdicts.items()})
    made, counts = make_pairs(*tables, params())
    left_out = pl.DataFrame({"reason": ["flag_empty", "gold_table_dropped"], "questions": [2, 0], "candidates": [7, 0]})
    assert report_of(pair_rows(made, tables[0]), counts, left_out) == {
        "in": 18,
        "out": 2,
        "dropped": {
            "flag_empty": 7, "gold_table_dropped": 0,
            "undecided": 1, "gold_error": 1, "not_in_neg_filter": 0, "blank": 0, "equal_to_right": 0, "duplicate": 2,
        },
        "questions": {
            "in": 6, "dropped": {"flag_empty": 2, "gold_table_dropped": 0},
            "with_right": 2, "with_wrong": 2, "with_both": 1, "never_right": 2, "never_wrong": 2,
        },
        "not_drawn": {"over_pos_limit": 0, "over_neg_limit": 4},
        "gold_chosen": 0,
        "rejected_verdict": dict(Counter(rejected.verdict for _, _, rejected in made)),
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


def test_the_stage_writes_the_same_bytes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, PUBLISHED, monkeypatch)
    main()
    first = Path("data/pairs.parquet").read_bytes(), Path("reports/pairs.json").read_bytes()
    main()
    assert first == (Path("data/pairs.parquet").read_bytes(), Path("reports/pairs.json").read_bytes())
    assert read_any(Path("data/pairs.parquet")).height == read_json(Path("reports/pairs.json"))["out"] == 2


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
