"""Runs many small tasks in worker processes, and survives what they do.

A worker that dies by a signal (out of memory, a crash, `kill -9`) or stands still in one task for too long costs that
task only: it is run again alone, after all others and with no other beside it, and if it is lost again it gets the
result of `lost`. A worker stands still while its work gives no sign of life: SQLite gives one with every few steps, but
none inside one long operation. Once a few tasks stood still, further ones are waited for briefly, and not tried again
if the first few stood still at their second try too. Workers end when their parent dies. Results do not depend on the
number of workers or on who ran what.
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
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.databases.held_files import HeldFiles

Record = Any
"""The result of a task: only what JSON holds."""

T = TypeVar("T")
_SPAWN = multiprocessing.get_context("spawn")
_CHUNK = 200
_LARGEST_GROUP = 10_000
_CHUNK_CHARACTERS = 2_000_000  # a worker has room for them beside its work, however little memory it has
_SECONDS_UNSENT = 1.0
_DEATHS_AT_START = 10
_FEW_STILL = 3
_BRIEF_SECONDS = 10.0

Beat = Callable[[], None]
"""What the work calls now and then, as a sign of life."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What the workers do. `make_work` is called once in each worker and gives the function from task to record;
    `file`: the database file that a task reads; `size`: the characters of its texts; `patience`: seconds that a worker
    may stand still before it is killed; `lost`: the record of a task that took its worker down twice; `again`: whether
    a record is to be tried once more, alone."""

    make_work: Callable[[Beat], Callable[[T], Record]]
    file: Callable[[T], str]
    size: Callable[[T], int]
    patience: float
    lost: Callable[[T], Record]
    again: Callable[[Record], bool]


Engine = Callable[[Job[T], Sequence[T], list[list[int]]], Iterator[dict[int, Record]]]
"""What runs a job: given the tasks and chunks of their indices it gives, in any order and bit by bit, the record of
each index. Tasks of one chunk are run one after the other by one worker."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """What a run keeps for the next: `key` of a task, under which its record lies in `cache`, and `lasting`: whether a
    record says the same on every machine."""

    cache: Cache
    key: Callable[[T], bytes]
    lasting: Callable[[Record], bool]


def usable_cpus() -> int:
    """The processors this process may use: the default number of workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(text: str) -> int:
    """The value of a `--workers` flag. Raises argparse's error unless it is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; give a whole number above 0")
    return int(text)


def run(
    job: Job[T], tasks: Sequence[T], engine: Engine[T], kept: Kept[T] | None = None,
    group: Callable[[T], object] | None = None, label: str = "",
) -> list[Record]:
    """The record of every task, in the order of `tasks`. `group`: tasks that follow each other with an equal group go
    to one worker. Raises UserError where a file is changed during the run, and then keeps no record of it; RuntimeError
    where the work itself fails."""
    files = HeldFiles({job.file(task) for task in tasks})
    keys = [kept.key(task) for task in tasks] if kept else []
    done: dict[int, Record] = kept.cache.get(keys) if kept else {}
    todo = [index for index in range(len(tasks)) if index not in done]
    if kept:
        show(f"{label}: {len(tasks)} distinct, {len(done)} of them in the cache", sys.stderr)
    with tqdm(total=len(tasks), initial=len(done), desc=label, unit="query", disable=None) as progress:
        for records in _held(engine(job, tasks, _chunks(job, tasks, todo, group)) if todo else (), files):
            files.require_unchanged({job.file(tasks[index]) for index in records})
            done.update(records)
            progress.update(len(records))
            if kept:
                kept.cache.put((keys[index], record) for index, record in records.items() if kept.lasting(record))
    files.require_unchanged()
    return [done[index] for index in range(len(tasks))]


def _held(parts: Iterable[dict[int, Record]], files: HeldFiles) -> Iterator[dict[int, Record]]:
    """The parts as they come. Where a worker fails because of a file that changed, it is the file that is named."""
    try:
        yield from parts
    except RuntimeError:
        files.require_unchanged()
        raise


def _chunks(
    job: Job[T], tasks: Sequence[T], todo: list[int], group: Callable[[T], object] | None
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


def local(workers: int) -> Engine[T]:
    """The engine of so many processes on this machine."""

    def records(job: Job[T], tasks: Sequence[T], chunks: list[list[int]]) -> Iterator[dict[int, Record]]:
        alone: list[int] = []
        given_up: list[int] = []
        for attempt in attempts(job, tasks, chunks, workers):
            doubtful = [index for index, record in attempt.records.items() if job.again(record)]
            alone += [*attempt.lost, *doubtful]
            given_up += attempt.given_up
            yield {index: record for index, record in attempt.records.items() if index not in doubtful}
        lost: list[int] = []
        for attempt in attempts(job, tasks, [[index] for index in sorted(alone)], 1):
            lost += [*attempt.lost, *attempt.given_up]
            yield attempt.records
        if len(lost) < _FEW_STILL:  # the first few did not stand still by themselves
            for attempt in attempts(job, tasks, [[index] for index in sorted(given_up)], 1):
                lost += [*attempt.lost, *attempt.given_up]
                yield attempt.records
        else:
            lost += given_up
        yield {index: job.lost(tasks[index]) for index in lost}

    return records


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a chunk, or of a part of it: records by index; `lost`: tasks that took their worker down, or stood
    still for all of the job's patience; `given_up`: tasks that stood still briefly, after others had for longer."""

    records: dict[int, Record] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    signs: Any  # shared with the worker: the index of the task in hand (-1: none), and its signs of life so far
    chunk: list[int] = field(default_factory=list)
    seen: tuple[int, int] = (-1, 0)
    since: float = 0.0
    stood_still: float = 0.0  # seconds, of one that was killed for it


