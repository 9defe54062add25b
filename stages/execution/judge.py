"""Gives candidates their verdicts: what `exec_results`, `evaluate` and `score` share."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from hashlib import blake2b
from operator import attrgetter, itemgetter

import apsw

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code
from stages.execution.records import (
    GoldQuestion,
    Item,
    Outcome,
    Rules,
    decode_outcome,
    encode_outcome,
    same_outcome,
)  # fmt: skip
from stages.execution.worker import make_worker
from stages.execution.worker_pool import CachedBy, Executor, Job, run
from stages.sql.text import cut_if_too_long

HANG_GRACE_SECONDS = 10.0
ROOMS = ("databases", "execution", "sql")
"""All code that decides what executing a query shows: no cached record outlives a change of it."""
LOST = "its process was lost as often as it was tried"


def judge(
    items: Sequence[Item], rules: Rules, executor: Executor[Item, Outcome], cache: Cache | None = None,
    label: str = "executing candidates",
) -> list[Outcome]:  # fmt: skip
    """The outcome of each of `items`, in their order; equal ones are executed once.

    `executor` and `cache` have no influence on the outcomes. The databases must exist (`check_databases`).
    """
    items = [(question, cut_if_too_long(sql)) for question, sql in items]
    distinct = sorted(set(items), key=_order)
    job = Job(
        make_work=partial(make_worker, rules),
        encode=encode_outcome,
        decode=decode_outcome,
        file=lambda item: item[0].database,
        size=lambda item: len(item[0].gold_sql) + len(item[1]),
        stall_seconds=2 * rules.limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda item: same_outcome("undecided", LOST, "lost", nondeterministic=True),
        nondeterministic=attrgetter("nondeterministic"),
    )
    cached = CachedBy(cache, _key_of(rules, cache)) if cache else None
    outcomes = dict(zip(distinct, run(job, distinct, executor, cached, itemgetter(0), label), strict=True))
    return [outcomes[item] for item in items]


def _order(item: Item) -> tuple[object, ...]:
    question, sql = item
    return (question.database, question.gold_sql, question.gold_verdict or "", question.gold_flags, sql)


def _key_of(rules: Rules, store: Cache) -> Callable[[Item], bytes]:
    """What a record depends on, hashed: see `stages.cache.result_cache`."""
    common = fingerprint(asdict(rules), apsw.sqlite_lib_version(), sha256_code(*ROOMS))

    @cache
    def of_question(question: GoldQuestion) -> blake2b:
        gold = (question.gold_sql, question.gold_verdict, question.gold_steps, question.gold_flags)
        return blake2b(fingerprint(common, store.sha256(question.database), gold).encode(), digest_size=20)

    def key(item: Item) -> bytes:
        question, sql = item
        item_hash = of_question(question).copy()
        item_hash.update(sql.encode("utf-8", "surrogatepass"))
        return item_hash.digest()

    return key
