"""Finds a witness for each candidate that matches its gold by accident, in the worker pool and through the cache."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from typing import Any

import apsw

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code
from stages.execution.judge import HANG_GRACE_SECONDS, LOST, ROOMS
from stages.execution.worker_pool import CachedBy, Executor, Job, run
from stages.mutation.findings import Finding, Findings, Question, Settings, untested
from stages.mutation.search import make_searcher


def find_witnesses(
    questions: Sequence[Question], settings: Settings, executor: Executor[Question, Findings],
    cache: Cache | None = None,
) -> list[Findings]:  # fmt: skip
    """The findings of each question, in their order. What they are depends on the database, the gold and the candidates
    of the question alone, not on other questions. The databases must exist."""
    distinct = sorted(set(questions), key=lambda question: (question.database, question.gold_sql, question.candidates))
    job = Job(
        make_work=partial(make_searcher, settings),
        encode=asdict,
        decode=_decoded,
        file=attrgetter("database"),
        size=lambda question: len(question.gold_sql) + sum(map(len, question.candidates)),
        stall_seconds=2 * settings.limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda question: untested(question, LOST, nondeterministic=True),
        nondeterministic=attrgetter("nondeterministic"),
    )
    cached = CachedBy(cache, partial(_key, settings, cache)) if cache else None
    findings = dict(zip(distinct, run(job, distinct, executor, cached, label="counterexamples"), strict=True))
    return [findings[question] for question in questions]


def _decoded(values: dict[str, Any]) -> Findings:
    return Findings(**{**values, "candidates": [Finding(**finding) for finding in values["candidates"]]})


def _key(settings: Settings, store: Cache, question: Question) -> bytes:
    """What the findings depend on, hashed: see `stages.cache.result_cache`."""
    code = (apsw.sqlite_lib_version(), version("sqlglot"), sha256_code(*ROOMS, "audit", "mutation"))
    queries = (question.gold_sql, question.candidates)
    decided_by = ("counterexamples", asdict(settings), code, store.sha256(question.database), queries)
    return bytes.fromhex(fingerprint(*decided_by))[:20]
