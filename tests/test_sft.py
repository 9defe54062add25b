from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.layout import SYNTHETIC_DATABASES
from stages.core.tables import read_any
from stages.datasets.catalog import DATASETS
from stages.datasets.questions import held_back_databases
from stages.prompting.rendering import PromptsParams
from stages.sft import SftParams, drop_reasons, main, mix, sft_rows, strong_reasons
from tests.execution.world import make_database
from tests.workplace import put, set_arguments, write_params


def question(question_id: str, split: str = "train") -> dict[str, str]:
    return {
        "question_id": question_id, "source": "demo", "split": split, "db_id": "music",
        "question": f"Question {question_id}?", "evidence": "a hint",
        "gold_sql": f"SELECT '{question_id}'", "other_golds": "", "difficulty": "easy", "origin": "human",
    }  # fmt: skip


def gold(question_id: str, verdict: str = "ok", flags: str = "") -> dict[str, Any]:
    known = {"question_id": question_id, "verdict": verdict, "flags": flags}
    return {column: known.get(column) for column in DATASETS["gold"].columns}


def prompt(question_id: str, lost: str = "[]") -> dict[str, Any]:
    return {
        "question_id": question_id, "db_id": "music", "prompt": f"Prompt {question_id}", "tokens": 3,
        "dropped_tables": '["album", "song"]', "lost_tables": lost,
    }  # fmt: skip


TRAIN = ("good", "failed", "slow", "tied", "both", "empty", "lost")
QUESTIONS = pl.DataFrame(
    [question("dev", split="dev"), *map(question, TRAIN)], schema=DATASETS["questions"].columns
)
PROMPTS = pl.DataFrame(
    [prompt("dev"), *(prompt(one, '["song"]' if one in ("lost", "both") else "[]") for one in TRAIN)],
    schema=DATASETS["prompts"].columns,
)
GOLD = pl.DataFrame(
    [
        gold("dev"), gold("good"), gold("failed", "exec_error"), gold("slow", "over_budget"),
        gold("tied", flags="limit_tie"), gold("both", flags="empty,limit_tie"), gold("empty", flags="empty"),
        gold("lost"),
    ],
    schema=DATASETS["gold"].columns,
)  # fmt: skip


PROMPT_PARAMS = {
    "style": "compact", "example_rows": 0, "descriptions": False, "evidence": True, "shuffle": None, "max_tokens": None,
    "tokenizer": None, "revision": None,
}  # fmt: skip
"""Section `prompts` of params.yaml."""


def params_of(**changed: Any) -> SftParams:
    section = {"preference_share": 0.0, "strong_share": None, "drop_flags": ["limit_tie"]}
    return SftParams.model_validate(section | changed)


def item(number: int, refusal: str | None = None, **changed: Any) -> dict[str, Any]:
    return {
        "item_id": f"strong/music_0001/{number:02}", "domain": "music", "db_id": "strong_music_0001",
        "question": "How old is each singer?", "evidence": "", "gold_sql": "SELECT age FROM singer",
        "difficulty": "easy", "concept": "projection", "model": "strong", "model_version": "1", "refusal": refusal,
        "checks": "", "votes": 0, "vote_share": None, "repairs": 0, "first_sql": None,
    } | changed  # fmt: skip


SYNTHETIC = pl.DataFrame(
    [
        item(0), item(1, "outvoted"), item(2, evidence="in years"), item(3, "exec_error", gold_sql="SELECT age FROM"),
        item(4, "outvoted"),
    ],
    schema=DATASETS["synthetic"].columns,
)  # fmt: skip


def test_each_question_is_left_out_for_its_first_reason() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD, PROMPTS, params_of()).select("question_id", "reason").rows()
    assert dict(reasons) == {
        "dev": "not_train", "good": None, "failed": "gold_exec_error", "slow": "gold_over_budget",
        "tied": "flag_limit_tie", "both": "flag_limit_tie", "empty": None,
        "lost": "gold_table_dropped",
    }  # fmt: skip


def many_questions() -> pl.DataFrame:
    """Ten train questions of each of 20 databases."""
    rows = [
        dict.fromkeys(QUESTIONS.columns, "")
        | {"question_id": f"{db}/{number}", "split": "train", "db_id": f"db_{db}", "gold_sql": "SELECT 1"}
        for db in range(20)
        for number in range(10)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=QUESTIONS.schema)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_the_preference_share_holds_back_whole_databases(share: float) -> None:
    questions = many_questions()
    gold = questions.select("question_id", verdict=pl.lit("ok"), flags=pl.lit(""))
    prompts = questions.select("question_id", prompt=pl.lit("?"), lost_tables=pl.lit("[]"))
    reasons = drop_reasons(questions, gold, prompts, params_of(preference_share=share))
    by_database = reasons.group_by("db_id").agg(pl.col("reason").unique())
    assert reasons.filter(pl.col("reason") == "held_back").height == 200 * share
    assert by_database["reason"].list.len().to_list() == [1] * 20


