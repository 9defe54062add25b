import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stages.synthesis.answers import json_schema
from stages.synthesis.requests import FORMS, Request, ask_vote
from stages.synthesis.strong_model import Answer, BudgetedModel
from tests.synthesis.world import NO_LIMIT, ScriptedModel, budget


def requests(count: int) -> list[Request]:
    ids = [f"strong/bank_0001/{number:02}" for number in range(count)]
    return [ask_vote(item_id, "strong_bank_0001", "bank", "t (a)", "?", 1) for item_id in ids]


def worst_case(request: Request, model: ScriptedModel) -> tuple[int, int]:
    form = json.dumps(json_schema(FORMS[request.kind]))
    return len(form) + sum(len(message["content"].encode()) + 16 for message in request.messages()), model.max_tokens


class Silent(ScriptedModel):
    """A model whose endpoint does not report tokens."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        return [Answer("{}", "stop") for _ in requests]


def test_without_a_limit_everything_is_asked() -> None:
    model = BudgetedModel(ScriptedModel(), NO_LIMIT)
    assert None not in model.ask(requests(20)) and model.exhausted == ""


def test_a_budget_of_nothing_asks_nothing() -> None:
    for name in ("requests", "tokens", "cost"):
        scripted = ScriptedModel()
        model = BudgetedModel(scripted, budget(**{name: 0}))
        assert model.ask(requests(3)) == [None] * 3
        assert (scripted.asked, model.exhausted) == ([], name)
        assert model.spent() == {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}


def test_asking_nothing_exhausts_nothing() -> None:
    model = BudgetedModel(ScriptedModel(), budget(requests=0))
    assert model.ask([]) == [] and model.exhausted == ""


def test_a_limit_of_requests_is_met_exactly() -> None:
    scripted = ScriptedModel()
    model = BudgetedModel(scripted, budget(requests=7))
    assert [answer is None for answer in model.ask(requests(5))] == [False] * 5
    assert model.exhausted == ""
    assert [answer is None for answer in model.ask(requests(5))] == [False] * 2 + [True] * 3
    assert (len(scripted.asked), model.exhausted) == (7, "requests")


def test_what_answers_leave_of_their_worst_case_is_spent_on_the_rest() -> None:
    scripted = ScriptedModel()
    most = sum(worst_case(requests(1)[0], scripted))
    model = BudgetedModel(scripted, budget(tokens=1000 + most - 120))
    answered = [answer for answer in model.ask(requests(100)) if answer]
    assert len(answered) == (1000 + most - 120 - most) // 120 + 1
    assert model.exhausted == "tokens"


@given(st.integers(0, 5000), st.integers(0, 60), st.integers(0, 30))
def test_no_limit_of_tokens_is_ever_exceeded(tokens: int, limit: int, count: int) -> None:
    model = BudgetedModel(ScriptedModel(), budget(tokens=tokens, requests=limit))
    model.ask(requests(count))
    spent = model.counts["prompt_tokens"] + model.counts["completion_tokens"]
    assert spent <= tokens and model.counts["requests"] <= limit


@given(st.floats(0, 0.02))
def test_no_limit_of_cost_is_ever_exceeded(cost: float) -> None:
    model = BudgetedModel(ScriptedModel(), budget(cost=cost))
    model.ask(requests(30))
    assert (model.spent()["cost"] or 0) <= cost


def test_a_smaller_request_may_fit_where_a_larger_one_did_not() -> None:
    scripted = ScriptedModel()
    small, large = requests(1)[0], ask_vote("strong/bank_0001/00", "strong_bank_0001", "bank", "t (a)" * 1000, "?", 1)
    model = BudgetedModel(scripted, budget(tokens=sum(worst_case(small, scripted))))
    assert model.ask([large]) == [None] and model.ask([small]) != [None]


def test_tokens_that_an_endpoint_does_not_report_count_as_the_worst_case() -> None:
    model = BudgetedModel(Silent(), NO_LIMIT)
    model.ask(requests(2))
    prompt, completion = worst_case(requests(1)[0], Silent())
    spent = model.spent()
    assert (spent["prompt_tokens"], spent["completion_tokens"]) == (2 * prompt, 2 * completion)


def test_requests_are_counted_by_kind_and_priced() -> None:
    model = BudgetedModel(ScriptedModel(), NO_LIMIT)
    model.ask(requests(3))
    assert model.counts["vote"] == 3
    assert model.spent() == {"requests": 3, "prompt_tokens": 300, "completion_tokens": 60, "cost": 0.00108}
