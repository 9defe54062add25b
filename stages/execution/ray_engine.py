"""Runs a job on the machines of a Ray cluster. The records are those of `stages.execution.worker_pool.local`.

The driver sends parts of the tasks. Each part is a Ray task of one CPU, and there the pool runs it in a process of its
own, limited and killed as on one machine. A part whose node dies is run again on another, with the same records. What
took its process down or is doubtful is tried again alone: after all others, one part at a time in the whole cluster.

The nodes run the driver's code, which is sent to them. What else decides a record, the versions of SQLite and the bytes
of the databases, is compared with the driver's before any work, and again with each part, since nodes come and go.
"""

import logging
import os
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import apsw

from stages.cache.result_cache import Cache, default_folder
from stages.core.errors import UserError
from stages.core.files import sha256_code
from stages.databases.held_files import HeldFiles
from stages.execution.judge import ROOMS
from stages.execution.worker_pool import Executor, Job, attempts, files_of

T = TypeVar("T")
R = TypeVar("R")
_STAGES = Path(__file__).parents[1]
_LARGEST_PART = 5_000  # tasks: about a second of work, so that the 0.1 s to start its process hardly count
_PARTS_PER_CPU = 4
_RETRIES = 10  # of a part whose node dies
_SECONDS = 10.0
_AGAIN = "start the same command again: what is in the cache is not executed again"


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    """Tasks, one list for each chunk, and what must be the same where they run: versions, and the sha256 by path."""

    chunks: list[list[T]]
    versions: dict[str, str]
    databases: dict[str, str]


def cluster(address: str, cache: Path | None = None) -> Executor[T, R]:
    """The executor of a running Ray cluster.

    `address`: `host:port` of its head; this machine must be a node of it. `cache`: the folder of the result cache,
    where the sha256 of the databases are kept (None: the usual one, as on the nodes). `file` of the job gives absolute
    paths: every node has the files at the same places. `make_work` is a function of the package `stages`.
    The executor raises UserError where Ray is not installed, the cluster does not answer, a node has other versions or
    another file, a file changes there, or no node is left.
    """

    def records(job: Job[T, R], tasks: Sequence[T], chunks: list[list[int]]) -> Iterator[dict[int, R]]:
        todo = (tasks[index] for index in chain.from_iterable(chunks))
        hashes = _hashes(files_of(job, todo), cache or default_folder())
        versions = _versions()

        def part_of(indices: list[list[int]]) -> _Part[T]:
            task_chunks = [[tasks[index] for index in chunk] for chunk in indices]
            read = files_of(job, chain.from_iterable(task_chunks))
            return _Part(task_chunks, versions, {path: hashes[path] for path in sorted(read)})

        with _connected(address):
            _check_nodes(_Part([], versions, hashes))
            alone: list[int] = []
            for lost, part in _results(job, part_of, _grouped(chunks, _cpus()), None):
                doubtful = [index for index, record in part.items() if job.nondeterministic(record)]
                alone += [*lost, *doubtful]
                yield {index: record for index, record in part.items() if index not in doubtful}
            for lost, part in _results(job, part_of, _grouped([[index] for index in sorted(alone)], 1), 1):
                yield {**part, **{index: job.lost(tasks[index]) for index in lost}}

    return records


def _hashes(paths: set[str], folder: Path) -> dict[str, str]:
    relative = sorted(path for path in paths if not Path(path).is_absolute())
    if relative:
        raise UserError(*(f"{path} is no absolute path: on other machines it may be another file" for path in relative))
    cache = Cache(folder)
    return {path: cache.sha256(path) for path in sorted(paths)}


def _versions() -> dict[str, str]:
    return {"apsw": apsw.apsw_version(), "SQLite": apsw.sqlite_lib_version(), "code of": sha256_code(*ROOMS)}


