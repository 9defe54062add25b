"""What each setting of the ablation trains on."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.ablate import SETTINGS, sft_sets
from stages.core.errors import UserError
from stages.core.layout import SYNTHETIC_DATABASES
from stages.prompting.rendering import PromptsParams
from stages.sft import SftParams
from tests.execution.world import make_database
from tests.workplace import put_rows, write_prompts, write_questions

PROMPTS = PromptsParams.model_validate({
    "style": "compact", "example_rows": 0, "descriptions": False, "evidence": True, "shuffle": None, "max_tokens": None,
    "tokenizer": None, "revision": None,
})  # fmt: skip
PARAMS = SftParams(preference_share=0.0, strong_share=0.5, drop_flags=["limit_tie"])
ITEM = {
    "domain": "music", "db_id": "strong_music_0001", "question": "How old is each singer?", "evidence": "",
    "gold_sql": "SELECT age FROM singer",
}  # fmt: skip
ITEMS: list[dict[str, Any]] = [
    ITEM | {"item_id": "strong/music_0001/00"},
    ITEM | {"item_id": "strong/music_0001/01", "refusal": "outvoted"},
    ITEM | {"item_id": "strong/music_0001/02", "first_sql": "SELECT years FROM singer"},
    ITEM | {"item_id": "strong/music_0001/03", "first_sql": "SELECT x FROM singer", "refusal": "exec_error"},
]
"""One as it came, one refused, one repaired, and one that a repair did not help."""


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pl.DataFrame]:
    monkeypatch.chdir(tmp_path)
    make_database(SYNTHETIC_DATABASES, "strong_music_0001")
    questions = write_questions(["SELECT 1", "SELECT bad"])
    write_prompts()
    put_rows("gold", [
        {"question_id": question_id, "verdict": verdict, "flags": ""}
        for question_id, verdict in zip(questions["question_id"], ("ok", "exec_error"), strict=True)
    ])  # fmt: skip
    put_rows("synthetic", ITEMS)
    return sft_sets(PROMPTS, PARAMS)


def strong_rows(frame: pl.DataFrame) -> dict[str, str]:
    """The SQL of each strong item in a set, by its number."""
    strong = frame.filter(pl.col("origin") == "strong")
    return {row["question_id"][-2:]: row["completion"] for row in strong.iter_rows(named=True)}


def test_each_setting_has_the_same_human_rows_and_the_strong_rows_that_it_is_named_after(
    sets: dict[str, pl.DataFrame],
) -> None:
    assert tuple(sets) == SETTINGS
    assert {frame.filter(pl.col("origin") == "human")["completion"].item() for frame in sets.values()} == {"SELECT 1"}
    right = ITEM["gold_sql"]
    assert {name: strong_rows(frame) for name, frame in sets.items()} == {
        "human": {},
        "unverified": {"00": right, "01": right, "02": "SELECT years FROM singer", "03": "SELECT x FROM singer"},
        "verified": {"00": right},
        "repaired": {"00": right, "02": right},
    }


def test_without_strong_data_there_is_nothing_to_compare(sets: dict[str, pl.DataFrame]) -> None:
    put_rows("synthetic", [])
    with pytest.raises(UserError, match=re.escape("data/synthetic.parquet is empty; set `synthesize.source`")):
        sft_sets(PROMPTS, PARAMS)
