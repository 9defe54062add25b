"""Checks items, asks for votes, and sends what fails back for repair."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.synthesis.answers import AnswerError, QueryDraft, parse_answer
from stages.synthesis.item_checks import Verifier
from stages.synthesis.items import Item
from stages.synthesis.requests import ask_query_repair, ask_vote
from stages.synthesis.strong_model import BudgetedModel


@dataclass(frozen=True, slots=True)
class Mending:
    """`votes`: how often each question is asked again, without its SQL; `repair_rounds`: how often an item may go back.
    Without a `model` there are neither."""

    verifier: Verifier
    model: BudgetedModel | None
    votes: int
    repair_rounds: int

    def check(self, items: Sequence[Item]) -> None:
        """Checks the items, and repairs those that fail."""
        self._check_once(items)
        self.repair([item for item in items if item.refusal])

    def repair(self, items: Sequence[Item]) -> None:
        """Sends refused items back, up to `repair_rounds` times. One that then passes all checks is accepted. Other SQL
        cannot mend a question in another language."""
        if self.model is None:
            return
        for number in range(1, self.repair_rounds + 1):
            failing = [item for item in items if item.refusal not in ("", "not_english")]
            if failing:
                self._check_once(self._repair_once(failing, self.model, number))

    def _check_once(self, items: Sequence[Item]) -> None:
        self.verifier.check(items)
        if self.votes and self.model:
            self._vote([item for item in items if not item.refusal], self.model)

    def _vote(self, items: Sequence[Item], model: BudgetedModel) -> None:
        """Asks for the votes of items that have none yet: repaired SQL is held against those of the SQL before. Refuses
        items whose votes the budget does not allow."""
        new = [item for item in items if not item.votes]
        requests = [
            ask_vote(item.item_id, item.database.db_id, item.database.domain, item.database.ddl, item.asked, number)
            for item in new for number in range(1, self.votes + 1)
        ]  # fmt: skip
        answers = iter(model.ask(requests))
        for item in new:
            votes = [answer for _ in range(self.votes) if (answer := next(answers))]
            if len(votes) < self.votes:
                item.refuse("no_budget", "the budget does not allow its votes")
            else:
                item.votes = [_sql(answer.text, answer.finish_reason) for answer in votes]
        self.verifier.count_votes([item for item in items if not item.refusal])

    def _repair_once(self, items: Sequence[Item], model: BudgetedModel, number: int) -> list[Item]:
        """Sends each item back with what is wrong. Returns those that got other SQL."""
        requests = [
            ask_query_repair(
                item.item_id, item.database.db_id, item.database.domain, item.database.ddl, item.asked, item.sql,
                item.problem, rows, number,
            )
            for item, rows in zip(items, self.verifier.first_rows(items), strict=True)
        ]  # fmt: skip
        repaired = []
        for item, answer in zip(items, model.ask(requests), strict=True):
            if answer is None:
                continue
            item.repairs = number
            sql = _sql(answer.text, answer.finish_reason)
            if sql and sql != item.sql:
                item.replace_sql(sql)
                repaired.append(item)
        return repaired


def _sql(text: str, finish_reason: str) -> str:
    """The SQL of an answer, empty where there is none."""
    try:
        return parse_answer(text, finish_reason, QueryDraft).sql.strip()
    except AnswerError:
        return ""
