import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.synthesis.answers import AnswerError, DatabaseDraft, QueryDraft, QuestionDraft, json_schema, parse_answer
from stages.synthesis.requests import FORMS
from tests import FIXTURES

CASES: dict[str, dict[str, Any]] = YAML(typ="safe").load(
    (FIXTURES / "synthesis/answers.yaml").read_text(encoding="utf-8")
)
HUGE = {
    "brackets": "[" * 300_000,
    "objects": '{"a":' * 300_000,
    "brackets in a value": f'{{"sql": {"[" * 50_000}{"]" * 50_000}}}',
    "braces": "{" * 3_000_000,
    "thoughts": "<think>" * 500_000,
    "digits": f'{{"sql": {"9" * 100_000}}}',
    "a million rows": f'{{"tables": [{{"name": "t", "create": "CREATE TABLE t (a)", "rows": [{"[1]," * 10**6}[1]]}}]}}',
    "wrong rows": f'{{"tables": [{{"name": "t", "create": "CREATE TABLE t (a)", "rows": [{"[{}]," * 10**5}[1]]}}]}}',
}
"""Answers that would take minutes, or all memory, if they were read without a bound."""


def error_of(text: str, finish_reason: str = "stop", form: Any = QueryDraft) -> AnswerError:
    with pytest.raises(AnswerError) as caught:
        parse_answer(text, finish_reason, form)
    return caught.value


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "sql" in case])
def test_what_has_the_form_is_found_in_an_answer(name: str) -> None:
    case = CASES[name]
    assert parse_answer(case["text"], case.get("finish", "stop"), QueryDraft) == QueryDraft(sql=case["sql"])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "reason" in case])
def test_what_cannot_be_used_has_its_reason_and_a_message(name: str) -> None:
    case = CASES[name]
    error = error_of(case["text"], case.get("finish", "stop"))
    assert error.reason == case["reason"] and case["message"] in error.message


def test_no_text_at_all_is_no_answer() -> None:
    with pytest.raises(AnswerError) as caught:
        parse_answer(None, "refused", QueryDraft)
    assert (caught.value.reason, caught.value.message) == ("no_answer", "the answer is empty (refused)")


@pytest.mark.timeout(120)  # in quadratic time it would be hours
@pytest.mark.parametrize("name", HUGE)
def test_a_huge_answer_is_refused_in_linear_time(name: str) -> None:
    assert error_of(HUGE[name], form=DatabaseDraft).reason in ("not_json", "wrong_form")


def test_a_message_names_five_problems_at_most() -> None:
    tables = [{"name": "t", "create": "CREATE TABLE t (a)", "rows": [[{}], [{}], [{}]]}]
    assert error_of(json.dumps({"tables": tables}), form=DatabaseDraft).message.count(";") == 4


@pytest.mark.parametrize("value", ["true", "NaN", "Infinity", "[1]", "{}"])
def test_a_cell_is_text_a_finite_number_or_null(value: str) -> None:
    text = f'{{"tables": [{{"name": "t", "create": "CREATE TABLE t (a)", "rows": [[{value}]]}}]}}'
    error = error_of(text, form=DatabaseDraft)
    assert error.reason == "wrong_form" and error.message.startswith("tables.0.rows.0.0")


def test_a_database_has_a_table() -> None:
    assert error_of('{"tables": []}', form=DatabaseDraft).message.startswith("tables: list should have at least 1 item")


@pytest.mark.parametrize("blank", ["", " ", "\n", "\x1c"])
def test_a_blank_question_never_becomes_an_item(blank: str) -> None:
    assert error_of(json.dumps({"question": blank, "sql": "SELECT 1"}), form=QuestionDraft).reason == "wrong_form"


@pytest.mark.parametrize("form", [DatabaseDraft, QuestionDraft, QueryDraft])
def test_the_form_that_an_endpoint_is_sent_names_the_keys(form: Any) -> None:
    sent = json_schema(form)
    assert sent["type"] == "json_schema"
    assert form in FORMS.values() and set(sent["json_schema"]["schema"]["required"]) == set(form.model_fields)