def attempts(job: Job[T], tasks: Sequence[T], chunks: list[list[int]], workers: int) -> Iterator[Attempt]:
    """One try at every task."""
    queue, pool, deaths, still = deque(chunks), [_start(job) for _ in range(min(workers, len(chunks)))], 0, 0
    try:
        while queue or any(worker.chunk for worker in pool):
            for worker in pool:
                if queue and not worker.chunk:
                    _give(worker, queue.popleft(), tasks)
            wait([worker.connection for worker in pool if worker.chunk], timeout=0.2)
            patience = job.patience if still < _FEW_STILL else min(job.patience, _BRIEF_SECONDS)
            for place, worker in enumerate(pool):
                records = _take(worker, patience)
                if records is not None:
                    yield Attempt(records)
                elif not worker.process.is_alive():
                    lost = _bury(worker, queue)
                    deaths += not lost
                    if deaths > _DEATHS_AT_START:
                        raise RuntimeError("workers are killed before they start a query; is there enough memory?")
                    pool[place] = _start(job)
                    still += bool(worker.stood_still)
                    briefly = 0 < worker.stood_still < job.patience
                    yield Attempt(given_up=lost) if briefly else Attempt(lost=lost)
    finally:
        for worker in pool:
            worker.connection.close()
            worker.process.kill()
            worker.process.join()


def _start(job: Job[T]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    signs = _SPAWN.Array("q", [-1, 0], lock=False)
    process = _SPAWN.Process(target=_serve, args=(theirs, signs, job.make_work), daemon=True)
    resource_tracker.ensure_running()  # starting it would end the block
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    return _Worker(process, ours, signs)


def _give(worker: _Worker, chunk: list[int], tasks: Sequence[T]) -> None:
    worker.chunk, worker.seen = chunk, (-1, 0)
    try:
        worker.connection.send([(index, tasks[index]) for index in chunk])
    except (BrokenPipeError, ConnectionResetError):
        return  # it died: seen to where the chunk is taken back


def _take(worker: _Worker, patience: float) -> dict[int, Record] | None:
    """Records of a chunk, or None. A worker that stands still is killed here."""
    if not worker.chunk:
        return None
    try:
        if worker.connection.poll():
            records: dict[int, Record] | str = worker.connection.recv()
            if isinstance(records, str):
                raise RuntimeError(f"a worker failed:\n{records}")
            worker.chunk = [index for index in worker.chunk if index not in records]
            return records
    except (EOFError, OSError):  # it died, maybe in the middle of what it sent
        worker.process.kill()
        worker.process.join()
        return None
    now, signs = time.monotonic(), tuple(worker.signs)
    if signs != worker.seen:
        worker.seen, worker.since = signs, now
    elif signs[0] >= 0 and now - worker.since > patience:
        worker.stood_still = patience
        worker.process.kill()
        worker.process.join()
    return None


def _bury(worker: _Worker, queue: deque[list[int]]) -> list[int]:
    """Puts the rest of a dead worker's chunk back; returns the task that it died of, if it had begun one."""
    worker.connection.close()
    if worker.process.exitcode is not None and worker.process.exitcode >= 0:
        raise RuntimeError("a worker ended by itself; its own error is printed above")
    lost = [index for index in worker.chunk if index == worker.signs[0]]
    rest = [index for index in worker.chunk if index not in lost]
    if rest:
        queue.appendleft(rest)
    return lost


def _serve(connection: Connection, signs: Any, make_work: Callable[[Beat], Callable[[T], Record]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(connection, signs, make_work(partial(_beat, signs)))
    except BaseException:  # told to the parent, since this process may be allowed no file for its own words
        connection.send(traceback.format_exc())
        raise


def _beat(signs: Any) -> None:
    signs[1] += 1


def _work(connection: Connection, signs: Any, work: Callable[[T], Record]) -> None:
    while True:
        try:
            chunk = connection.recv()
        except EOFError:
            return
        records, sent = {}, time.monotonic()
        for index, task in chunk:
            signs[0] = index
            try:
                records[index] = work(task)
            except MemoryError:  # not even an answer could be made: as if the system had killed it
                os.kill(os.getpid(), signal.SIGKILL)
            if time.monotonic() - sent > _SECONDS_UNSENT:  # what is slow is not to be lost with this process
                connection.send(records)
                records, sent = {}, time.monotonic()
        signs[0] = -1
        connection.send(records)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
