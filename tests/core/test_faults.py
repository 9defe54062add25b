"""Faults of files, disks and terminals end a command with one sentence and status 2, and never with a traceback."""

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

import stages.score
from stages import check_params
from stages.core import params, yaml_files
from stages.core.errors import system_sentence
from tests import ROOT
from tests.commands import run_here
from tests.execution.world import make_database

LONG = "a" * 300
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_database(tmp_path / "databases")
    (tmp_path / "gold.sql").write_text("SELECT 1\tmusic\n")
    (tmp_path / "predictions.txt").write_text("SELECT 1\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


USUAL = ["--gold", "gold.sql", "--predictions", "predictions.txt", "--databases", "databases"]


def score(
    folder: Path, *flags: str, stdout: int | None = subprocess.PIPE, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Scores the predictions with these flags in place of the usual ones, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "stages.score", *USUAL, *flags], cwd=folder, stdout=stdout, stderr=subprocess.PIPE,
        text=True, errors="surrogateescape", env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=limit,
    )  # fmt: skip


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    errors = done.stderr.splitlines()
    assert done.returncode == 2 and len(errors) == 1 and errors[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in errors[0]


@pytest.mark.parametrize(("flags", "parts"), [
    (["--gold", "loop"], ["--gold loop is no file; give the path of one"]),
    (["--predictions", "loop"], ["--predictions loop is no file"]),
    (["--databases", "loop"], ["--databases loop is no folder"]),
    (["--gold", LONG], [LONG, "File name too long", "give a shorter name"]),
    (["--json", LONG], [LONG, "File name too long"]),
    (["--json", "a" * 250], ["--json aaa", "cannot be written: File name too long"]),  # with its temporary name
    (["--json", "loop"], ["--json loop cannot be written: Too many levels of symbolic links"]),
    (["--cache", LONG], [LONG, "ile name too long"]),
    (["--json", "/dev/full"], ["--json /dev/full cannot be written"]),
    (["--cache", "gold.sql"], ["the cache gold.sql/records.sqlite cannot be used"]),
    (["--gold", "odd\udcffname"], ["is not UTF-8; give a name in UTF-8"]),
])  # fmt: skip
def test_a_path_that_cannot_be_used_is_named(folder: Path, flags: Sequence[str], parts: Sequence[str]) -> None:
    assert_one_sentence(run_here(stages.score.main, folder, *USUAL, *flags), *parts)


@needs_full
def test_a_full_disk_behind_standard_output_is_named(folder: Path) -> None:
    with FULL.open("w") as full:
        done = score(folder, stdout=full.fileno())
    assert_one_sentence(done, "standard output cannot be written (No space left on device)")


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = score(folder, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_for_which_there_is_no_room_is_named_and_leaves_what_was_there(folder: Path) -> None:
    (folder / "items.jsonl").write_text("as it was")
    score(folder)  # so that the cache has all

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    done = score(folder, "--per-item", "items.jsonl", limit=no_room)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert (folder / "items.jsonl").read_text() == "as it was"
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize(("name", "text", "message"), [
    ("surrogate.json", r'[{"query": "SELECT \"\ud800\"", "db_id": "music"}]', "half a surrogate pair is no text"),
    ("deep.json", "[" * 100_000, "it is nested too deeply"),
    ("deep.jsonl", '{"db_id": ' * 100_000, "it is nested too deeply"),
    ("digits.json", f'[{{"query": "SELECT 1", "db_id": {"9" * 5000}}}]', "too many digits"),
])  # fmt: skip
def test_json_that_cannot_be_held_is_named(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    assert_one_sentence(run_here(stages.score.main, folder, *USUAL, "--gold", name), name, message)


def test_no_damage_to_a_parquet_file_gives_a_traceback(folder: Path) -> None:
    rows = {"db_id": ["music"] * 500, "gold_sql": [f"SELECT {number}" for number in range(500)]}
    pl.DataFrame(rows).write_parquet(folder / "gold.parquet")
    (folder / "predictions.txt").write_text("SELECT 1\n" * 500)
    content, draw = (folder / "gold.parquet").read_bytes(), random.Random(1)
    program = (
        "from pathlib import Path; from stages.core.errors import UserError\n"
        "from stages.predictions.gold_files import read_gold\n"
        "for path in sorted(Path().glob('damaged*.parquet')):\n"
        "    try:\n        read_gold(path)\n    except UserError as error:\n        print(path, error)\n"
    )
    for number in range(150):
        damaged = bytearray(content)
        for _ in range(draw.randrange(1, 10)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        (folder / f"damaged{number}.parquet").write_bytes(damaged[: draw.choice([len(damaged), len(damaged) // 2])])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("is not a Parquet file (") > 100


PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n" for before, after in pairwise("abcdefghij")
)


@pytest.mark.parametrize(("text", "message"), [
    (BOMB + PARAMS, "with its aliases, this has more than 50,000 values"),
    ("a: &a [*a]\n" + PARAMS, "this value holds an alias to itself"),
    ("# a comment\n" * 900_000 + PARAMS, "has 10,8"),
    ("x: " + "[" * 5000 + "]" * 5000, "it is nested too deeply"),
    (PARAMS.replace("memory_mb: 1024", f"memory_mb: {'9' * 5000}", 1), "digits"),
    (PARAMS.replace("memory_mb: 1024", "memory_mb: 99999999999999999999", 1), "`execution.memory_mb` is 9999"),
    (PARAMS.replace("max_rows: 500000", "max_rows: 999999999", 1), "`execution.max_rows` is 999999999; input should"),
    (PARAMS.replace("wall_seconds: 60", "wall_seconds: .inf", 1), "`execution.wall_seconds` is inf"),
    ('x: "\\ud800"\n' + PARAMS, "half a surrogate pair is no text"),
], ids=["bomb", "self", "comments", "deep", "digits", "memory", "rows", "inf", "surrogate"])  # fmt: skip
def test_params_that_would_cost_much_or_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    assert text != PARAMS
    (tmp_path / "params.yaml").write_text(text)
    done = run_here(check_params.main, tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "reports").exists()


def test_params_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def noting(path: Path, fix: str) -> object:
        reads.append(path)
        return yaml_files.read_yaml(path, fix)

    monkeypatch.setattr(params, "read_yaml", noting)
    check_params.check_params(ROOT / "params.yaml")
    assert reads == [ROOT / "params.yaml"]


@pytest.mark.parametrize("expectation", [
    {"type": "expect_column_to_exist", "kwargs": None, "meta": {"id": "a", "notes": "b"}},
    {"type": "expect_column_to_exist", "kwargs": [], "meta": {"id": "a", "notes": "b"}},
    {"type": "expect_column_to_exist", "kwargs": {}, "meta": None},
    {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "meta": {"id": 1, "notes": "b"}},
    {"type": None, "kwargs": {}, "meta": {"id": "a", "notes": "b"}},
    {"type": "expect_column_to_exist", "kwargs": {"column": 1}, "meta": {"id": "a", "notes": "b"}},
    {"kwargs": {}, "meta": {}}, None, "x",
])  # fmt: skip
def test_a_suite_with_an_entry_that_is_no_expectation_is_named(tmp_path: Path, expectation: object) -> None:
    from stages.core.errors import UserError
    from stages.validation.suites import read_suite

    (tmp_path / "suite.json").write_text(json.dumps({"name": "x", "expectations": [expectation]}))
    with pytest.raises(UserError, match=r"suite\.json: expectation 0 "):
        read_suite(tmp_path / "suite.json")


def test_a_suite_with_one_id_twice_is_refused(tmp_path: Path) -> None:
    from stages.core.errors import UserError
    from stages.validation.suites import read_suite

    one = {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "meta": {"id": "a", "notes": "b"}}
    (tmp_path / "suite.json").write_text(json.dumps({"name": "x", "expectations": [one, one]}))
    with pytest.raises(UserError, match="several expectations have the id `a`; rename one"):
        read_suite(tmp_path / "suite.json")


def test_a_defect_is_no_error_of_the_system() -> None:
    assert system_sentence(ValueError("a defect")) is None
    assert system_sentence(RuntimeError("a defect")) is None
