import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import UserError
from stages.databases.paths import database_path
from stages.execution import judge as judge_module
from stages.execution import ray_engine as cluster_module
from stages.execution.judge import judge
from stages.execution.ray_engine import cluster
from stages.execution.records import DIGEST_ROWS, Budget, GoldQuestion, Item, Outcome, Rules
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor, Heartbeat, Job, local, run
from stages.predictions.gold_files import read_gold
from stages.predictions.prediction_files import read_predictions
from tests import ROOT
from tests.execution.world import CROSS_JOIN, ENDLESS, LIMITS, counting, make_database
from tests.real import REAL
from tests.workplace import write_questions

RULES = Rules("strict", Budget(1_000_000, 10), LIMITS, DIGEST_ROWS)
STUCK = "SELECT instr(h, substr(h, 1, 4000000) || 'b') FROM (SELECT replace(hex(zeroblob(4000000)), '0', 'a') AS h)"
Pid = tuple[int, int]
"""The number of a task, and the process that ran it."""

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


def make_work(failing: bool, heartbeat: Heartbeat) -> Callable[[tuple[str, int]], Pid]:
    def work(task: tuple[str, int]) -> Pid:
        if failing:
            raise ValueError("a defect")
        return task[1], os.getpid()

    return work


def job(failing: bool = False) -> Job[tuple[str, int], Pid]:
    return Job(
        partial(make_work, failing), tuple, tuple, file=itemgetter(0), size=itemgetter(1), stall_seconds=30,
        lost=lambda task: (task[1], 0), nondeterministic=lambda pid: False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes, one CPU each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # so that nodes can import this file, as they cannot elsewhere
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
        made.add_node(**NODE)
        yield made
        made.shutdown()


@pytest.fixture
def music(tmp_path: Path) -> str:
    return str(make_database(tmp_path))


def items_of(path: str, sqls: Sequence[str], golds: Sequence[str] = ("SELECT name FROM singer",)) -> list[Item]:
    return [(GoldQuestion(path, gold), sql) for gold in golds for sql in sqls]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def processes(name: str, parent: Callable[[int], bool] = lambda pid: True) -> list[int]:
    """The processes with `name` in their command line whose parent is as asked for."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if name in command and parent(int((folder / "stat").read_text().rpartition(")")[2].split()[1])):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def workers() -> list[int]:
    """The processes that execute queries for a Ray cluster."""
    return processes("multiprocessing.spawn", lambda pid: pid in processes("ray::"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "nowhere:x", "nowhere.invalid:6379", ":99999"])
def test_an_address_where_nothing_answers_is_refused_by_name(address: str, music: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(UserError, match="no Ray cluster answers at '" + address):
        judge(items_of(music, ["SELECT 1"]), RULES, cluster(address))


def test_without_ray_installed_the_engine_says_how_to_install_it(music: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install .*\[ray\]"):
        judge(items_of(music, ["SELECT 1"]), RULES, cluster("127.0.0.1:1"))


def test_a_relative_path_of_a_database_is_refused(music: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(music).parents[1])
    with pytest.raises(UserError, match=r"music/music.sqlite is no absolute path"):
        judge(items_of("music/music.sqlite", ["SELECT 1"]), RULES, cluster("127.0.0.1:1"))


def test_parts_are_whole_chunks_in_their_order() -> None:
    chunks = [[0, 1, 2], [3], [4, 5], [6, 7, 8, 9], [10], [11]]
    for cpus in (0, 1, 2, 100):
        parts = cluster_module._grouped(chunks, cpus)
        assert [chunk for part in parts for chunk in part] == chunks
        assert all(parts)
    assert len(parts) == len(chunks)
    assert cluster_module._grouped([], 2) == []


@pytest.mark.slow
def test_another_program_at_the_address_is_refused_by_name(music: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=address):
            judge(items_of(music, ["SELECT 1"]), RULES, cluster(address))


@pytest.mark.slow
def test_a_cluster_that_wants_a_token_says_how_to_give_it(music: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    flags = f"--head --port={port} --num-cpus=1 --object-store-memory=100000000 --include-dashboard=false --block"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *flags.split()], env={**os.environ, **token},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(port))
        with pytest.raises(UserError, match="RAY_AUTH_MODE=token"):
            judge(items_of(music, ["SELECT 1"]), RULES, cluster(f"127.0.0.1:{port}"))
    finally:
        head.terminate()
        head.wait()


@pytest.mark.slow
def test_outcomes_are_those_of_the_local_engine(nodes: Any, tmp_path: Path) -> None:
    paths = [str(make_database(tmp_path, name)) for name in ("music", "other")]
    sqls = ["", ENDLESS, CROSS_JOIN, "SELECT name FROM singer ORDER BY age", "SELECT 1; SELECT 2", "DROP TABLE singer"]
    sqls += [f"SELECT name, {number} FROM singer" for number in range(100)]
    golds = ["SELECT name FROM singer", "SELECT age FROM singer ORDER BY age", "SELECT absent"]
    items = [item for path in paths for item in items_of(path, sqls, golds)]
    outcomes = judge(items, RULES, cluster(nodes.address))
    assert outcomes == judge(items, RULES, local(1))
    assert len({outcome.verdict for outcome in outcomes}) > 4


@pytest.mark.slow
def test_every_node_works(nodes: Any, music: str) -> None:
    parents = set()
    tasks = [(music, number) for number in range(64)]
    for record in run(job(), tasks, cluster(nodes.address)):
        parents.add(record[1])
    assert len(parents) > 1


@pytest.mark.slow
def test_outcomes_are_the_same_when_a_node_dies_half_way(nodes: Any, music: str) -> None:
    doomed = nodes.add_node(**NODE)
    raylet = doomed.all_processes["raylet"][0].process.pid

    def works() -> bool:
        return bool(processes("ray::_run_part", lambda pid: pid == raylet))

    def killing(
        job: Job[Item, Outcome], tasks: Sequence[Item], chunks: list[list[int]]
    ) -> Iterator[dict[int, Outcome]]:
        executor: Executor[Item, Outcome] = cluster(nodes.address)
        for some in executor(job, tasks, chunks):
            yield some
            if doomed in nodes.worker_nodes:
                until(works)
                nodes.remove_node(doomed, allow_graceful=False)

    sqls = [counting(20_000 + number) for number in range(10)]
    items = items_of(music, sqls, [f"SELECT name, {number} FROM singer" for number in range(60)])
    outcomes = judge(items, RULES, killing)
    assert doomed not in nodes.worker_nodes
    assert outcomes == judge(items, RULES, local(1))


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(nodes: Any, music: str) -> None:
    killed: list[int] = []

    def kill() -> None:
        until(lambda: bool(workers()))
        killed.extend(workers())
        os.kill(killed[0], signal.SIGKILL)

    rules = Rules("strict", Budget(100_000_000, 10), LIMITS, DIGEST_ROWS)
    items = items_of(music, [counting(1_000_000 + number) for number in range(4)])  # about a second each
    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = judge(items, rules, cluster(nodes.address))
    thread.join()
    assert killed
    assert outcomes == judge(items, rules, local(1))


@pytest.mark.slow
def test_a_query_that_stands_still_costs_that_query_only(
    nodes: Any, music: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "HANG_GRACE_SECONDS", 1)
    rules = Rules("strict", Budget(1_000_000, 10), Limits(1, 512, 1000, 10))
    items = items_of(music, ["SELECT 1", STUCK, *(f"SELECT name, {number} FROM singer" for number in range(50))])
    outcomes = judge(items, rules, cluster(nodes.address))
    assert (outcomes[1].verdict, outcomes[1].error_class) == ("undecided", "lost")
    assert {outcome.verdict for outcome in outcomes[:1] + outcomes[2:]} == {"mismatch"}


@pytest.mark.slow
def test_a_defect_of_the_work_stops_the_run_as_it_does_locally(nodes: Any, music: str) -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        run(job(failing=True), [(music, 1)], cluster(nodes.address))


@pytest.mark.slow
def test_another_database_on_a_node_is_refused_before_work(
    nodes: Any, music: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_hashes", lambda paths, cache: dict.fromkeys(paths, "0" * 64))
    with pytest.raises(UserError, match=rf"{music} on node \S+ is not the file of this machine"):
        judge(items_of(music, ["SELECT 1"]), RULES, cluster(nodes.address))


@pytest.mark.slow
def test_a_database_that_a_node_lacks_is_refused_before_work(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent.sqlite"
    monkeypatch.setattr(cluster_module, "_hashes", lambda paths, cache: dict.fromkeys(paths, "0" * 64))
    executor: Executor[tuple[str, int], Pid] = cluster(nodes.address)
    with pytest.raises(UserError, match=rf"{absent} cannot be read on node \S+ \(No such file"):
        list(executor(job(), [(str(absent), 1)], [[0]]))


@pytest.mark.slow
@pytest.mark.parametrize(("program", "message"), [
    ("import apsw; apsw.apsw_version = lambda: '3.1.2'", r"node \S+ has apsw 3\.1\.2, this machine 3\.54"),
    ("import sys; sys.modules['apsw'] = None", r"node \S+ cannot run the stages"),
])  # fmt: skip
def test_a_node_with_other_packages_is_refused_before_work(
    nodes: Any, music: str, tmp_path: Path, program: str, message: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(program)
    other = nodes.add_node(**NODE, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(UserError, match=message):
            judge(items_of(music, ["SELECT 1"]), RULES, cluster(nodes.address))
    finally:
        nodes.remove_node(other, allow_graceful=True)


@pytest.mark.slow
def test_nodes_run_the_code_of_the_driver_and_not_their_own(nodes: Any, music: str, tmp_path: Path) -> None:
    own = tmp_path / "stages"
    shutil.copytree(ROOT / "stages", own, ignore=shutil.ignore_patterns("__pycache__"))
    worker = own / "execution" / "worker.py"
    worker.write_text(worker.read_text().replace("the gold query is undecided", "said by the code of the driver"))
    script = tmp_path / "driver.py"
    script.write_text(
        "from operator import attrgetter\nfrom stages.execution.ray_engine import cluster\n"
        "from stages.execution.judge import judge\n"
        "from stages.execution.records import Budget, GoldQuestion, Rules\n"
        "from stages.execution.sandbox import Limits\n"
        "if __name__ == '__main__':\n"
        f"    items = [(GoldQuestion({music!r}, 'SELECT 1', 'undecided'), 'SELECT 1')]\n"
        "    rules = Rules('strict', Budget(1000, 1), Limits(1, 512, 10, 10))\n"
        f"    engine = cluster({nodes.address!r})\n"
        "    print(judge(items, rules, engine)[0].error)\n"
    )
    done = subprocess.run([sys.executable, script], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("said by the code of the driver\n")  # Ray may tell of a dead node before


@pytest.mark.slow
def test_a_stage_gives_the_same_bytes_on_a_cluster(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "data/databases")
    write_questions(["SELECT name FROM singer LIMIT 1", "SELECT name FROM singer", "SELECT absent", ENDLESS])
    shutil.copy(ROOT / "params.yaml", tmp_path)
    outs = {}
    for engine, flags in (("local", ["--workers=1"]), ("ray", ["--engine=ray", f"--ray-address={nodes.address}"])):
        command = [sys.executable, "-m", "stages.gold", f"--cache={engine}", *flags]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        names = ("data/gold.parquet", "reports/gold.json", "reports/gold.html")
        outs[engine] = [Path(name).read_bytes() for name in names]
    assert outs["ray"] == outs["local"]


@pytest.mark.slow
def test_queries_end_when_the_driver_is_killed(nodes: Any, music: str, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "from stages.execution.judge import judge\nfrom stages.execution.ray_engine import cluster\n"
        "from stages.execution.records import Budget, Rules\n"
        "from tests.execution.test_ray_engine import LIMITS, items_of\n"
        "if __name__ == '__main__':\n"
        f"    items, rules = items_of({music!r}, [{ENDLESS!r}]), Rules('strict', Budget(10**12, 1), LIMITS)\n"
        f"    judge(items, rules, cluster({nodes.address!r}))\n"
    )
    driver = subprocess.Popen([sys.executable, script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until(lambda: bool(workers()))
    driver.kill()
    driver.wait()
    until(lambda: not workers())


@pytest.mark.slow
@pytest.mark.realdata
def test_real_predictions_get_the_outcomes_of_the_local_engine(nodes: Any) -> None:
    golds = read_gold(REAL / "spider" / "dev.json")
    systems = sorted((REAL / "predictions" / "spider_dev").glob("artessay_*.txt"))[:3]
    items = []
    for system in systems:
        for gold, texts in zip(golds, read_predictions(system, golds), strict=True):
            path = database_path(REAL / "spider" / "database", gold.db_id)
            if path.is_file():
                items.append((GoldQuestion(str(path), gold.sql), texts[0]))
    assert len(items) > 2000
    outcomes = judge(items, RULES, cluster(nodes.address))
    assert outcomes == judge(items, RULES, local(2))
