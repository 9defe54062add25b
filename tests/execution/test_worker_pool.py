import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

import pytest

from stages.cache.result_cache import Cache
from stages.execution import worker_pool as pool
from stages.execution.worker_pool import CachedBy, Heartbeat, Job, local, run
from tests import ROOT


@dataclass(frozen=True)
class Record:
    task: str
    lost: bool = False
    doubtful: bool = False


def make_work(folder: Path, heartbeat: Heartbeat) -> Callable[[str], Record]:
    return partial(work, folder, heartbeat)


def work(folder: Path, heartbeat: Heartbeat, task: str) -> Record:
    """Notes that the task ran, then does what it says."""
    with (folder / task).open("a") as file:
        file.write(f"{os.getpid()}\n")
    times = len((folder / task).read_text().splitlines())
    if task.startswith("die") or (task.startswith("once") and times == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.startswith("hang") or (task.startswith("pause") and times == 1):
        time.sleep(100)
    for _ in range(20 if task.startswith("long") else 0):
        time.sleep(0.1)
        heartbeat()
    if task.startswith("fail"):
        raise ValueError("a defect")
    return Record(task, doubtful=task.startswith("doubt") or (task.startswith("again") and times == 1))


def job(folder: Path, stall_seconds: float = 30) -> Job[str, Record]:
    return Job(
        partial(make_work, folder), encode=astuple, decode=lambda values: Record(*values), file=lambda task: __file__,
        size=len, stall_seconds=stall_seconds, lost=partial(Record, lost=True), nondeterministic=attrgetter("doubtful"),
    )  # fmt: skip


def runs(folder: Path, task: str) -> list[str]:
    return (folder / task).read_text().splitlines()


@pytest.mark.parametrize("workers", [1, 3])
def test_records_come_in_the_order_of_the_tasks(workers: int, tmp_path: Path) -> None:
    tasks = [f"t{number}" for number in range(50)]
    assert [record.task for record in run(job(tmp_path), tasks, local(workers))] == tasks


def test_a_killed_worker_costs_its_task_one_more_try(tmp_path: Path) -> None:
    tasks = ["a", "once", "b", "c"]
    assert [record.task for record in run(job(tmp_path), tasks, local(1))] == tasks
    assert len(runs(tmp_path, "once")) == 2


def test_a_task_that_kills_its_worker_twice_is_lost_and_the_others_are_not(tmp_path: Path) -> None:
    tasks = [f"t{number}" for number in range(20)] + ["die", "die2", "z"]
    records = run(job(tmp_path), tasks, local(2))
    assert [record.task for record in records] == tasks
    assert [record.task for record in records if record.lost] == ["die", "die2"]
    assert len(runs(tmp_path, "die")) == 2


def test_a_task_that_stalls_is_killed_and_lost(tmp_path: Path) -> None:
    records = run(job(tmp_path, stall_seconds=0.5), ["a", "hang", "b"], local(1))
    assert [record.lost for record in records] == [False, True, False]


def test_a_task_with_heartbeats_may_take_longer_than_a_stall_may(tmp_path: Path) -> None:
    (record,) = run(job(tmp_path, stall_seconds=0.7), ["long"], local(1))
    assert not record.lost


def test_once_a_few_tasks_stalled_twice_others_are_tried_once_and_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_BRIEF_SECONDS", 0.3)
    tasks = ["a", *(f"hang{number}" for number in range(7)), "b"]
    records = run(job(tmp_path, stall_seconds=0.6), tasks, local(1))
    assert [record.task for record in records if not record.lost] == ["a", "b"]
    assert [len(runs(tmp_path, task)) for task in tasks] == [1, 2, 2, 2, 1, 1, 1, 1, 1]


def test_tasks_that_stalled_beside_others_only_are_retried_and_get_their_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_BRIEF_SECONDS", 0.3)
    tasks = ["a", *(f"pause{number}" for number in range(6)), "hang"]
    records = run(job(tmp_path, stall_seconds=0.6), tasks, local(1))
    assert [record.task for record in records if record.lost] == ["hang"]


def test_a_worker_that_dies_in_the_middle_of_a_message_costs_what_it_did_not_send(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    worker = pool._WorkerProcess(process, ours, [1, 0], chunk=[0, 1, 2])
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"the beginning of a record")
    theirs.close()
    assert pool._take(worker, stall_seconds=30) is None


def test_no_chunk_has_more_characters_than_a_worker_has_room_for(tmp_path: Path) -> None:
    tasks = [character * 900_000 for character in "abcde"] + ["f" * 5_000_000, "g", "h"]
    chunks = pool._chunks(job(tmp_path), tasks, list(range(len(tasks))), lambda task: "one group")
    assert chunks == [[0, 1], [2, 3], [4], [5], [6, 7]]


def test_a_doubtful_record_is_tried_again_alone(tmp_path: Path) -> None:
    records = run(job(tmp_path), ["a", "again", "b"], local(2))
    assert records[1] == Record("again")
    first, second = runs(tmp_path, "again")
    assert first != second


def test_a_defect_of_the_work_stops_the_run_and_is_shown(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"a worker failed:\n(.|\n)*ValueError: a defect"):
        run(job(tmp_path), ["a", "fail"], local(1))


def test_tasks_of_one_group_go_to_one_worker(tmp_path: Path) -> None:
    tasks = [f"{group}-{number}" for group in "abcdefgh" for number in range(10)]
    run(job(tmp_path), tasks, local(4), group=lambda task: task[0])
    for group in "abcdefgh":
        assert len({runs(tmp_path, task)[0] for task in tasks if task[0] == group}) == 1


def cached(cache: Cache) -> CachedBy[str]:
    return CachedBy(cache, key=str.encode)


def test_what_the_cache_holds_is_not_done_again(tmp_path: Path) -> None:
    cache, tasks = Cache(tmp_path / "cache"), ["a", "doubt", "b"]
    first = run(job(tmp_path), tasks, local(1), cached(cache))
    assert run(job(tmp_path), [*tasks, "c"], local(1), cached(cache))[:3] == first
    assert [len(runs(tmp_path, task)) for task in ("a", "doubt", "b", "c")] == [1, 4, 1, 1]


def test_finished_records_are_kept_when_the_run_is_killed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(RuntimeError):
        run(job(tmp_path), [*(f"t{number}" for number in range(40)), "fail"], local(1), cached(cache))
    assert len(cache.get([b"t%d" % number for number in range(40)])) == 40


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from pathlib import Path\nfrom stages.execution.worker_pool import local, run\n"
        "from tests.execution.test_worker_pool import job\n"
        f"if __name__ == '__main__':\n    run(job(Path({str(tmp_path)!r})), ['hang1', 'hang2'], local(2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    notes = [tmp_path / "hang1", tmp_path / "hang2"]
    until(lambda: all(note.exists() and note.read_text().endswith("\n") for note in notes))
    parent.kill()
    parent.wait()
    until(lambda: not any(Path(f"/proc/{note.read_text().strip()}/exe").exists() for note in notes))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_kept_workers_serve_the_next_run_and_end_when_closed(tmp_path: Path) -> None:
    kept, before = pool.KeptWorkers(), set(multiprocessing.active_children())
    run(job(tmp_path), ["a", "b"], local(1, kept))
    run(job(tmp_path), ["c"], local(1, kept))
    assert len({process for task in "abc" for process in runs(tmp_path, task)}) == 1
    assert len(set(multiprocessing.active_children()) - before) == 1
    kept.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_kept_worker_that_died_or_stalled_is_replaced(tmp_path: Path) -> None:
    kept = pool.KeptWorkers()
    first = run(job(tmp_path, stall_seconds=0.5), ["a", "hang", "die", "b"], local(1, kept))
    assert [record.lost for record in first] == [False, True, True, False]
    for worker in kept.idle:
        worker.process.kill()
        worker.process.join()
    assert [record.task for record in run(job(tmp_path), ["c", "d"], local(1, kept))] == ["c", "d"]
    kept.close()


def test_what_is_retried_alone_does_not_run_in_a_kept_worker(tmp_path: Path) -> None:
    kept = pool.KeptWorkers()
    run(job(tmp_path), ["again"], local(1, kept))
    first, second = runs(tmp_path, "again")
    assert first != second and [str(worker.process.pid) for worker in kept.idle] == [first]
    kept.close()


def test_a_run_that_fails_keeps_no_worker_that_is_at_work(tmp_path: Path) -> None:
    kept = pool.KeptWorkers()
    with pytest.raises(RuntimeError, match=r"a worker failed"):
        run(job(tmp_path), ["fail"], local(1, kept))
    assert not kept.idle
