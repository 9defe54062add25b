"""What the audit finds against questions rather than queries: doubles, other versions of their gold, leakage.

- `duplicate_question`: two questions of a database are the same, and the results of their golds differ.
- `versions_disagree`: another version of the gold has not the result of the gold, or fails.
- `question_in_train`, `database_in_train` (of dev and test): the same question, on whatever database, or the database
  occurs in train.

Questions are the same whose words are, whatever their case, space and final punctuation (doubles: those of their
evidence too); paraphrases are not found.
Results are compared under the contract `strict`, each double with the first question of its kind whose gold runs.
Where a safety net leaves a comparison open, or the gold of a version fails itself, there is no finding of these; it is
counted. SQL in a finding has at most 500 characters, … included.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.execution.judge import Outcome
from stages.execution.query_checks import Findings, shortened
from stages.execution.worker import Item, Question
from stages.sql.tokens import sql_tokens

_SQL_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of `questions` with what its gold is judged by (`judged`)."""

    question_id: str
    test_set: str  # <source>-<split>
    split: str
    db_id: str
    question: str
    evidence: str
    other_golds: str
    judged: Question

    @property
    def sql(self) -> str:
        return self.judged.gold_sql


Found = Iterator[tuple[str, Findings]]
"""question_id and findings."""


Judge = Callable[[Sequence[Item]], Sequence[Outcome]]


def question_findings(asked: Sequence[Asked], judge: Judge) -> tuple[dict[str, Findings], dict[str, object]]:
    """The findings of each question, by question_id, and for the report the counts of what was compared (`duplicates`,
    `versions`) and `leakage`. `judge` gives the outcomes of items under the contract `strict`."""
    groups, others = doubles(asked), versions(asked)
    items = to_judge(groups, others)
    outcomes = dict(zip(items, judge(items), strict=True))
    findings: dict[str, Findings] = {one.question_id: {} for one in asked}
    for found in (double_findings(groups, outcomes), version_findings(others, outcomes), leaks(asked)):
        for question_id, some in found:
            findings[question_id] |= some
    return findings, {**compared(groups, others, outcomes), "leakage": leakage(asked, findings)}


def words(question: str) -> str:
    """What is compared of a question: in lower case, single spaces, without final punctuation."""
    return " ".join(question.casefold().split()).rstrip(" .?!,;:")


def doubles(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The questions that occur more than once on their database with golds that run and differ in text, by question."""
    groups: dict[tuple[str, ...], list[Asked]] = defaultdict(list)
    for one in asked:
        if one.judged.gold_verdict == "ok":
            groups[one.db_id, words(one.question), words(one.evidence)].append(one)
    return [group for group in groups.values() if len({one.sql for one in group}) > 1]


def versions(asked: Sequence[Asked]) -> list[tuple[Asked, str, str]]:
    """Each other version of a gold: the question, the version's name and its SQL."""
    return [(one, name, sql) for one in asked if one.other_golds for name, sql in json.loads(one.other_golds).items()]


def to_judge(groups: Iterable[list[Asked]], others: Iterable[tuple[Asked, str, str]]) -> list[Item]:
    """What `double_findings` and `version_findings` need the outcomes of."""
    items = [(group[0].judged, one.sql) for group in groups for one in group[1:]]
    return items + [(one.judged, sql) for one, _, sql in others]


def double_findings(groups: Iterable[list[Asked]], outcomes: Mapping[Item, Outcome]) -> Found:
    """`duplicate_question` of each question that has a double with another result."""
    for first, *rest in groups:
        verdicts = {one: outcomes[first.judged, one.sql].verdict for one in rest}
        wrong = next((one for one in rest if verdicts[one] == "mismatch"), None)
        for one in (first, *rest) if wrong else ():
            verdict = verdicts.get(one, "match")
            other = {"match": wrong, "mismatch": first}.get(verdict)
            if other:
                told = f"{other.question_id} asks the same, and the two results are a mismatch; its gold:"
                yield one.question_id, {"duplicate_question": f"{told} {shortened(other.sql, _SQL_LENGTH)}"}


def version_findings(others: Iterable[tuple[Asked, str, str]], outcomes: Mapping[Item, Outcome]) -> Found:
    """`versions_disagree` of each question, with every version that does."""
    told: dict[str, list[str]] = defaultdict(list)
    for one, name, sql in others:
        outcome = outcomes[one.judged, sql]
        if outcome.verdict not in ("match", "undecided", "gold_error"):
            why = f"{outcome.verdict} ({outcome.error})" if outcome.error else outcome.verdict
            told[one.question_id].append(f"Version {name} is judged {why}: {shortened(sql, _SQL_LENGTH)}")
    for question_id, sentences in told.items():
        yield question_id, {"versions_disagree": " ".join(sentences)}


def compared(
    groups: Iterable[list[Asked]], others: Sequence[tuple[Asked, str, str]], outcomes: Mapping[Item, Outcome]
) -> dict[str, object]:
    """How many comparisons gave each verdict: `duplicates`, and `versions` by name (all differ in text from the gold,
    so `match` counts those that differ in nothing else)."""
    of_doubles = Counter[str](outcomes[group[0].judged, one.sql].verdict for group in groups for one in group[1:])
    of_versions = {name: Counter[str]() for name in sorted({name for _, name, _ in others})}
    for one, name, sql in others:
        of_versions[name][outcomes[one.judged, sql].verdict] += 1
    return {"duplicates": _counts(of_doubles), "versions": {name: _counts(some) for name, some in of_versions.items()}}


def _counts(verdicts: Counter[str]) -> dict[str, int]:
    return {"compared": verdicts.total(), **dict(sorted(verdicts.items()))}


def leaks(asked: Sequence[Asked]) -> Found:
    """`question_in_train` and `database_in_train` of the questions of dev and test."""
    questions, databases = dict[str, Asked](), Counter[str]()
    for one in asked:
        if one.split == "train":
            questions.setdefault(words(one.question), one)
            databases[one.db_id] += 1
    for one in asked:
        found: Findings = {}
        if one.split != "train" and (same := questions.get(words(one.question))):
            found["question_in_train"] = f"{same.question_id} asks the same on the database {same.db_id}."
        if one.split != "train" and (count := databases[one.db_id]):
            found["database_in_train"] = f"Train has {count} questions on the database {one.db_id}."
        yield one.question_id, found


def leakage(asked: Sequence[Asked], findings: Mapping[str, Findings]) -> dict[str, dict[str, int]]:
    """By test set (its name ends in its split): how many questions, databases and golds (by their tokens, on the same
    database) there are, and how many of them occur in train."""
    shared = {one.db_id for one in asked if "database_in_train" in findings[one.question_id]}
    golds = {(one.db_id, sql_tokens(one.sql)) for one in asked if one.split == "train" and one.db_id in shared}
    counts: dict[str, dict[str, int]] = {}
    for name in sorted({one.test_set for one in asked if one.split != "train"}):
        rows = [one for one in asked if one.test_set == name]
        databases = {one.db_id for one in rows}
        counts[name] = {
            "questions": len(rows),
            "questions_in_train": sum("question_in_train" in findings[one.question_id] for one in rows),
            "databases": len(databases),
            "databases_in_train": len(databases & shared),
            "golds_in_train": sum(one.db_id in shared and (one.db_id, sql_tokens(one.sql)) in golds for one in rows),
        }
    return counts