def test_a_higher_share_holds_back_the_databases_of_a_lower_one_and_dev_and_test_are_never_held_back() -> None:
    questions = many_questions()
    shares = [held_back_databases(questions, share) for share in (0.1, 0.3, 0.9)]
    assert shares[0] < shares[1] < shares[2]
    assert held_back_databases(questions.with_columns(split=pl.lit("dev")), 0.9) == set()


def test_without_flags_to_drop_every_usable_gold_stays_whose_tables_are_shown() -> None:
    kept = drop_reasons(QUESTIONS, GOLD, PROMPTS, params_of(drop_flags=[])).filter(pl.col("reason").is_null())
    assert set(kept["question_id"]) == {"good", "tied", "empty"}


def test_a_flag_is_not_taken_for_a_part_of_another() -> None:
    odd = GOLD.with_columns(flags=pl.lit("not_limit_tie"))
    assert "flag_limit_tie" not in drop_reasons(QUESTIONS, odd, PROMPTS, params_of())["reason"].to_list()


@pytest.mark.parametrize("dataset", ["gold", "prompts"])
def test_a_question_that_another_dataset_lacks_is_refused(dataset: str) -> None:
    frames = {"gold": GOLD, "prompts": PROMPTS}
    frames[dataset] = frames[dataset].filter(pl.col("question_id") != "good")
    with pytest.raises(UserError, match=rf"{dataset} has no row for 1 questions \(the first: good\)"):
        drop_reasons(QUESTIONS, frames["gold"], frames["prompts"], params_of())


def test_the_prompt_is_that_of_the_dataset_and_the_completion_the_gold() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD, PROMPTS.reverse(), params_of())
    (row,) = sft_rows(reasons.filter(pl.col("question_id") == "good")).to_dicts()
    assert row == {
        "question_id": "good", "prompt": "Prompt good", "completion": "SELECT 'good'", "origin": "human",
    }  # fmt: skip