def _grouped(chunks: list[list[int]], cpus: int) -> list[list[list[int]]]:
    """Whole chunks, so many together that each CPU gets some parts."""
    size = min(_LARGEST_PART, sum(map(len, chunks)) // (_PARTS_PER_CPU * max(1, cpus)))
    parts: list[list[list[int]]] = []
    room = 0
    for chunk in chunks:
        if room <= 0:
            parts.append([])
            room = size
        parts[-1].append(chunk)
        room -= len(chunk)
    return parts


@contextmanager
def _connected(address: str) -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise UserError(
            "Ray is not installed; install it with `python -m pip install --constraint constraints.txt '.[ray]'`"
        ) from None
    _reach(address)
    with TemporaryDirectory() as folder:  # Ray sends a whole folder
        shutil.copytree(_STAGES, Path(folder) / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        try:
            ray.init(address, runtime_env={"working_dir": folder}, log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, ValueError, OSError, RayError) as error:
            raise UserError(
                f"the Ray cluster at {address} cannot be used ({error}); run this on a machine that is a node of it, "
                "with the same versions of Ray and Python on all nodes"
            ) from error
    try:
        yield
    except RayTaskError:  # of the work itself: a RuntimeError as from the local executor
        raise
    except RayError as error:
        raise UserError(f"the Ray cluster at {address} failed ({error}); when it runs again, {_AGAIN}") from error
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises UserError where no Ray answers: `ray.init` itself would try for minutes."""
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError, RpcError

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
        ensure_token_if_auth_enabled(create_token_if_missing=False)  # else the next line aborts the process
        GcsClient(address=address)
    except AuthenticationError:
        raise UserError(
            f"the Ray cluster at {address} asks for its token; set RAY_AUTH_MODE=token in the environment, and have "
            "the same ~/.ray/auth_token here as on its nodes"
        ) from None
    except (OSError, ValueError, OverflowError, RpcError) as error:
        raise UserError(
            f"no Ray cluster answers at {address!r} ({error}); give the host:port that `ray start --head` printed"
        ) from error


def _nodes() -> list[dict[str, Any]]:
    """The living nodes that take work."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def _cpus() -> int:
    return sum(int(node["Resources"]["CPU"]) for node in _nodes())


def _check_nodes(everything: _Part[Any]) -> None:
    """Raises UserError naming all that differs on any node. A node that is dying meanwhile is left out."""
    import ray
    from ray.exceptions import NodeDiedError, RayTaskError, TaskUnschedulableError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask, answers, faults = ray.remote(_faults), dict[Any, str](), list[str]()
    for node in _nodes():
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answers[ask.options(num_cpus=0, scheduling_strategy=on_node).remote(everything)] = node["NodeManagerAddress"]
    for answer, name in answers.items():
        try:
            faults += ray.get(answer)
        except (NodeDiedError, TaskUnschedulableError):
            continue
        except RayTaskError as error:
            reason = str(error).splitlines()[-1]
            faults.append(f"node {name} cannot run the stages ({reason}); install what constraints.txt names there")
    if faults:
        raise UserError(*dict.fromkeys(faults))


def _faults(part: _Part[Any]) -> list[str]:
    """On a node: what it lacks."""
    node, here, cache, faults = _address(), _versions(), Cache(default_folder()), list[str]()
    for name, version in part.versions.items():
        if here[name] != version:
            fix = "install what constraints.txt names on both"
            faults.append(f"node {node} has {name} {here[name]}, this machine {version}; {fix}")
    for path, sha256 in part.databases.items():
        try:
            if cache.sha256(path) != sha256:
                faults.append(f"{path} on node {node} is not the file of this machine; copy it there")
        except OSError as error:
            faults.append(f"{path} cannot be read on node {node} ({error.strerror}); each node needs it at this path")
    return faults


def _address() -> str:
    """Of the node that this runs on."""
    import ray

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _results(
    job: Job[T, R], part_of: Callable[[list[list[int]]], _Part[T]], parts: list[list[list[int]]], at_once: int | None
) -> Iterator[tuple[list[int], dict[int, R]]]:
    """What `attempts` of the pool gives, of each part. `at_once`: parts that run at a time (None: one for each CPU)."""
    import ray

    run = ray.remote(_run_part).options(num_cpus=1, max_retries=_RETRIES, scheduling_strategy="SPREAD")
    queue, running, shared = deque(parts), dict[Any, list[int]](), ray.put(job)
    while queue or running:
        cpus = _cpus()
        while queue and len(running) < (at_once or cpus + len(_nodes())):  # one more each: no node waits for the driver
            part = queue.popleft()
            running[run.remote(shared, part_of(part))] = list(chain.from_iterable(part))
        done, _ = ray.wait(list(running), timeout=_SECONDS) if running else ([], [])
        if not cpus and not done:
            raise UserError(f"the Ray cluster has no node left that takes work; start one, and {_AGAIN}")
        for reference in done:
            indices = running.pop(reference)
            faults, lost, records = ray.get(reference)
            if faults:
                raise UserError(*faults)
            yield [indices[place] for place in lost], {indices[place]: record for place, record in records.items()}


def _run_part(job: Job[Any, Any], part: _Part[Any]) -> tuple[list[str], list[int], dict[int, Any]]:
    """On a node: what it lacks, and by their places in the part the tasks that took their process down and the records
    of the others."""
    faults = _faults(part)
    if faults:
        return faults, [], {}
    files = HeldFiles(part.databases)
    tasks, places = list(chain.from_iterable(part.chunks)), count()
    chunks = [list(islice(places, len(chunk))) for chunk in part.chunks]
    lost, records = list[int](), dict[int, Any]()
    for attempt in attempts(job, tasks, chunks, 1):
        lost += [*attempt.lost, *attempt.given_up]
        records.update(attempt.records)
    try:
        files.require_unchanged()
    except UserError as error:
        return [f"node {_address()}: {sentence}" for sentence in error.sentences], [], {}
    return [], lost, records
