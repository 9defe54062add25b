"""A database that changes during a run gives no label, whatever changes it and however it is put back."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.databases import held_files
from stages.databases.held_files import HeldFiles, pending_log
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Outcome, Rules
from stages.execution.worker_pool import Executor, Job, local
from tests.execution.world import LIMITS, make_database

RULES = Rules("strict", Budget(floor=1_000_000, factor=10, gold=1_000_000), LIMITS)
COUNT = "SELECT count(*) FROM singer"


def delete_rows(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM singer")
    connection.commit()
    connection.close()


def replace_and_put_back(path: Path) -> None:
    """Another database stands at the path for a moment; then the very same file is back."""
    aside = path.with_name("aside")
    path.rename(aside)
    shutil.copyfile(aside, path)
    delete_rows(path)
    aside.replace(path)


def rewrite_in_place_with_the_old_times(path: Path) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes().replace(b"Peru", b"Fiji"))
    os.utime(path, ns=times)


def write_to_the_log_only(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("DELETE FROM singer")
    connection.commit()
    log = path.with_name(f"{path.name}-wal").read_bytes()
    connection.close()
    path.with_name(f"{path.name}-wal").write_bytes(log)  # closing removed it


CHANGES = [delete_rows, replace_and_put_back, rewrite_in_place_with_the_old_times, write_to_the_log_only, Path.unlink]


def changing(path: Path, change: Callable[[Path], None], before: bool) -> Executor[Item, Outcome]:
    """An executor during whose work a database changes: before its workers open it, or after they have read it."""

    def execute(
        job: Job[Item, Outcome], tasks: Sequence[Item], chunks: list[list[int]]
    ) -> Iterator[dict[int, Outcome]]:
        if before:
            change(path)
        executor: Executor[Item, Outcome] = local(1)
        parts = list(executor(job, tasks, chunks))
        if not before:
            change(path)
        yield from parts

    return execute


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_database_that_changes_during_a_run_is_named_and_gives_no_label(
    change: Callable[[Path], None], before: bool, tmp_path: Path
) -> None:
    path = make_database(tmp_path)
    items: list[Item] = [(GoldQuestion(str(path), COUNT), sql) for sql in ("SELECT 4", "SELECT 0")]
    with pytest.raises(UserError, match=r"music\.sqlite(-wal)? (was changed|was removed|holds changes)"):
        judge(items, RULES, changing(path, change, before), Cache(tmp_path / "cache"))
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    path.parent.rmdir()
    make_database(tmp_path)
    again = judge(items, RULES, local(1), Cache(tmp_path / "cache"))
    assert [outcome.verdict for outcome in again] == ["match", "mismatch"]


def test_a_run_that_executes_nothing_holds_its_databases_too(tmp_path: Path) -> None:
    path, cache = make_database(tmp_path), Cache(tmp_path / "cache")
    items: list[Item] = [(GoldQuestion(str(path), COUNT), "SELECT 4")]
    judge(items, RULES, local(1), cache)
    delete_rows(path)
    with pytest.raises(UserError, match=r"music\.sqlite was changed"):
        judge(items, RULES, local(1), cache)


def test_a_change_that_leaves_the_times_alone_is_seen_while_the_file_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_database(tmp_path)
    state = held_files.file_state(str(path))
    files = HeldFiles([str(path)])
    rewrite_in_place_with_the_old_times(path)
    monkeypatch.setattr(held_files, "file_state", lambda path: state)  # a clock that did not tick in between
    with pytest.raises(UserError, match=r"music\.sqlite was changed"):
        files.require_unchanged()


def test_a_database_that_is_not_there_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.sqlite cannot be read \(No such file"):
        HeldFiles([str(tmp_path / "absent.sqlite")])


def test_an_empty_log_holds_nothing(tmp_path: Path) -> None:
    path = make_database(tmp_path)
    for end in ("-wal", "-journal", "-shm"):
        path.with_name(path.name + end).touch()
    path.with_name(f"{path.name}-shm").write_bytes(b"x")
    assert pending_log(path) is None


def test_the_log_of_the_file_that_a_link_leads_to_counts(tmp_path: Path) -> None:
    path, link = make_database(tmp_path), tmp_path / "link.sqlite"
    link.symlink_to(path)
    path.with_name(f"{path.name}-wal").write_bytes(b"x")
    assert pending_log(link) == path.with_name(f"{path.name}-wal")
