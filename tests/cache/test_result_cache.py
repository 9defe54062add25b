import hashlib
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

import stages.cache.result_cache as cache_module
from stages.cache.result_cache import Cache, default_folder
from stages.core.errors import UserError
from stages.databases import held_files
from tests import ROOT

WRITER = """
import sys
from contextlib import suppress
from pathlib import Path
from stages.cache.result_cache import Cache
cache = Cache(Path(sys.argv[1]))
for start in range(0, 2000, 50):
    cache.put((b"%d" % number, [number, sys.argv[2]]) for number in range(start, start + 50))
"""


def test_records_come_back_at_the_place_of_their_key(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "cache")
    cache.put([(b"a", ["match", None, 1.5]), (b"b", {"x": "é"})])
    assert cache.get([b"b", b"c", b"a"]) == {0: {"x": "é"}, 2: ["match", None, 1.5]}


def test_the_first_record_of_a_key_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put([(b"a", 1)])
    cache.put([(b"a", 2)])
    assert cache.get([b"a"]) == {0: 1}


def test_runs_at_once_do_not_corrupt_it(tmp_path: Path) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(name)], cwd=ROOT) for name in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    found = Cache(tmp_path).get([b"%d" % number for number in range(2000)])
    assert [found[number][0] for number in range(2000)] == list(range(2000))


def test_a_killed_run_leaves_whole_records(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "0"], cwd=ROOT)
    while not (tmp_path / "records.sqlite").exists():
        assert run.poll() is None
    run.kill()
    run.wait()
    cache = Cache(tmp_path)
    found = cache.get([b"%d" % number for number in range(2000)])
    assert all(record == [number, "0"] for number, record in found.items())
    cache.put([(b"more", 1)])


def test_a_folder_or_file_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"records\.sqlite cannot be used .*delete the file, .* or XDG_CACHE_HOME"):
        Cache(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        Cache(tmp_path / "file")


def test_a_disk_that_is_full_is_told_in_a_sentence(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache._connection.pragma("max_page_count", 4)  # as small as a disk can be
    with pytest.raises(UserError, match=r"full.*; free the disk"):
        cache.put((b"%d" % number, "x" * 1000) for number in range(100))


def test_it_lies_in_the_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/sense")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "sense"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read; none counts as just changed."""
    paths: list[Path] = []

    def noting(path: Path) -> str:
        paths.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(cache_module, "sha256_file", noting)
    monkeypatch.setattr(held_files, "RACY_NS", -(10**18))
    return paths


def hashed(folder: Path, path: Path) -> bytes:
    """What a new run says: which of three contents it takes the file for."""
    names = {hashlib.sha256(content).hexdigest(): content for content in (b"one", b"two", b"longer")}
    return names[Cache(folder).sha256(str(path))]


def test_a_file_that_did_not_change_is_read_once_for_all_runs(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    assert [hashed(tmp_path, path) for _ in range(3)] == [b"one"] * 3
    assert reads == [path]


def test_another_process_does_not_read_a_file_that_is_known(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    hashed(tmp_path, path)
    unable = "import sys; from pathlib import Path; from stages.cache import result_cache as cache; "
    unable += "cache.sha256_file = None\n"
    script = f"{unable}print(cache.Cache(Path(sys.argv[1])).sha256(sys.argv[2]))"
    command = [sys.executable, "-c", script, str(tmp_path), str(path)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert told.strip() == hashlib.sha256(b"one").hexdigest()


def test_a_changed_file_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    assert hashed(tmp_path, path) == b"one"
    path.write_bytes(b"longer")
    assert hashed(tmp_path, path) == b"longer"
    assert len(reads) == 2


def test_another_file_of_the_same_size_and_time_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path, other = tmp_path / "big.sqlite", tmp_path / "other.sqlite"
    path.write_bytes(b"one")
    hashed(tmp_path, path)
    other.write_bytes(b"two")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    os.utime(other, ns=times)
    other.replace(path)
    assert path.stat().st_mtime_ns == times[1]
    assert hashed(tmp_path, path) == b"two"


def test_a_file_written_in_place_whose_time_was_put_back_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    hashed(tmp_path, path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    time.sleep(0.05)  # more than a tick of the file system's clock
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    assert hashed(tmp_path, path) == b"two"


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    hashed(tmp_path, path)
    assert not list(Cache(tmp_path)._connection.execute("SELECT * FROM checked_record"))


def test_a_record_that_the_disk_gives_back_otherwise_counts_as_missing_and_can_be_kept_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put([(b"a", ["match"]), (b"b", ["match"]), (b"c", ["match"])])
    damage = apsw.Connection(str(cache.file))
    damage.execute("UPDATE checked_record SET value = 12 WHERE key = CAST('b' AS BLOB)")
    damage.execute("UPDATE checked_record SET value = CAST('[\"batch\"]' AS BLOB) WHERE key = CAST('a' AS BLOB)")
    assert Cache(tmp_path).get([b"a", b"b", b"c"]) == {2: ["match"]}
    cache.put([(b"a", ["match"])])
    assert cache.get([b"a"]) == {0: ["match"]}


def test_a_record_under_the_key_of_another_counts_as_missing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put([(b"a", ["match"]), (b"b", ["mismatch"])])
    damage = apsw.Connection(str(cache.file))
    damage.execute("DELETE FROM checked_record WHERE key = CAST('b' AS BLOB)")
    damage.execute("UPDATE checked_record SET key = CAST('b' AS BLOB)")
    assert cache.get([b"a", b"b"]) == {}


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_gives_another_record(seed: int, tmp_path: Path) -> None:
    keys = [b"%020d" % number for number in range(200)]
    cache = Cache(tmp_path / "whole")
    cache.put((key, ["match", number, "é" * number]) for number, key in enumerate(keys))
    cache._connection.pragma("wal_checkpoint", "truncate")
    content, draw = cache.file.read_bytes(), random.Random(seed)
    for trial in range(100):
        folder = tmp_path / f"{seed}-{trial}"
        folder.mkdir()
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        (folder / cache.file.name).write_bytes(damaged)
        with suppress(UserError):
            for number, record in Cache(folder).get(keys).items():
                assert record == ["match", number, "é" * number], (place, bit)


def test_the_hash_of_a_file_is_held_to_its_digest_too(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "big.sqlite"
    path.write_bytes(b"one")
    hashed(tmp_path, path)
    damage = apsw.Connection(str(tmp_path / "records.sqlite"))
    damage.execute("UPDATE checked_record SET value = CAST('\"0\"' AS BLOB)")
    assert hashed(tmp_path, path) == b"one"


def test_a_file_that_changed_since_this_process_hashed_it_is_named(tmp_path: Path) -> None:
    path, cache = tmp_path / "big.sqlite", Cache(tmp_path)
    path.write_bytes(b"one")
    cache.sha256(str(path))
    cache.require_unchanged()
    path.write_bytes(b"longer")
    for held in (cache.require_unchanged, lambda: cache.sha256(str(path))):
        with pytest.raises(UserError, match=r"big\.sqlite was changed while it was being read; leave it"):
            held()
    path.unlink()
    with pytest.raises(UserError, match=r"big\.sqlite was removed"):
        cache.require_unchanged()
