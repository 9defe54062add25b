"""Makes items wave by wave until so many are accepted, or the budget ends.

A wave asks for as many items as are still missing. All work follows the order of the items, never that of the answers:
the same answers give the same dataset.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import Protocol

from stages.core.files import fingerprint
from stages.core.progress import progress
from stages.sql.tokens import sql_tokens
from stages.synthesis.answers import AnswerError, QuestionDraft, parse_answer
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.items import Item, SyntheticDatabase
from stages.synthesis.mending import Mending
from stages.synthesis.near_duplicates import NearDuplicates, word_shingles
from stages.synthesis.requests import Example, ask_question
from stages.synthesis.strong_model import BudgetedModel
from stages.synthesis.taxonomy import Taxonomy, least_used

SIMILAR_ITEMS = 0.9
"""Jaccard similarity of the words of question and SQL, in runs of three, from which on two items count as the same."""
IDLE_WAVES = 3
"""Waves without an accepted item that end the work."""
_SHOWN_EXAMPLES = 2


class Source(Protocol):
    """Where items come from. `refused`: how many gave no item, by reason."""

    refused: Counter[str]

    def next_items(self, count: int) -> list[Item]:
        """About `count` further items."""

    def ended_by(self) -> str:
        """Why there are no further items; empty as long as there may be some."""


@dataclass
class ModelSource:
    """Asks a strong model: for databases of the least used domains, and for questions of the least used concepts."""

    model: BudgetedModel
    maker: DatabaseMaker
    taxonomy: Taxonomy
    domains: Sequence[str]
    questions_per_database: int
    examples: Sequence[Example]
    seed: int
    refused: Counter[str] = field(default_factory=Counter)
    _used: Counter[object] = field(default_factory=Counter)
    _numbers: Counter[str] = field(default_factory=Counter)

    def next_items(self, count: int) -> list[Item]:
        """Items of new databases."""
        wanted = [self._next_database() for _ in range(-(-count // self.questions_per_database))]
        databases = self.maker.ask(self.model, wanted)
        places = [(database, number) for database in databases for number in range(self.questions_per_database)]
        return self._ask(places[:count])

    def ended_by(self) -> str:
        """The limit of the budget that was met."""
        return self.model.exhausted

    def _next_database(self) -> tuple[str, str]:
        domain = least_used(self.domains, self._used, self.seed)
        self._used[domain] += 1
        self._numbers[domain] += 1
        return f"strong_{domain}_{self._numbers[domain]:04d}", domain

    def _ask(self, places: Sequence[tuple[SyntheticDatabase, int]]) -> list[Item]:
        requests, concepts = [], []
        for database, number in places:
            item_id = f"strong/{database.db_id.removeprefix('strong_')}/{number:02d}"
            concept, difficulty = least_used(self.taxonomy.wishes, self._used, self.seed)
            self._used[concept, difficulty] += 1
            ask = self.taxonomy.concepts[concept].ask
            examples = _draw(self.examples, f"{self.seed}/{item_id}")
            requests.append(ask_question(
                item_id, database.db_id, database.domain, database.ddl, difficulty, ask, examples,
            ))  # fmt: skip
            concepts.append(concept)
        items = []
        for request, answer, (database, _), concept in zip(
            requests, self.model.ask(requests), places, concepts, strict=True
        ):
            if answer is None:
                continue
            try:
                draft = parse_answer(answer.text, answer.finish_reason, QuestionDraft)
            except AnswerError as error:
                self.refused[error.reason] += 1
                continue
            items.append(Item(request.subject, database, draft.question.strip(), draft.sql.strip(), concept))
        return items


@dataclass
class Synthesizer:
    """Accepts the items of `source` that `mending` cannot fault."""

    source: Source
    mending: Mending
    _known: NearDuplicates = field(default_factory=lambda: NearDuplicates(SIMILAR_ITEMS))

    def run(self, count: int | None) -> tuple[list[Item], str]:
        """All items, refused ones too, of which `count` are accepted (None: as many as there are); and what ended the
        work: `items`, `requests`, `tokens`, `cost`, `file` or `no_progress`."""
        items: list[Item] = []
        accepted = idle = 0
        ended_by = "items"
        with progress("strong data", count, "items") as bar:
            while (count is None or accepted < count) and ended_by == "items":
                wave = self.source.next_items(_wave_size(count, accepted, len(items)))
                self._settle(wave)
                items += wave
                gained = sum(not item.refusal for item in wave)
                bar.update(gained)
                accepted, idle = accepted + gained, 0 if gained else idle + 1
                ended_by = self.source.ended_by() or ("no_progress" if idle == IDLE_WAVES else "items")
        for item in [item for item in items if not item.refusal][count:] if count is not None else ():
            item.refuse("beyond_count", f"{count} items are accepted")
        return items, "items" if accepted >= (count or accepted + 1) else ended_by

    def _settle(self, items: Sequence[Item]) -> None:
        for item in items:
            if not self._known.is_new(_shingles(item)):
                item.refuse("near_duplicate", "an earlier item is nearly the same")
        self.mending.check([item for item in items if not item.refusal])


def _wave_size(count: int | None, accepted: int, total: int) -> int:
    """What is missing, divided by the share of items that were accepted so far, and a little more."""
    if count is None:
        return 10_000
    missing, share = count - accepted, max(accepted / total, 0.1) if total else 1.0
    return ceil(missing / share + sqrt(missing))


def _draw(examples: Sequence[Example], seed: str) -> list[Example]:
    """A few examples, by a hash of the seed."""
    first = int(fingerprint(seed)[:8], 16)
    return [examples[(first + 7919 * number) % len(examples)] for number in range(min(_SHOWN_EXAMPLES, len(examples)))]


def _shingles(item: Item) -> list[str]:
    return word_shingles([*item.question.lower().split(), *sql_tokens(item.sql)])
