"""Runs many small tasks in worker processes, and survives what they do.

A worker that dies by a signal (out of memory, a crash, `kill -9`) or stands still on one task for too long costs that
task only: it is run again alone, after all others and in a process of its own, and if it is lost again it gets the
result of `lost`. Workers end when their parent dies. Results do not depend on the number of workers or on who ran what.
"""

import argparse
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

Record = dict[str, Any]
"""The result of a task: only what JSON holds."""

T = TypeVar("T")
_SPAWN = multiprocessing.get_context("spawn")
_CHUNK = 200
_DEATHS_AT_START = 10


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What the workers do. `make_work` is called once in each worker and gives the function from task to record;
    `patience`: seconds that one task may take before its worker is killed; `lost`: the record of a task that took its
    worker down twice; `again`: whether a record is to be tried once more, alone."""

    make_work: Callable[[], Callable[[T], Record]]
    patience: float
    lost: Callable[[T], Record]
    again: Callable[[Record], bool]


def usable_cpus() -> int:
    """The processors this process may use: the default number of workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(text: str) -> int:
    """The value of a `--workers` flag. Raises argparse's error unless it is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; give a whole number above 0")
    return int(text)


def run(job: Job[T], tasks: Sequence[T], workers: int, log: Path | None = None, label: str = "") -> list[Record]:
    """The record of every task, in the order of `tasks`. `log`: a file that keeps finished records; tasks that it
    already holds are not run (it must be of the same tasks). Raises RuntimeError where the work itself fails."""
    done = _read_log(log) if log else {}
    todo = [index for index in range(len(tasks)) if index not in done]
    with tqdm(total=len(tasks), initial=len(done), desc=label, unit="query", disable=None) as progress:
        for records in _records(job, tasks, todo, workers):
            done.update(records)
            progress.update(len(records))
            if log:
                _append_log(log, records)
    return [done[index] for index in range(len(tasks))]


def _records(job: Job[T], tasks: Sequence[T], todo: list[int], workers: int) -> Iterator[dict[int, Record]]:
    size = max(1, min(_CHUNK, len(todo) // (4 * workers)))
    chunks = [todo[start : start + size] for start in range(0, len(todo), size)]
    alone: list[int] = []
    for lost, records in _pass(job, tasks, chunks, workers):
        tried_again = [index for index, record in records.items() if job.again(record)]
        alone += [*lost, *tried_again]
        yield {index: record for index, record in records.items() if index not in tried_again}
    for lost, records in _pass(job, tasks, [[index] for index in sorted(alone)], 1):
        yield {**records, **{index: job.lost(tasks[index]) for index in lost}}


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    current: Any  # the index of the task in hand, shared with the worker; -1: none
    chunk: list[int] = field(default_factory=list)
    seen: int = -1
    since: float = 0.0


def _pass(
    job: Job[T], tasks: Sequence[T], chunks: list[list[int]], workers: int
) -> Iterator[tuple[list[int], dict[int, Record]]]:
    """For each chunk, or part of one: the tasks that took their worker down, and the records of the others."""
    queue, pool, deaths = deque(chunks), [_start(job) for _ in range(min(workers, len(chunks)))], 0
    try:
        while queue or any(worker.chunk for worker in pool):
            for worker in pool:
                if queue and not worker.chunk:
                    _give(worker, queue.popleft(), tasks)
            wait([worker.connection for worker in pool if worker.chunk], timeout=0.2)
            for place, worker in enumerate(pool):
                records = _take(worker, job.patience)
                if records is not None:
                    yield [], records
                elif not worker.process.is_alive():
                    lost = _bury(worker, queue)
                    deaths += not lost
                    if deaths > _DEATHS_AT_START:
                        raise RuntimeError("workers are killed before they start a query; is there enough memory?")
                    pool[place] = _start(job)
                    yield lost, {}
    finally:
        for worker in pool:
            worker.connection.close()
            worker.process.kill()
            worker.process.join()


def _start(job: Job[T]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    current = _SPAWN.Value("q", -1, lock=False)
    process = _SPAWN.Process(target=_serve, args=(theirs, current, job.make_work), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, current)


def _give(worker: _Worker, chunk: list[int], tasks: Sequence[T]) -> None:
    worker.chunk, worker.seen = chunk, -1
    try:
        worker.connection.send([(index, tasks[index]) for index in chunk])
    except (BrokenPipeError, ConnectionResetError):
        return  # it died: seen to where the chunk is taken back


def _take(worker: _Worker, patience: float) -> dict[int, Record] | None:
    """The records of a finished chunk, or None. A worker that stands still is killed here."""
    if not worker.chunk:
        return None
    try:
        if worker.connection.poll():
            records: dict[int, Record] = worker.connection.recv()
            worker.chunk = []
            return records
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return None
    now = time.monotonic()
    if worker.current.value != worker.seen:
        worker.seen, worker.since = worker.current.value, now
    elif worker.seen >= 0 and now - worker.since > patience:
        worker.process.kill()
        worker.process.join()
    return None


def _bury(worker: _Worker, queue: deque[list[int]]) -> list[int]:
    """Puts the rest of a dead worker's chunk back; returns the task that it died of, if it had begun one."""
    worker.connection.close()
    code = worker.process.exitcode
    if code is not None and code >= 0:
        raise RuntimeError("a worker ended by itself; its own error is printed above")
    lost = [index for index in worker.chunk if index == worker.current.value]
    rest = [index for index in worker.chunk if index not in lost]
    if rest:
        queue.appendleft(rest)
    return lost


def _serve(connection: Connection, current: Any, make_work: Callable[[], Callable[[T], Record]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = make_work()
    while True:
        try:
            chunk = connection.recv()
        except EOFError:
            return
        records = {}
        for index, task in chunk:
            current.value = index
            try:
                records[index] = work(task)
            except MemoryError:  # not even an answer could be made: as if the system had killed it
                os.kill(os.getpid(), signal.SIGKILL)
        current.value = -1
        connection.send(records)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _read_log(log: Path) -> dict[int, Record]:
    if not log.exists():
        return {}
    content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    os.truncate(log, len(whole))  # a kill cut the last line off
    return {int(index): record for line in whole.splitlines() for index, record in json.loads(line).items()}


def _append_log(log: Path, records: dict[int, Record]) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(records) + "\n")
