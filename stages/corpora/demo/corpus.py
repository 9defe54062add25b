"""Makes the demo corpus: its params, its databases and its questions."""

import random
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from stages.core.errors import UserError
from stages.core.params import Params
from stages.core.progress import progress
from stages.core.stable_draw import stable_draw
from stages.corpora.demo.databases import draw_databases, load
from stages.corpora.demo.domains import Domain, read_domains
from stages.corpora.demo.kinds import Kind
from stages.corpora.demo.questions import Question, QuestionDraw


class DemoParams(Params):
    """Section `corpus.demo` of params.yaml. Numbers of databases are per domain, numbers of questions per database."""

    seed: int = Field(ge=-(2**63), lt=2**63)
    domains: list[str] | None = Field(min_length=1)
    strong_domains: int = Field(ge=0)
    train_databases: int = Field(ge=1)
    dev_databases: int = Field(ge=0)
    test_databases: int = Field(ge=0)
    train_questions: int = Field(ge=1)
    dev_questions: int = Field(ge=1)
    test_questions: int = Field(ge=1)

    @property
    def db_ids(self) -> set[str]:
        """The databases that are generated. Raises UserError if a domain is unknown."""
        numbers = range(1, self.train_databases + self.dev_databases + self.test_databases + 1)
        return {f"{domain.domain}_{number}" for domain in choose_domains(self.domains) for number in numbers}

    @property
    def strong_domain_names(self) -> list[str]:
        """The domains whose train part is left to a strong model, sorted."""
        names = [domain.domain for domain in choose_domains(self.domains)]
        return sorted(stable_draw(names, self.strong_domains, self.seed))

    @property
    def splits(self) -> dict[str, tuple[int, int]]:
        """Split to (databases per domain, questions per database), in the order in which databases are numbered."""
        return {
            "train": (self.train_databases, self.train_questions),
            "dev": (self.dev_databases, self.dev_questions),
            "test": (self.test_databases, self.test_questions),
        }


def choose_domains(names: list[str] | None) -> list[Domain]:
    """Returns the named domains (None: all). Raises UserError naming each unknown domain."""
    domains = read_domains()
    unknown = sorted(set(names or []) - {domain.domain for domain in domains})
    if unknown:
        available = ", ".join(domain.domain for domain in domains)
        raise UserError(f"params.yaml: `corpus.demo.domains` names {', '.join(unknown)}; there are: {available}")
    return [domain for domain in domains if names is None or domain.domain in names]


def make_demo(
    domains: list[Domain], kinds: list[Kind], seed: int, splits: dict[str, tuple[int, int]], databases: Path,
    without_train: Collection[str] = (),
) -> tuple[dict[str, list[Question]], Counter[str]]:  # fmt: skip
    """Draws the databases of every domain and the questions of each; writes `<databases>/<db_id>/<db_id>.sqlite`. The
    domains `without_train` have dev and test only, the same as with it.
    Returns split to questions, and the number of questions that were drawn and dropped, by reason."""
    questions: dict[str, list[Question]] = {split: [] for split in splits}
    drops: Counter[str] = Counter()
    sizes = [(split, count) for split, (number, count) in splits.items() for _ in range(number)]
    with progress("demo corpus", len(domains), "domains") as bar:
        for domain in domains:
            for database, (split, count) in zip(draw_databases(domain, len(sizes), seed), sizes, strict=True):
                if split == "train" and domain.domain in without_train:
                    continue
                rng = random.Random(f"{seed}/{database.db_id}/questions")
                draw = QuestionDraw(database, rng)
                questions[split] += draw.questions(kinds, count)
                drops += draw.drops
                file = databases / database.db_id / f"{database.db_id}.sqlite"
                file.parent.mkdir(parents=True)
                file.write_bytes(load(database).serialize("main"))
            bar.update()
    return questions, drops


def question_rows(questions: dict[str, list[Question]]) -> list[dict[str, str]]:
    """Returns the rows of `questions`, numbered within each split."""
    return [
        {
            "question_id": f"demo/{split}/{number:04d}", "source": "demo", "split": split, "db_id": question.db_id,
            "question": question.text, "evidence": "", "gold_sql": question.sql, "other_golds": "",
            "difficulty": question.difficulty, "origin": "human",
        }
        for split, of_split in questions.items()
        for number, question in enumerate(of_split)
    ]


def report(questions: dict[str, list[Question]], drops: Counter[str]) -> dict[str, object]:
    """Counts the questions that were drawn, kept (by kind) and dropped (by reason)."""
    kinds = Counter(question.kind for of_split in questions.values() for question in of_split)
    return {
        "kinds": dict(sorted(kinds.items())),
        "drawn": kinds.total() + drops.total(),
        "kept": kinds.total(),
        "dropped": dict(sorted(drops.items())),
    }
