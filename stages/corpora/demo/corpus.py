"""Makes the demo corpus: its params, its databases and its questions."""

import random
from collections import Counter
from pathlib import Path

from pydantic import Field
from tqdm import tqdm

from stages.core.errors import UserError
from stages.core.params import Params
from stages.corpora.demo.databases import draw_databases, load
from stages.corpora.demo.domains import Domain, read_domains
from stages.corpora.demo.kinds import Kind
from stages.corpora.demo.questions import Question, ask


class DemoParams(Params):
    """Section `corpus.demo` of params.yaml. Databases are per domain, questions per database."""

    seed: int = Field(ge=-(2**63), lt=2**63)
    domains: list[str] | None = Field(min_length=1)
    train_databases: int = Field(ge=1)
    dev_databases: int = Field(ge=0)
    test_databases: int = Field(ge=0)
    train_questions: int = Field(ge=1)
    dev_questions: int = Field(ge=1)
    test_questions: int = Field(ge=1)

    @property
    def db_ids(self) -> set[str]:
        """The databases that are made. Raises UserError where a domain is unknown."""
        numbers = range(1, self.train_databases + self.dev_databases + self.test_databases + 1)
        return {f"{domain.domain}_{number}" for domain in choose_domains(self.domains) for number in numbers}

    @property
    def splits(self) -> dict[str, tuple[int, int]]:
        """Split to databases per domain and questions per database, in the order in which databases are numbered."""
        return {
            "train": (self.train_databases, self.train_questions),
            "dev": (self.dev_databases, self.dev_questions),
            "test": (self.test_databases, self.test_questions),
        }


Asked = list[tuple[str, Question]]
"""The questions of a split, each with its db_id, in order."""


def choose_domains(names: list[str] | None) -> list[Domain]:
    """The named domains, or all. Raises UserError where a name is no domain."""
    domains = read_domains()
    unknown = sorted(set(names or []) - {domain.domain for domain in domains})
    if unknown:
        known = ", ".join(domain.domain for domain in domains)
        raise UserError(f"params.yaml: `corpus.demo.domains` names {', '.join(unknown)}; there are: {known}")
    return [domain for domain in domains if names is None or domain.domain in names]


def make_demo(
    domains: list[Domain], kinds: list[Kind], seed: int, splits: dict[str, tuple[int, int]], databases: Path
) -> tuple[dict[str, Asked], Counter[str]]:
    """Draws every domain's databases and asks each its questions; writes `<databases>/<db_id>/<db_id>.sqlite`.

    Returns the questions by split, and how many drawn ones were dropped, by reason.
    """
    asked: dict[str, Asked] = {split: [] for split in splits}
    drops: Counter[str] = Counter()
    sizes = [(split, count) for split, (number, count) in splits.items() for _ in range(number)]
    for domain in tqdm(domains, "corpus", unit="domain"):
        for database, (split, count) in zip(draw_databases(domain, len(sizes), seed), sizes, strict=True):
            rng = random.Random(f"{seed}/{database.db_id}/questions")
            asked[split] += [(database.db_id, q) for q in ask(database, kinds, count, rng, drops)]
            file = databases / database.db_id / f"{database.db_id}.sqlite"
            file.parent.mkdir(parents=True)
            file.write_bytes(load(database).serialize("main"))
    return asked, drops


def question_rows(asked: dict[str, Asked]) -> list[dict[str, str]]:
    """The rows of `questions`: numbered in each split by db_id, then in the order asked."""
    return [
        {
            "question_id": f"demo/{split}/{number:04d}", "source": "demo", "split": split, "db_id": db_id,
            "question": question.text, "evidence": "", "gold_sql": question.sql, "other_golds": "",
            "difficulty": question.difficulty, "origin": "human",
        }
        for split, questions in asked.items()
        for number, (db_id, question) in enumerate(questions)
    ]


def report(asked: dict[str, Asked], drops: Counter[str]) -> dict[str, object]:
    """What was drawn, and what was drawn and not kept, by reason."""
    questions = [question for split in asked.values() for _, question in split]
    return {
        "kinds": dict(sorted(Counter(question.kind for question in questions).items())),
        "drawn": len(questions) + drops.total(),
        "kept": len(questions),
        "dropped": dict(sorted(drops.items())),
    }
