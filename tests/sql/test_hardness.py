import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.sql.hardness import hardness
from tests import ROOT
from tests.real import REAL

SPIDER = REAL / "spider"
CASES = json.loads((ROOT / "tests" / "fixtures" / "predictions" / "hardness.json").read_text(encoding="utf-8"))
WORDS = ["select", "SELECT", "(", ")", "'", '"', "--", ",", "or", "and", "between", "from", "union", "max", "a"]


@pytest.mark.parametrize(("level", "sql"), [(level, sql) for level, queries in CASES.items() for sql in queries])
def test_the_level_is_that_of_spiders_rule(level: str, sql: str) -> None:
    assert hardness(sql) == level


@given(st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_has_a_level(text: str) -> None:
    assert hardness(text) in CASES


@pytest.mark.realdata
def test_spider_dev_has_the_published_count_of_each_level() -> None:
    entries = json.loads((SPIDER / "dev.json").read_text(encoding="utf-8"))
    levels = Counter(hardness(entry["query"]) for entry in entries)
    assert levels == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}


@pytest.mark.realdata
def test_every_training_query_of_spider_has_a_level() -> None:
    entries = json.loads((SPIDER / "train_spider.json").read_text(encoding="utf-8"))
    assert [entry["query"] for entry in entries if hardness(entry["query"]) == "unknown"] == []
