"""Runs many small tasks in worker processes, and survives what they do.

A worker that dies by a signal (out of memory, a crash, `kill -9`) or stalls in one task for too long costs that task
only: it is run again alone, after all others and with no other beside it, and if it is lost again its record is that of
`lost`. A worker stalls while its work gives no heartbeat: SQLite gives one every few steps, but none inside one long
operation. Once a few tasks stalled, the pool waits only briefly for further ones, and does not retry these if the first
few stalled again when they were retried. Workers end when their parent dies. Records do not depend on the number of
workers or on which one ran a task.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

from stages.cache.result_cache import Cache
from stages.core.progress import progress
from stages.databases.held_files import HeldFiles

T = TypeVar("T")
R = TypeVar("R")
_SPAWN = multiprocessing.get_context("spawn")
_CHUNK = 200
_LARGEST_GROUP = 10_000
_CHUNK_CHARACTERS = 2_000_000  # a worker has room for them beside its work, however little memory it has
_SECONDS_UNSENT = 1.0
_DEATHS_AT_START = 10
_FEW_STALLED = 3
_BRIEF_SECONDS = 10.0

Heartbeat = Callable[[], None]
"""What the work calls now and then, as a sign of life."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T, R]):
    """What the workers do: each task of type T gives a record of type R.

    `make_work` is called once in each worker and returns the function from task to record (workers import neither the
    started stage nor a script, so it is none of theirs); `encode` and `decode` turn a record into what JSON can hold,
    for the pipe and the cache, and back; `file`: the database file that a task reads, None if it reads none; `size`:
    the characters of its texts; `stall_seconds`: how long a worker may stall before it is killed; `lost`: the record of
    a task that took its worker down twice; `nondeterministic`: whether a record depends on the machine or its load, so
    that the task is retried alone, and the record never cached.
    """

    make_work: Callable[[Heartbeat], Callable[[T], R]]
    encode: Callable[[R], Any]
    decode: Callable[[Any], R]
    file: Callable[[T], str | None]
    size: Callable[[T], int]
    stall_seconds: float
    lost: Callable[[T], R]
    nondeterministic: Callable[[R], bool]


Executor = Callable[[Job[T, R], Sequence[T], list[list[int]]], Iterator[dict[int, R]]]
"""What runs a job: given the tasks and chunks of their indices it yields, in any order and bit by bit, the record of
each index. Tasks of one chunk are run one after the other by one worker."""


@dataclass(frozen=True, slots=True)
class CachedBy(Generic[T]):
    """Where a run finds the records of earlier ones: in `cache`, each under the `key` of its task."""

    cache: Cache
    key: Callable[[T], bytes]


def usable_cpus() -> int:
    """The processors this process may use: the default number of workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(text: str) -> int:
    """The value of a `--workers` flag. Raises argparse's error unless it is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; give a whole number above 0")
    return int(text)


def run(
    job: Job[T, R], tasks: Sequence[T], executor: Executor[T, R], cached: CachedBy[T] | None = None,
    group: Callable[[T], object] | None = None, label: str = "", unit: str = "queries",
) -> list[R]:
    """The record of every task, in the order of `tasks`. `group`: tasks that follow each other with an equal group go
    to one worker; `label` and `unit`: what the work and its tasks are called where its progress is shown. Raises
    UserError where a file is changed during the run, and then caches no record of it; RuntimeError where the work
    itself fails."""
    files = HeldFiles(files_of(job, tasks))
    with progress(f"{label}: hashing databases", None):  # for the keys: gigabytes, where they are new
        keys = [cached.key(task) for task in tasks] if cached else []
    records = {index: job.decode(value) for index, value in cached.cache.get(keys).items()} if cached else {}
    todo = [index for index in range(len(tasks)) if index not in records]
    progress_label = f"{label} ({len(records):,} cached)" if records else label
    with progress(progress_label, len(tasks), unit, initial=len(records)) as bar:
        for part in _checked(executor(job, tasks, _chunks(job, tasks, todo, group)) if todo else (), files):
            files.require_unchanged(files_of(job, (tasks[index] for index in part)))
            records.update(part)
            bar.update(len(part))
            if cached:
                cacheable = ((index, record) for index, record in part.items() if not job.nondeterministic(record))
                cached.cache.put((keys[index], job.encode(record)) for index, record in cacheable)
    files.require_unchanged()
    return [records[index] for index in range(len(tasks))]


