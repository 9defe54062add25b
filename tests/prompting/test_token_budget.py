import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from stages.core.errors import UserError
from stages.prompting.token_budget import (
    TableText,
    drop_order,
    estimate_tokens,
    fit_to_budget,
    render_prompt,
    tables_read,
    token_counter,
)
from tests.prompting.databases import FOLDER


def cases(name: str) -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def rendered(text: str) -> TableText:
    """A table from its compact text."""
    name, columns = text.rstrip(")").split("(")
    return TableText(name, tuple(columns.split(", ")), text)


@pytest.mark.parametrize("case", cases("estimate"), ids=lambda case: str(case["text"]))
def test_the_estimate_is_as_stated(case: dict[str, Any]) -> None:
    assert estimate_tokens(case["text"]) == case["tokens"]


@pytest.mark.parametrize("case", cases("drop_order"), ids=lambda case: str(case["why"]))
def test_the_table_that_has_least_to_do_with_the_question_goes_first(case: dict[str, Any]) -> None:
    tables = [rendered(text) for text in case["tables"]]
    assert tables[drop_order(tables, case["asked"])[0]].name == case["first"]


@pytest.mark.parametrize("case", cases("names_read"), ids=lambda case: str(case["why"]))
def test_the_tables_that_a_query_reads_are_found(case: dict[str, Any]) -> None:
    assert tables_read(case["sql"], case["names"]) == case["read"]


words = st.sampled_from(["singer", "album", "year", "name", "title", "of", "x"])
columns = st.lists(words, min_size=1, max_size=5).map(", ".join)
tables_of_words = st.lists(st.builds("{}({})".format, words, columns).map(rendered), min_size=1, max_size=8)


@given(tables_of_words, st.lists(words, max_size=5).map(" ".join), st.integers(1, 120))
def test_no_more_tables_are_dropped_than_the_budget_wants_and_no_text_is_cut(
    tables: list[TableText], question: str, max_tokens: int
) -> None:
    prompt = fit_to_budget(tables, question, "a hint", estimate_tokens, max_tokens)
    order = drop_order(tables, f"{question} a hint")
    dropped = order[: len(prompt.dropped)]
    kept = [table.text for at, table in enumerate(tables) if at not in dropped]
    assert prompt.dropped == tuple(tables[at].name for at in dropped)
    assert prompt.text == render_prompt("\n".join(kept), question, "a hint")
    assert prompt.tokens == estimate_tokens(prompt.text)
    assert prompt.tokens <= max_tokens or len(kept) == 1
    if dropped:
        more = [table.text for at, table in enumerate(tables) if at not in dropped[:-1]]
        assert estimate_tokens(render_prompt("\n".join(more), question, "a hint")) > max_tokens


def test_without_a_budget_every_table_is_shown() -> None:
    tables = [rendered(f"table{number}(x)") for number in range(50)]
    prompt = fit_to_budget(tables, "How many?", "", estimate_tokens, None)
    assert (prompt.dropped, prompt.text.count("(x)")) == ((), 50)


def test_a_tokenizer_is_loaded_and_counts_without_special_tokens(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    count = token_counter(str(tmp_path / "tokenizer"), "main")
    text = "singer(singer_id, name)\nquestion: " + "long " * 1000
    assert count(text) == len(tokenizer.tokenize(text))


def test_a_tokenizer_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        token_counter("nobody/no-such-model", "main")
    (sentence,) = caught.value.sentences
    assert sentence.startswith("params.yaml: `prompts.tokenizer` is 'nobody/no-such-model', which cannot be loaded (")
