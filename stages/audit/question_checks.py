"""Finds problems of questions rather than queries: duplicates, other versions of their gold, leakage from train.

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

from stages.audit.query_checks import Findings, shortened
from stages.execution.records import GoldQuestion, Item, Outcome
from stages.sql.tokens import sql_tokens

_SQL_LENGTH = 500


@dataclass(frozen=True, slots=True)
class AuditedQuestion:
    """A row of `questions` with what its gold is judged by (`judged`)."""

    question_id: str
    test_set: str  # <source>-<split>
    split: str
    db_id: str
    question: str
    evidence: str
    other_golds: str
    judged: GoldQuestion

    @property
    def sql(self) -> str:
        return self.judged.gold_sql


GoldVersion = tuple[AuditedQuestion, str, str]
"""A question, and the name and SQL of another version of its gold."""

FindingsById = Iterator[tuple[str, Findings]]
"""question_id and findings."""

Judge = Callable[[Sequence[Item]], Sequence[Outcome]]


def question_findings(
    questions: Sequence[AuditedQuestion], judge: Judge
) -> tuple[dict[str, Findings], dict[str, object]]:
    """The findings of each question, by question_id, and for the report the counts of what was compared (`duplicates`,
    `versions`) and `leakage`. `judge` gives the outcomes of items under the contract `strict`."""
    groups, others = doubles(questions), versions(questions)
    items: list[Item] = [(first.judged, double.sql) for first, *rest in groups for double in rest]
    items += [(question.judged, sql) for question, _, sql in others]
    outcomes = dict(zip(items, judge(items), strict=True))
    findings: dict[str, Findings] = {question.question_id: {} for question in questions}
    for check in (double_findings(groups, outcomes), version_findings(others, outcomes), leaks(questions)):
        for question_id, new_findings in check:
            findings[question_id] |= new_findings
    return findings, {**compared(groups, others, outcomes), "leakage": leakage(questions, findings)}


def words(question: str) -> str:
    """What is compared of a question: in lower case, single spaces, without final punctuation."""
    return " ".join(question.casefold().split()).rstrip(" .?!,;:")


def doubles(questions: Sequence[AuditedQuestion]) -> list[list[AuditedQuestion]]:
    """The questions that occur more than once on their database with golds that run and differ in text, by question."""
    groups: dict[tuple[str, ...], list[AuditedQuestion]] = defaultdict(list)
    for question in questions:
        if question.judged.gold_verdict == "ok":
            groups[question.db_id, words(question.question), words(question.evidence)].append(question)
    return [group for group in groups.values() if len({question.sql for question in group}) > 1]


def versions(questions: Sequence[AuditedQuestion]) -> list[GoldVersion]:
    """Every other version of a gold."""
    with_others = [question for question in questions if question.other_golds]
    return [(question, name, sql) for question in with_others for name, sql in json.loads(question.other_golds).items()]


def double_findings(groups: Iterable[list[AuditedQuestion]], outcomes: Mapping[Item, Outcome]) -> FindingsById:
    """`duplicate_question` of each question that has a double with another result."""
    for first, *rest in groups:
        verdicts = {question: outcomes[first.judged, question.sql].verdict for question in rest}
        mismatched = next((question for question in rest if verdicts[question] == "mismatch"), None)
        for question in (first, *rest) if mismatched else ():
            verdict = verdicts.get(question, "match")
            double = {"match": mismatched, "mismatch": first}.get(verdict)
            if double:
                message = f"{double.question_id} asks the same, and the two results are a mismatch; its gold:"
                yield question.question_id, {"duplicate_question": f"{message} {shortened(double.sql, _SQL_LENGTH)}"}


def version_findings(others: Iterable[GoldVersion], outcomes: Mapping[Item, Outcome]) -> FindingsById:
    """`versions_disagree` of each question, with every version that does."""
    messages: dict[str, list[str]] = defaultdict(list)
    for question, name, sql in others:
        outcome = outcomes[question.judged, sql]
        if outcome.verdict not in ("match", "undecided", "gold_error"):
            verdict = f"{outcome.verdict} ({outcome.error})" if outcome.error else outcome.verdict
            messages[question.question_id].append(f"Version {name} is judged {verdict}: {shortened(sql, _SQL_LENGTH)}")
    for question_id, sentences in messages.items():
        yield question_id, {"versions_disagree": " ".join(sentences)}


def compared(
    groups: Iterable[list[AuditedQuestion]], others: Sequence[GoldVersion], outcomes: Mapping[Item, Outcome]
) -> dict[str, object]:
    """How many comparisons gave each verdict: `duplicates`, and `versions` by name (all differ in text from the gold,
    so `match` counts those that differ in nothing else)."""
    of_doubles = Counter[str](outcomes[first.judged, double.sql].verdict for first, *rest in groups for double in rest)
    of_versions = {name: Counter[str]() for name in sorted({name for _, name, _ in others})}
    for question, name, sql in others:
        of_versions[name][outcomes[question.judged, sql].verdict] += 1
    return {"duplicates": _counts(of_doubles), "versions": {name: _counts(of_versions[name]) for name in of_versions}}


def _counts(verdicts: Counter[str]) -> dict[str, int]:
    return {"compared": verdicts.total(), **dict(sorted(verdicts.items()))}


def leaks(questions: Sequence[AuditedQuestion]) -> FindingsById:
    """`question_in_train` and `database_in_train` of the questions of dev and test."""
    train_questions, databases = dict[str, AuditedQuestion](), Counter[str]()
    for question in questions:
        if question.split == "train":
            train_questions.setdefault(words(question.question), question)
            databases[question.db_id] += 1
    for question in questions:
        findings: Findings = {}
        if question.split != "train" and (same := train_questions.get(words(question.question))):
            findings["question_in_train"] = f"{same.question_id} asks the same on the database {same.db_id}."
        if question.split != "train" and (count := databases[question.db_id]):
            findings["database_in_train"] = f"Train has {count} questions on the database {question.db_id}."
        yield question.question_id, findings


def leakage(questions: Sequence[AuditedQuestion], findings: Mapping[str, Findings]) -> dict[str, dict[str, int]]:
    """By test set (its name ends in its split): how many questions, databases and golds (by their tokens, on the same
    database) there are, and how many of them occur in train."""
    shared = {each.db_id for each in questions if "database_in_train" in findings[each.question_id]}
    golds = {(each.db_id, sql_tokens(each.sql)) for each in questions if each.split == "train" and each.db_id in shared}
    counts: dict[str, dict[str, int]] = {}
    for name in sorted({each.test_set for each in questions if each.split != "train"}):
        rows = [each for each in questions if each.test_set == name]
        databases = {each.db_id for each in rows}
        counts[name] = {
            "questions": len(rows),
            "questions_in_train": sum("question_in_train" in findings[each.question_id] for each in rows),
            "databases": len(databases),
            "databases_in_train": len(databases & shared),
            "golds_in_train": sum((row.db_id, sql_tokens(row.sql)) in golds for row in rows if row.db_id in shared),
        }
    return counts
