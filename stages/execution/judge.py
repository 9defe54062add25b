"""Gives candidates their verdicts: what `exec_results`, `evaluate` and `score` share."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import blake2b

import apsw

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code
from stages.datasets.verdicts import MACHINE_MADE, Verdict
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.execution.worker import Item, Question, Rules, make_referee, record_for_all
from stages.execution.worker_pool import Engine, Job, Kept, Record, run
from stages.sql.text import cut_if_too_long

HANG_GRACE_SECONDS = 10.0
ROOMS = ("databases", "execution", "sql")
"""All code that decides what executing a query shows: no cached record outlives a change of it."""
LOST = "its process was lost as often as it was tried"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a candidate showed.

    `verdict` is that of the contract asked for, `verdicts` each contract's, in the order of CONTRACT_NAMES. The other
    fields tell of the text that ran for the contract asked for: `error` and `error_class` are None for match and
    mismatch; `rows` counts the rows read; `digest` is None unless the result was read to its end, and none was asked
    for with Rules.digest_rows = 0. Steps and rows are None where nothing ran, or the machine ended it.
    """

    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    error_class: str | None
    error: str | None
    steps: int | None
    rows: int | None
    digest: str | None

    def under(self, contract: Contract) -> Verdict:
        """The verdict under one contract."""
        return self.verdicts[CONTRACT_NAMES.index(contract)]


def judge(
    items: Sequence[Item], rules: Rules, engine: Engine[Item], cache: Cache | None = None, label: str = "candidates"
) -> list[Outcome]:
    """The outcome of each of `items`, in their order; equal ones are executed once.

    `engine` and `cache` have no influence on the outcomes. The databases must be there (`check_databases`).
    """
    items = [(question, cut_if_too_long(sql)) for question, sql in items]
    distinct = sorted(set(items), key=_order)
    job = Job(
        make_work=partial(make_referee, rules),
        file=database_of,
        size=_size,
        patience=2 * rules.limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=_lost,
        again=_again,
    )
    kept = Kept(cache, _key_of(rules, cache), _lasting) if cache else None
    records = run(job, distinct, engine, kept, _question, label)
    verdicts: dict[tuple[Verdict, ...], tuple[Verdict, ...]] = {}  # few differ: kept once
    outcomes = {}
    for item, (verdict, each, *rest, _) in zip(distinct, records, strict=True):
        outcomes[item] = Outcome(verdict, verdicts.setdefault(tuple(each), tuple(each)), *rest)
    return [outcomes[item] for item in items]


def database_of(item: Item) -> str:
    """The file that a candidate is executed on."""
    return item[0].database


def _size(item: Item) -> int:
    return len(item[0].gold_sql) + len(item[1])


def _order(item: Item) -> tuple[object, ...]:
    question, sql = item
    return (question.database, question.gold_sql, question.gold_verdict or "", question.gold_flags, sql)


def _question(item: Item) -> Question:
    return item[0]


def _lost(item: Item) -> Record:
    return record_for_all("undecided", LOST, "lost")


def _again(record: Record) -> bool:
    return bool(record[-1])


def _lasting(record: Record) -> bool:
    return not record[-1] and record[2] not in MACHINE_MADE


def _key_of(rules: Rules, store: Cache) -> Callable[[Item], bytes]:
    """What a record depends on, hashed: see `stages.cache.result_cache`."""
    common = fingerprint(asdict(rules), apsw.sqlite_lib_version(), sha256_code(*ROOMS))

    @cache
    def of_question(question: Question) -> blake2b:
        gold = (question.gold_sql, question.gold_verdict, question.gold_steps, question.gold_flags)
        return blake2b(fingerprint(common, store.sha256(question.database), gold).encode(), digest_size=20)

    def key(item: Item) -> bytes:
        question, sql = item
        made = of_question(question).copy()
        made.update(sql.encode("utf-8", "surrogatepass"))
        return made.digest()

    return key
