"""The demo's strong model: what it makes, and which of its mistakes the checks, votes and repairs find."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.corpora.demo.corpus import DemoParams
from stages.databases.paths import database_path
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.demo_model import DemoModel
from stages.synthesis.demo_report import mistakes_report
from stages.synthesis.items import Item
from stages.synthesis.mending import Mending
from stages.synthesis.mistakes import BROKEN_ROWS, BROKEN_SQL, BROKEN_TEXT, WRONG_SQL
from stages.synthesis.requests import Request, ask_database, ask_question, ask_vote
from stages.synthesis.strong_model import BudgetedModel
from stages.synthesis.synthesizer import ModelSource, Synthesizer
from stages.synthesis.taxonomy import read_taxonomy
from tests.synthesis.world import LIMITS, NO_LIMIT, inline, verifier, work_here

CORPUS = DemoParams(
    seed=1, domains=None, strong_domains=4, train_databases=6, dev_databases=1, test_databases=1, train_questions=8,
    dev_questions=5, test_questions=5,
)  # fmt: skip
COUNT = 400


@dataclass(frozen=True)
class Run:
    model: DemoModel
    items: list[Item]
    mistakes: dict[str, dict[str, int]]
    folder: Path

    def share(self, kinds: tuple[str, ...], *columns: str) -> float:
        """Of the items with a mistake of these kinds that were needed."""
        rows = [row for kind, row in self.mistakes.items() if kind in kinds]
        needed = sum(row["made"] - row["not_needed"] for row in rows)
        assert needed >= 5
        return sum(row[column] for row in rows for column in columns) / needed


def run(folder: Path, mistake_rate: float, count: int, votes: int = 3) -> Run:
    model = DemoModel(1, CORPUS, mistake_rate)
    budgeted = BudgetedModel(model, NO_LIMIT)
    source = ModelSource(
        budgeted, DatabaseMaker(folder / "out", LIMITS, inline, 2), read_taxonomy(), model.domains, 8, [], 1
    )
    items, ended_by = Synthesizer(source, Mending(verifier(folder), budgeted, votes, 2)).run(count)
    assert ended_by == "items"
    return Run(model, items, mistakes_report(model, items), folder / "out")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in which a fifth of the answers has a mistake."""
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        yield run(tmp_path_factory.mktemp("spoilt"), 0.2, COUNT)


def questions(model: DemoModel, count: int) -> list[Request]:
    """Requests for questions about the first databases of a domain."""
    domain = model.domains[0]
    places = [(f"{domain}_{at // 8 + 1:04}", at % 8) for at in range(count)]
    return [
        ask_question(f"strong/{name}/{at:02}", f"strong_{name}", domain, "", "easy", "", []) for name, at in places
    ]


def test_at_a_rate_of_nothing_there_are_no_mistakes_and_nothing_is_lost(
    tmp_path: Path, in_this_process: None
) -> None:
    right = run(tmp_path, 0.0, 60)
    assert set(right.model.mistakes.values()) == {""} and set(right.mistakes) == {"none"}
    assert right.mistakes["none"]["left_out"] <= 0.03 * 60
    assert all(item.sql == right.model.right_sql(item.item_id) for item in right.items)
    assert not any(item.first_sql or (item.votes and item.agreeing < 3) for item in right.items if not item.refusal)


def test_mistakes_that_break_text_or_execution_are_found(spoilt: Run) -> None:
    assert spoilt.share((*BROKEN_TEXT, *BROKEN_SQL), "left_out", "repaired") >= 0.95


def test_databases_with_a_mistake_are_found(spoilt: Run) -> None:
    broken = {
        name.split("/")[1]: mistake for name, mistake in spoilt.model.mistakes.items()
        if name.startswith("database/") and mistake
    }  # fmt: skip
    assert set(broken.values()) & set(BROKEN_ROWS) and len(broken) >= 5
    sent_back = {name.split("/")[1] for name in spoilt.model.mistakes if name.startswith("repair_database/")}
    assert len(sent_back & set(broken)) >= 0.95 * len(broken)