def files_of(job: Job[T, Any], tasks: Iterable[T]) -> set[str]:
    """The database files that the tasks read."""
    return {file for task in tasks if (file := job.file(task)) is not None}


def _checked(parts: Iterable[dict[int, R]], files: HeldFiles) -> Iterator[dict[int, R]]:
    """The parts as they come. Where a worker fails because a file changed, the error names the file."""
    try:
        yield from parts
    except RuntimeError:
        files.require_unchanged()
        raise


def _chunks(
    job: Job[T, Any], tasks: Sequence[T], todo: list[int], group: Callable[[T], object] | None
) -> list[list[int]]:
    size = max(1, min(_CHUNK, len(todo) // 32))
    groups = [group(tasks[index]) for index in todo] if group else todo
    same = [one == other for one, other in pairwise(groups)]
    sizes = [job.size(tasks[index]) for index in todo]
    chunks, start, characters = [], 0, 0
    for end in range(1, len(todo) + 1):
        length, characters = end - start, characters + sizes[end - 1]
        too_large = end < len(todo) and characters + sizes[end] > _CHUNK_CHARACTERS
        if end == len(todo) or (length >= size and not same[end - 1]) or length >= _LARGEST_GROUP or too_large:
            chunks.append(todo[start:end])
            start, characters = end, 0
    return chunks


class KeptWorkers:
    """Worker processes that outlive a run, for the next run of an equal job. They end with this process at the
    latest."""

    def __init__(self) -> None:
        self.idle: list[_WorkerProcess] = []

    def close(self) -> None:
        """Ends them."""
        while self.idle:
            _end(self.idle.pop())


def local(workers: int, kept: KeptWorkers | None = None) -> Executor[T, R]:
    """The executor with this number of processes on this machine. `kept`: for many small runs of equal jobs; what is
    retried alone has a new process in any case."""

    def execute(job: Job[T, R], tasks: Sequence[T], chunks: list[list[int]]) -> Iterator[dict[int, R]]:
        alone: list[int] = []
        given_up: list[int] = []
        for attempt in attempts(job, tasks, chunks, workers, kept):
            doubtful = [index for index, record in attempt.records.items() if job.nondeterministic(record)]
            alone += [*attempt.lost, *doubtful]
            given_up += attempt.given_up
            yield {index: record for index, record in attempt.records.items() if index not in doubtful}
        lost: list[int] = []
        for attempt in attempts(job, tasks, [[index] for index in sorted(alone)], 1):
            lost += [*attempt.lost, *attempt.given_up]
            yield attempt.records
        if len(lost) < _FEW_STALLED:  # the first few did not stall by themselves
            for attempt in attempts(job, tasks, [[index] for index in sorted(given_up)], 1):
                lost += [*attempt.lost, *attempt.given_up]
                yield attempt.records
        else:
            lost += given_up
        yield {index: job.lost(tasks[index]) for index in lost}

    return execute


@dataclass(frozen=True, slots=True)
class Attempt(Generic[R]):
    """The result of a chunk, or of a part of it: records by index; `lost`: tasks that took their worker down, or
    stalled for as long as the job allows; `given_up`: tasks that stalled briefly, after others had for longer."""

    records: dict[int, R] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _WorkerProcess:
    process: BaseProcess
    connection: Connection
    signs: Any  # shared with the process: the index of its current task (-1: none), and its heartbeats so far
    chunk: list[int] = field(default_factory=list)
    seen: tuple[int, int] = (-1, 0)
    since: float = 0.0
    stalled_seconds: float = 0.0  # of one that was killed for it


def attempts(
    job: Job[T, R], tasks: Sequence[T], chunks: list[list[int]], workers: int, kept: KeptWorkers | None = None
) -> Iterator[Attempt[R]]:
    """One try at every task."""
    idle = kept.idle if kept else []
    pool = [idle.pop() if idle else _start(job) for _ in range(min(workers, len(chunks)))]
    queue, deaths, stalled = deque(chunks), 0, 0
    try:
        while queue or any(worker.chunk for worker in pool):
            for worker in pool:
                if queue and not worker.chunk:
                    _give(worker, queue.popleft(), tasks)
            wait([worker.connection for worker in pool if worker.chunk], timeout=0.2)
            seconds = job.stall_seconds if stalled < _FEW_STALLED else min(job.stall_seconds, _BRIEF_SECONDS)
            for place, worker in enumerate(pool):
                values = _take(worker, seconds)
                if values is not None:
                    yield Attempt({index: job.decode(value) for index, value in values.items()})
                elif not worker.process.is_alive():
                    lost = _bury(worker, queue)
                    deaths += not lost
                    if deaths > _DEATHS_AT_START:
                        raise RuntimeError("workers are killed before they start a query; is there enough memory?")
                    pool[place] = _start(job)
                    stalled += bool(worker.stalled_seconds)
                    briefly = 0 < worker.stalled_seconds < job.stall_seconds
                    yield Attempt(given_up=lost) if briefly else Attempt(lost=lost)
    finally:
        for worker in pool:
            if kept and not worker.chunk and worker.process.is_alive():
                kept.idle.append(worker)
            else:
                _end(worker)


def _end(worker: _WorkerProcess) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join()


def _start(job: Job[Any, Any]) -> _WorkerProcess:
    ours, theirs = _SPAWN.Pipe()
    signs = _SPAWN.Array("q", [-1, 0], lock=False)
    process = _SPAWN.Process(target=_serve, args=(theirs, signs, job.make_work, job.encode), daemon=True)
    resource_tracker.ensure_running()  # starting it would end the block
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # else each worker imports the started stage: 0.5 s more
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    return _WorkerProcess(process, ours, signs)


def _give(worker: _WorkerProcess, chunk: list[int], tasks: Sequence[T]) -> None:
    worker.chunk, worker.seen = chunk, (-1, 0)
    try:
        worker.connection.send([(index, tasks[index]) for index in chunk])
    except (BrokenPipeError, ConnectionResetError):
        return  # it died: seen to where the chunk is taken back


def _take(worker: _WorkerProcess, stall_seconds: float) -> dict[int, Any] | None:
    """Encoded records of a chunk, or None. A worker that stalls is killed here."""
    if not worker.chunk:
        return None
    try:
        if worker.connection.poll():
            values: dict[int, Any] | str = worker.connection.recv()
            if isinstance(values, str):
                raise RuntimeError(f"a worker failed:\n{values}")
            worker.chunk = [index for index in worker.chunk if index not in values]
            return values
    except (EOFError, OSError):  # it died, maybe in the middle of what it sent
        worker.process.kill()
        worker.process.join()
        return None
    now, signs = time.monotonic(), tuple(worker.signs)
    if signs != worker.seen:
        worker.seen, worker.since = signs, now
    elif signs[0] >= 0 and now - worker.since > stall_seconds:
        worker.stalled_seconds = stall_seconds
        worker.process.kill()
        worker.process.join()
    return None


def _bury(worker: _WorkerProcess, queue: deque[list[int]]) -> list[int]:
    """Puts the rest of a dead worker's chunk back; returns the task that it died of, if it had begun one."""
    worker.connection.close()
    if worker.process.exitcode is not None and worker.process.exitcode >= 0:
        raise RuntimeError("a worker ended by itself; its own error is printed above")
    lost = [index for index in worker.chunk if index == worker.signs[0]]
    rest = [index for index in worker.chunk if index not in lost]
    if rest:
        queue.appendleft(rest)
    return lost


def _serve(
    connection: Connection, signs: Any, make_work: Callable[[Heartbeat], Callable[[T], R]], encode: Callable[[R], Any]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(connection, signs, make_work(partial(_beat, signs)), encode)
    except BaseException:  # sent to the parent, since this process may not be allowed to write to standard error
        connection.send(traceback.format_exc())
        raise


def _beat(signs: Any) -> None:
    signs[1] += 1


def _work(connection: Connection, signs: Any, work: Callable[[T], R], encode: Callable[[R], Any]) -> None:
    while True:
        try:
            chunk = connection.recv()
        except EOFError:
            return
        values, sent = {}, time.monotonic()
        for index, task in chunk:
            signs[0] = index
            try:
                values[index] = encode(work(task))
            except MemoryError:  # no memory even for a record: as if the system had killed it
                os.kill(os.getpid(), signal.SIGKILL)
            if time.monotonic() - sent > _SECONDS_UNSENT:  # what is slow is not to be lost with this process
                connection.send(values)
                values, sent = {}, time.monotonic()
        signs[0] = -1
        connection.send(values)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
