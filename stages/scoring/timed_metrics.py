"""The figures that need executions of their own: Soft F1, for which both results are read whole, and how fast a
prediction is beside its gold, for VES and R-VES (formulas: `stages.scoring.metrics`).

Both run in the worker pool and the sandbox. Equal tasks are executed once. What fails, meets a net or goes over its
budget scores 0. The databases must exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter, itemgetter
from statistics import fmean
from time import perf_counter

from stages.execution.judge import HANG_GRACE_SECONDS
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Database, Execution, Limits, OpenDatabases
from stages.execution.worker_pool import Heartbeat, Job, local, run
from stages.scoring.metrics import soft_f1, without_outliers

Task = tuple[str, str, str]
"""The path of an SQLite file, a gold query, and a predicted query."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figure of a task. `nondeterministic`: the load of the machine ended one of its executions."""

    value: float
    nondeterministic: bool = False


def soft_f1_scores(tasks: Sequence[Task], limits: Limits, budget_steps: int, workers: int) -> list[float]:
    """The Soft F1 of each task, from 0 to 1, in their order. `budget_steps`: VM steps that each query may take;
    `workers`: processes, without influence on the scores."""
    make_work = partial(_make_soft_f1, limits, budget_steps)
    return _values(make_work, 2 * limits.wall_seconds, tasks, workers, "Soft F1")


def time_ratios(tasks: Sequence[Task], limits: Limits, budget_steps: int, repeats: int) -> list[float]:
    """How many times as long as its prediction each task's gold took, in the order of the tasks: a measurement, so not
    the same twice. Only for predictions that match; 0 if either query fails.

    One process runs them all, so that no other worker competes: after one run of each that is not counted, gold and
    prediction in turn, `repeats` (at least 1) times each, executed and read whole. Once that has taken
    `limits.wall_seconds`, no more repeats are begun beyond the first. The mean of the repeats' ratios counts, without
    outliers. (BIRD's own does the same 100 times; its first version did not read the rows.)
    """
    make_work = partial(_make_time_ratio, limits, budget_steps, repeats)
    return _values(make_work, 4 * limits.wall_seconds, tasks, 1, "times")


def _values(
    make_work: Callable[[Heartbeat], Callable[[Task], Measurement]], seconds: float, tasks: Sequence[Task],
    workers: int, label: str,
) -> list[float]:
    job: Job[Task, Measurement] = Job(
        make_work=make_work,
        encode=attrgetter("value", "nondeterministic"),
        decode=lambda values: Measurement(*values),
        file=itemgetter(0),
        size=lambda task: len(task[1]) + len(task[2]),
        stall_seconds=seconds + HANG_GRACE_SECONDS,
        lost=lambda task: Measurement(0.0),
        nondeterministic=attrgetter("nondeterministic"),
    )
    distinct = sorted(set(tasks))
    measured = run(job, distinct, local(workers), group=itemgetter(0, 1), label=label)  # a gold goes to one worker
    values = {task: measurement.value for task, measurement in zip(distinct, measured, strict=True)}
    return [values[task] for task in tasks]


def _make_soft_f1(limits: Limits, budget_steps: int, heartbeat: Heartbeat) -> Callable[[Task], Measurement]:
    limit_process(limits.memory_mb)
    databases = OpenDatabases(heartbeat)

    def execute(database: str, sql: str) -> Execution:
        return databases.get(database).execute(sql, budget_steps, limits)

    execute_gold = lru_cache(maxsize=1)(execute)

    def work(task: Task) -> Measurement:
        database, gold_sql, sql = task
        gold, prediction = execute_gold(database, gold_sql), execute(database, sql)
        if gold.result is None or prediction.result is None:
            return _measurement(0.0, gold, prediction)
        return _measurement(soft_f1(gold.result.rows, prediction.result.rows))

    return work


def _make_time_ratio(
    limits: Limits, budget_steps: int, repeats: int, heartbeat: Heartbeat
) -> Callable[[Task], Measurement]:
    limit_process(limits.memory_mb)
    databases = OpenDatabases(heartbeat)

    def work(task: Task) -> Measurement:
        database, gold_sql, sql = task
        opened, ratios, start = databases.get(database), list[float](), perf_counter()
        for repeat in range(repeats + 1):
            gold_seconds, gold = _timed(opened, gold_sql, budget_steps, limits)
            seconds, prediction = _timed(opened, sql, budget_steps, limits)
            if gold.result is None or prediction.result is None:
                return _measurement(0.0, gold, prediction)
            if repeat > 0:  # the first run of a query also reads the file
                ratios.append(gold_seconds / seconds)
            if ratios and perf_counter() - start > limits.wall_seconds:
                break
        return _measurement(fmean(without_outliers(ratios)))

    return work


def _timed(database: Database, sql: str, budget_steps: int, limits: Limits) -> tuple[float, Execution]:
    start = perf_counter()
    execution = database.execute(sql, budget_steps, limits)
    return perf_counter() - start, execution


def _measurement(value: float, *executions: Execution) -> Measurement:
    return Measurement(value, any(execution.error_class in ("time", "memory") for execution in executions))