def test_silent_mistakes_are_found_by_three_votes(spoilt: Run) -> None:
    assert spoilt.share(WRONG_SQL, "left_out", "repaired") >= 0.8


def test_few_right_items_are_lost(spoilt: Run) -> None:
    """A right query whose LIMIT cuts through a tie is no loss: nobody could answer its question."""
    right = [item for item in spoilt.items if not spoilt.model.mistakes[f"question/{item.item_id}/1"]]
    lost = [item for item in right if item.refusal not in ("", "near_duplicate", "beyond_count", "limit_tie")]
    assert len(right) > 250 and len(lost) <= 0.03 * len(right)


def test_the_report_counts_every_item_once(spoilt: Run) -> None:
    columns = ("left_out", "repaired", "accepted", "not_needed")
    assert all(row["made"] == sum(row[column] for column in columns) for row in spoilt.mistakes.values())
    asked = [name for name in spoilt.model.mistakes if name.startswith("question/")]
    assert sum(row["made"] for row in spoilt.mistakes.values()) == len(asked)
    accepted = [item for item in spoilt.items if not item.refusal]
    assert sum(row["accepted"] + row["repaired"] for row in spoilt.mistakes.values()) == len(accepted) == COUNT


def test_a_repair_brings_right_sql_back(spoilt: Run) -> None:
    repaired = [item for item in spoilt.items if not item.refusal and item.first_sql is not None]
    right = [item for item in repaired if item.sql == spoilt.model.right_sql(item.item_id)]
    assert len(repaired) >= 10 and len(right) >= 0.9 * len(repaired)


def test_databases_are_never_those_of_dev_and_test() -> None:
    model = DemoModel(1, CORPUS, 0.0)
    reserved = {f"{domain}_{number}" for domain in model.domains for number in (7, 8)}
    numbers = range(1, 100)
    for domain in model.domains:
        requests = [ask_database(f"strong_{domain}_{number:04}", domain, 3) for number in numbers]
        drawn = [model._database(request).db_id for request in requests]
        assert not reserved & set(drawn) and len(set(drawn)) == len(drawn)
        assert drawn[:6] == [f"{domain}_{number}" for number in range(1, 7)]


def test_the_domains_are_those_without_human_train_questions() -> None:
    assert DemoModel(1, CORPUS, 0.0).domains == CORPUS.strong_domain_names
    assert len(CORPUS.strong_domain_names) == 4


def test_the_same_seed_gives_the_same_answers_and_another_seed_others() -> None:
    first, same, other = (DemoModel(seed, CORPUS, 0.5) for seed in (1, 1, 2))
    requests = questions(first, 16)
    answers = first.answer(requests)
    assert answers == first.answer(requests) == same.answer(requests) != other.answer(requests)


def test_about_the_given_share_of_answers_has_a_mistake() -> None:
    model = DemoModel(1, CORPUS, 0.2)
    requests = questions(model, 300)
    model.answer(requests)
    votes = [ask_vote(each.subject, each.db_id, each.domain, "", "", number) for each in requests for number in (1, 2)]
    model.answer(votes)
    spoilt = [bool(mistake) for mistake in model.mistakes.values()]
    assert len(spoilt) == 900 and 0.14 < sum(spoilt) / len(spoilt) < 0.26


def test_a_mistake_changes_the_answer() -> None:
    right, spoilt = DemoModel(1, CORPUS, 0.0), DemoModel(1, CORPUS, 1.0)
    requests = questions(right, 60)
    for request, one, other in zip(requests, right.answer(requests), spoilt.answer(requests), strict=True):
        if spoilt.mistakes[request.name]:
            assert one.text != other.text
        assert json.loads(one.text)["sql"] == right.right_sql(request.subject)
    assert sum(map(bool, spoilt.mistakes.values())) > 50


def test_the_databases_lie_where_the_items_say(spoilt: Run) -> None:
    for item in spoilt.items:
        assert item.database.file == database_path(spoilt.folder, item.database.db_id) and item.database.file.is_file()