def stage_in(folder: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets, true receipts and params.yaml in `folder`, which becomes the working directory."""
    monkeypatch.chdir(folder)
    set_arguments(monkeypatch, "sft")
    write_params(sft=params_of().model_dump() | section, prompts=PROMPT_PARAMS)
    make_database(SYNTHETIC_DATABASES, "strong_music_0001")
    frames = {"questions": QUESTIONS, "gold": GOLD, "prompts": PROMPTS, "synthetic": SYNTHETIC}
    for name, frame in frames.items():
        put(name, frame)


def test_the_stage_writes_the_same_bytes_twice_and_counts_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_in(tmp_path, {}, monkeypatch)
    main()
    first = Path("data/sft.parquet").read_bytes()
    main()
    assert first == Path("data/sft.parquet").read_bytes()
    assert read_any(Path("data/sft.parquet")).select("question_id", "origin").rows() == [
        ("empty", "human"), ("good", "human"), ("strong/music_0001/00", "strong"), ("strong/music_0001/02", "strong"),
    ]  # fmt: skip
    assert read_json(Path("reports/sft.json")) == {
        "human": {
            "in": 8, "out": 2,
            "dropped": {
                "flag_limit_tie": 2, "gold_exec_error": 1, "gold_over_budget": 1, "gold_table_dropped": 1,
                "not_train": 1,
            },
        },
        "strong": {"in": 5, "out": 2, "dropped": {"refused_exec_error": 1, "refused_outvoted": 2}},
    }  # fmt: skip
    assert capsys.readouterr().out.startswith("sft: 4 rows, 9 dropped (flag_limit_tie 2, ")


def test_the_prompt_of_an_item_is_rendered_as_that_of_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, {}, monkeypatch)
    main()
    rows = {row["question_id"]: row for row in read_any(Path("data/sft.parquet")).to_dicts()}
    plain, hinted = rows["strong/music_0001/00"], rows["strong/music_0001/02"]
    assert plain["prompt"].startswith("singer(singer_id, name, age, country)\nalbum(album_id, singer_id, title)\n")
    assert plain["prompt"].endswith("question: How old is each singer?\nsql:\n")
    assert "in years" in hinted["prompt"] and plain["completion"] == "SELECT age FROM singer"


def test_an_item_whose_table_does_not_fit_the_prompt_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, {}, monkeypatch)
    params = PromptsParams.model_validate(PROMPT_PARAMS | {"max_tokens": 1})
    both = SYNTHETIC.with_columns(gold_sql=pl.lit("SELECT title FROM album JOIN singer USING (singer_id)"))
    reasons = strong_reasons(both, params)["reason"].to_list()
    assert reasons == [
        "gold_table_dropped", "refused_outvoted", "gold_table_dropped", "refused_exec_error", "refused_outvoted",
    ]  # fmt: skip


def test_a_missing_database_of_an_item_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {}, monkeypatch)
    (SYNTHETIC_DATABASES / "strong_music_0001/strong_music_0001.sqlite").unlink()
    with pytest.raises(UserError, match=r"strong_music_0001.sqlite does not exist; run `dvc repro`"):
        main()


def test_without_strong_data_the_set_is_that_of_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {}, monkeypatch)
    put("synthetic", SYNTHETIC.clear())
    main()
    assert read_any(Path("data/sft.parquet"))["origin"].to_list() == ["human", "human"]
    assert read_json(Path("reports/sft.json"))["strong"] == {"in": 0, "out": 0, "dropped": {}}


@pytest.mark.parametrize(
    ("share", "human", "strong", "over"),
    [(0, 2, 0, (0, 2)), (1, 0, 2, (2, 0)), (0.5, 2, 2, (0, 0)), (0.34, 2, 1, (0, 1))],
)
def test_the_stage_mixes_by_share_and_counts_what_is_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, human: int, strong: int, over: tuple[int, int]
) -> None:
    stage_in(tmp_path, {"strong_share": share}, monkeypatch)
    main()
    origins = read_any(Path("data/sft.parquet"))["origin"].to_list()
    assert (origins.count("human"), origins.count("strong")) == (human, strong)
    report = read_json(Path("reports/sft.json"))
    assert tuple(report[side]["dropped"].get("over_share", 0) for side in ("human", "strong")) == over
    for side in report.values():
        assert side["in"] == side["out"] + sum(side["dropped"].values())


def test_a_share_that_leaves_no_row_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"strong_share": 1}, monkeypatch)
    put("synthetic", SYNTHETIC.clear())
    with pytest.raises(UserError, match=r"with `sft.strong_share` 1.0 no row is left; set it to null"):
        main()
    assert not Path("data/sft.parquet").exists()


@pytest.mark.parametrize("share", [-0.1, 1.1, "half"])
def test_a_share_beyond_its_bounds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: object) -> None:
    stage_in(tmp_path, {"strong_share": share}, monkeypatch)
    with pytest.raises(UserError, match=r"`sft.strong_share` is"):
        main()


def rows(side: str, count: int) -> pl.DataFrame:
    ids = [f"{side}/{number:04}" for number in range(count)]
    frame = pl.DataFrame({"question_id": ids}, schema={"question_id": pl.String})
    return frame.with_columns(prompt=pl.lit("p"), completion=pl.lit("c"), origin=pl.lit(side))


COUNTS = st.integers(0, 300)


@given(COUNTS, COUNTS, st.floats(0, 1))
def test_the_share_holds_up_to_rounding_and_one_side_is_whole(human: int, strong: int, share: float) -> None:
    mixed, over = mix(rows("human", human), rows("strong", strong), share)
    kept = mixed.filter(pl.col("origin") == "strong").height
    assert (mixed.height - kept + over[0], kept + over[1]) == (human, strong)
    assert 0 in over or share in (0, 1)
    assert abs(kept - Fraction(share) * mixed.height) <= Fraction(1, 2) + Fraction(1, 10**6)
    assert mixed["question_id"].n_unique() == mixed.height


@given(COUNTS, COUNTS)
def test_without_a_share_nothing_is_lost(human: int, strong: int) -> None:
    mixed, over = mix(rows("human", human), rows("strong", strong), None)
    assert over == (0, 0)
    assert mixed.rows() == [*rows("human", human).rows(), *rows("strong", strong).rows()]


@given(COUNTS, COUNTS, st.floats(0, 1))
def test_which_rows_are_drawn_does_not_depend_on_their_order(human: int, strong: int, share: float) -> None:
    mixed, _ = mix(rows("human", human), rows("strong", strong), share)
    reversed_mix, _ = mix(rows("human", human).reverse(), rows("strong", strong).reverse(), share)
    assert set(mixed["question_id"]) == set(reversed_mix["question_id"])


def test_an_invalid_dataset_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": []}, monkeypatch)
    put("gold", GOLD, valid=False)
    with pytest.raises(UserError, match=r"data/gold.parquet broke its suite"):
        main()
    assert not Path("data/sft.parquet").exists()


def test_an_unknown_flag_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": ["limit_ties"]}, monkeypatch)
    with pytest.raises(UserError, match=r"`sft.drop_flags.0` is 'limit_ties'; input should be 'empty', 'limit_tie'"):
        main()
