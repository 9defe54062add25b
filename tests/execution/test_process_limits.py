import errno
import multiprocessing
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Database
from tests.execution.world import LIMITS, make_database

MEMORY_MB = 500
SECRETS = {"HF_TOKEN": "hf_x", "AWS_SECRET_ACCESS_KEY": "x", "OPENAI_API_KEY": "x", "TZ": "Asia/Tokyo"}
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a limit that only Linux has")


@contextmanager
def one_process(initializer: Callable[..., object], *arguments: object) -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer, arguments) as executor:
        executor.submit(os.getpid).result()
        yield executor


@pytest.fixture(scope="module")
def limited() -> Iterator[ProcessPoolExecutor]:
    """A process under the limits, whose parent's environment held secrets and another time zone."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with one_process(limit_process, MEMORY_MB) as executor:
            yield executor


def write(path: Path, mode: str) -> int | None:
    try:
        with path.open(mode) as file:
            file.write("content")
    except OSError as error:
        return error.errno
    return None


def write_database(path: Path) -> str:
    try:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE t (a)")
    except sqlite3.Error as error:
        return type(error).__name__
    return "written"


def environment() -> tuple[str, str]:
    of_children = subprocess.run(["env"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return "\n".join(f"{name}={value}" for name, value in os.environ.items()), of_children


def hours() -> tuple[int, object]:
    connection = sqlite3.connect(":memory:")
    return time.localtime(0).tm_hour, connection.execute("SELECT time(0, 'unixepoch', 'localtime')").fetchone()[0]


def take_memory() -> str:
    try:
        bytearray(4 * MEMORY_MB * 1_000_000)
    except MemoryError:
        return "MemoryError"
    return "taken"


def take_heap(bytes_wanted: int) -> str:
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA hard_heap_limit = 0")  # must not lift it
    try:
        connection.execute("SELECT length(hex(zeroblob(?)))", (bytes_wanted // 2,)).fetchall()
    except apsw.NoMemError:
        return "NoMemError"
    return "taken"


def open_many(path: Path, count: int) -> int | None:
    files = []
    try:
        for _ in range(count):
            files.append(path.open())
    except OSError as error:
        return error.errno
    finally:
        for file in files:
            file.close()
    return None


def no_new_privileges() -> bool:
    return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()


def read_database(path: Path) -> tuple[str, int]:
    execution = Database(path).execute("SELECT a.name FROM singer a, singer b, singer c ORDER BY 1", 100_000, LIMITS)
    return execution.status, execution.rows


def with_few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    limit_process(MEMORY_MB)


@pytest.mark.parametrize("mode", ["w", "a", "r+"])
def test_no_file_can_be_written(limited: ProcessPoolExecutor, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert limited.submit(write, path, mode).result() == errno.EFBIG
    assert path.read_bytes() == b""


def test_no_database_can_be_written(limited: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert limited.submit(write_database, tmp_path / "new.sqlite").result() == "OperationalError"
    assert all(path.read_bytes() == b"" for path in tmp_path.iterdir())


def test_the_environment_holds_no_secret(limited: ProcessPoolExecutor) -> None:
    for seen in limited.submit(environment).result():
        assert "PATH=" in seen
        assert not any(f"{name}={value}" in seen for name, value in [*SECRETS.items(), ("HOME", "")])


def test_the_time_zone_is_utc(limited: ProcessPoolExecutor) -> None:
    assert limited.submit(hours).result() == (0, "00:00:00")


def test_no_core_is_dumped(limited: ProcessPoolExecutor) -> None:
    assert limited.submit(resource.getrlimit, resource.RLIMIT_CORE).result() == (0, 0)


@linux_only
def test_too_much_memory_is_a_memory_error(limited: ProcessPoolExecutor) -> None:
    assert limited.submit(take_memory).result() == "MemoryError"


def test_too_much_of_sqlites_heap_is_its_memory_error_and_no_pragma_lifts_that(limited: ProcessPoolExecutor) -> None:
    assert limited.submit(take_heap, 2 * MEMORY_MB * 1_000_000).result() == "NoMemError"
    assert limited.submit(take_heap, MEMORY_MB * 10_000).result() == "taken"


def test_files_that_stay_open_run_out_but_not_soon(limited: ProcessPoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert limited.submit(open_many, path, 48).result() is None
    most, _ = limited.submit(resource.getrlimit, resource.RLIMIT_NOFILE).result()
    assert limited.submit(open_many, path, most).result() == errno.EMFILE


@linux_only
def test_no_program_gives_it_new_privileges(limited: ProcessPoolExecutor) -> None:
    assert limited.submit(no_new_privileges).result()


@pytest.mark.parametrize("limit", ["RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_limits_are_hard(limited: ProcessPoolExecutor, limit: str) -> None:
    soft, hard = limited.submit(resource.getrlimit, getattr(resource, limit)).result()
    assert soft == hard != resource.RLIM_INFINITY


def test_databases_are_read_as_before(limited: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert limited.submit(read_database, make_database(tmp_path)).result() == ("ok", 64)


def test_a_limit_that_is_lower_already_stays() -> None:
    with one_process(with_few_files) as executor:
        assert executor.submit(resource.getrlimit, resource.RLIMIT_NOFILE).result() == (40, 40)
