"""Fetching: whole over HTTP, over the Hub and by hand; killed runs, wrong data, the record, and what is told."""

import errno
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stages import fetch
from stages.errors import UserError
from tests.desk import ARCHIVE, GOOD, WHOLE, Desk, at_desk, files_in, hash_of, zipped
from tests.hub import running_hub
from tests.test_hub import environment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with at_desk(tmp_path, monkeypatch) as desk:
        yield desk


def test_a_source_is_fetched_over_http_without_what_macos_adds(desk: Desk) -> None:
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    assert sorted(path.name for path in desk.raw.iterdir()) == [".downloads", "toy", "toy.dvc"]
    assert not files_in(desk.raw / ".downloads")


def test_the_record_tells_of_origin_hash_licence_and_citation_and_of_no_machine(desk: Desk) -> None:
    desk.fetch()
    assert desk.record["desc"] == "Toy, as its authors ship it."
    assert desk.record["meta"] == {
        "title": "Toy", "homepage": "https://toy.example", "licence": "CC0-1.0",
        "licence_url": "https://toy.example/licence", "redistribution": True, "citation": "@misc{toy,\n}\n",
        "files": [{"url": f"{desk.web.address}/toy.zip", "sha256": hash_of(ARCHIVE), "size": len(ARCHIVE)}],
    }  # fmt: skip
    (out,) = desk.record["outs"]
    assert (out["path"], out["nfiles"], out["size"]) == ("toy", 2, sum(map(len, WHOLE.values())))
    assert str(desk.root) not in (desk.raw / "toy.dvc").read_text()


def test_git_is_given_the_record_whole_and_not_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    shutil.rmtree(tmp_path / ".dvc")
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    desk.raw.mkdir()
    shutil.copy(ROOT / "data/raw/.gitignore", desk.raw)
    desk.fetch()
    status = git("status", "--porcelain", "--untracked-files=all", "raw").splitlines()
    assert status == ["A  raw/toy.dvc", "?? raw/.gitignore"]
    assert "citation" in git("show", ":raw/toy.dvc")


def test_two_fetches_make_the_same_record(desk: Desk) -> None:
    desk.fetch()
    first = (desk.raw / "toy.dvc").read_bytes()
    shutil.rmtree(desk.folder)
    desk.fetch()
    assert (desk.raw / "toy.dvc").read_bytes() == first


def test_a_second_run_does_nothing_and_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.fetch()
    asked, stamp = list(desk.web.asked), (desk.raw / "toy.dvc").stat().st_mtime_ns
    capsys.readouterr()
    desk.fetch()
    assert desk.web.asked == asked
    assert (desk.raw / "toy.dvc").stat().st_mtime_ns == stamp
    assert "nothing to do" in capsys.readouterr().out


def test_without_a_network_one_sentence_a_source_says_what_to_put_where(desk: Desk) -> None:
    nowhere = "http://127.0.0.1:9"
    second = {**desk.file, "name": "more.zip", "url": f"{nowhere}/more.zip"}
    desk.file["url"] = f"{nowhere}/toy.zip"
    other = {**desk.toy, "files": [desk.file, second]}
    toy, both = desk.refused("toy", "other", other=other)
    assert f"download by hand {nowhere}/toy.zip as {desk.raw}/toy.zip, then run the same command again" in toy
    assert f"{nowhere}/toy.zip as {desk.raw}/toy.zip, and {nowhere}/more.zip as {desk.raw}/more.zip, then" in both


def test_an_archive_put_there_by_hand_is_used_without_a_network_and_kept(desk: Desk) -> None:
    desk.raw.mkdir()
    (desk.raw / "toy.zip").write_bytes(ARCHIVE)
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    assert desk.web.asked == []
    assert (desk.raw / "toy.zip").exists()


def test_a_wrong_hash_is_refused_with_both_hashes_and_the_download_is_deleted(desk: Desk) -> None:
    desk.file["sha256"] = "0" * 64
    (sentence,) = desk.refused()
    assert "0" * 64 in sentence
    assert hash_of(ARCHIVE) in sentence
    assert not files_in(desk.raw / ".downloads")


def test_a_wrong_file_put_there_by_hand_is_refused_and_kept(desk: Desk) -> None:
    desk.raw.mkdir()
    (desk.raw / "toy.zip").write_bytes(b"other")
    (sentence,) = desk.refused()
    assert "put the right file in its place" in sentence
    assert (desk.raw / "toy.zip").read_bytes() == b"other"


def test_a_hash_that_nobody_published_is_recorded_and_a_later_fetch_holds_to_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.serve(ARCHIVE, known=False)
    desk.fetch()
    assert f"has sha256 {hash_of(ARCHIVE)}; there is none to compare it with" in capsys.readouterr().out
    shutil.rmtree(desk.folder)
    desk.serve(zipped({**GOOD, "toy_1/new.txt": b""}), known=False)
    with pytest.raises(UserError, match=hash_of(ARCHIVE)):
        desk.fetch()
    assert not desk.folder.exists()


def test_killed_between_download_and_unpacking_the_next_run_does_not_download_again(desk: Desk) -> None:
    desk.sources.write_text(json.dumps({"toy": desk.toy}))
    code = (
        "import os, sys; from stages import fetch\n"
        "fetch._build = lambda *_: os.kill(os.getpid(), 9)\n"
        f"sys.argv = ['fetch', 'toy', '--raw', {str(desk.raw)!r}, '--sources', {str(desk.sources)!r}]\n"
        "fetch.main()\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert len(desk.web.asked) == 1
    desk.fetch()
    assert len(desk.web.asked) == 1
    assert files_in(desk.folder) == WHOLE


def test_killed_before_the_record_the_next_run_makes_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(fetch, "write_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        desk.fetch()
    assert desk.folder.exists()
    desk.fetch()
    assert desk.record["outs"]


def test_a_folder_that_is_no_longer_as_recorded_is_told_and_left_alone(desk: Desk) -> None:
    desk.fetch()
    (desk.folder / "dev.json").write_text("[]")
    with pytest.raises(UserError, match=r"is not as .*toy\.dvc tells"):
        desk.fetch()
    assert (desk.folder / "dev.json").read_text() == "[]"


@pytest.mark.parametrize("half", [False, True])
def test_a_folder_without_a_record_is_told_and_left_alone(desk: Desk, half: bool) -> None:
    if half:  # of a download is there, too
        desk.web.cuts = [300_000, 0, 0]
        desk.refused()
    desk.folder.mkdir(parents=True)
    (desk.folder / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="without a record"):
        desk.fetch()
    assert files_in(desk.folder) == {"mine.txt": b"mine"}


def test_a_record_of_other_downloads_is_told(desk: Desk) -> None:
    desk.fetch()
    desk.file["url"] += "?version=2"
    with pytest.raises(UserError, match="other downloads"):
        desk.fetch()


def test_missing_files_and_wrong_counts_are_all_told(desk: Desk) -> None:
    desk.toy["required"] += ["tables.json"]
    desk.toy["questions"] = {"dev.json": 1034, "train.json": 7000}
    sentences = desk.refused()
    wanted = ["no file is tables.json", "dev.json has 2 entries, not 1034", "train.json is missing"]
    assert len(sentences) == len(wanted)
    assert all(part in sentence for part, sentence in zip(wanted, sentences, strict=True))


@pytest.mark.parametrize(
    ("text", "reason"), [(b"[{", "is not JSON"), (b"{}", "holds no list"), (b"\xff", "is not JSON")]
)
def test_a_question_file_that_cannot_be_counted_is_told(desk: Desk, text: bytes, reason: str) -> None:
    desk.serve(zipped({**GOOD, "toy_1/dev.json": text}))
    (sentence,) = desk.refused()
    assert f"dev.json {reason}" in sentence


def test_a_single_file_is_taken_as_it_is_where_it_belongs(desk: Desk) -> None:
    desk.web.files["x"] = b"[1, 2]"
    desk.file.update(name="toy-dev.json", url=f"{desk.web.address}/x", sha256=None, unpack=None, into="in/dev.json")
    desk.toy |= {"required": [], "questions": {"in/dev.json": 2}}
    desk.fetch()
    assert files_in(desk.folder) == {"in/dev.json": b"[1, 2]"}


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_the_download_is_told_before_it(desk: Desk) -> None:
    desk.patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, len(ARCHIVE) - 1))
    (sentence,) = desk.refused()
    assert f"is full ({len(ARCHIVE):,} bytes are needed, {len(ARCHIVE) - 1:,} are free); make room" in sentence


def test_a_disk_without_room_for_what_is_in_the_archive_is_told_and_the_archive_kept(desk: Desk) -> None:
    desk.serve(zipped({**GOOD, "toy_1/zeros": bytes(50_000_000)}))
    desk.patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10_000_000))
    (sentence,) = desk.refused()
    assert "is full" in sentence
    assert list(files_in(desk.raw / ".downloads")) == ["toy/toy.zip"]


def test_a_disk_that_fills_up_is_told(desk: Desk) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    desk.patch.setattr(shutil, "copyfileobj", full)
    (sentence,) = desk.refused()
    assert "is full; make room" in sentence


def test_every_unknown_source_is_told_with_the_known_ones_before_any_work(desk: Desk) -> None:
    assert desk.refused("toy", "spyder", "brid") == [
        f"source {name!r} is not known; the sources are: toy" for name in ("spyder", "brid")
    ]
    assert desk.web.asked == []


def test_two_sources_that_fail_are_both_told_and_a_third_is_fetched(desk: Desk) -> None:
    none = {**desk.toy, "files": [{**desk.file, "name": "n.zip", "url": f"{desk.web.address}/none"}]}
    wrong = {**desk.toy, "files": [{**desk.file, "name": "w.zip", "sha256": "1" * 64}]}
    with pytest.raises(UserError) as caught:
        desk.fetch("none", "toy", "wrong", none=none, wrong=wrong)
    first, second = caught.value.sentences
    assert first.startswith("none: ") and second.startswith("wrong: ")
    assert files_in(desk.folder) == WHOLE


def test_a_raw_folder_outside_a_dvc_repository_is_told(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    desk.raw = tmp_path_factory.mktemp("elsewhere")
    (sentence,) = desk.refused()
    assert "lies in no DVC repository" in sentence


@pytest.fixture
def command(desk: Desk) -> Iterator[Callable[[], subprocess.CompletedProcess[str]]]:
    """Fetches `toy`, which is a Hub dataset, in a process that takes the test Hub for the Hub."""
    with running_hub() as hub:
        dataset = hub.dataset("someone/toy-set")
        revision = dataset.commit({"data/dev.json": b"[1, 2]", "data/more.json": b"[]", "README.md": b"#"})
        dataset.commit({"data/dev.json": b"[1, 2, 3]"})
        desk.toy |= {"files": [], "required": []}
        desk.toy["hub"] = [{
            "repo": "someone/toy-set", "revision": revision, "patterns": ["data/*"], "root": "data", "into": ".",
            "sha256": {"data/dev.json": hash_of(b"[1, 2]")},
        }]  # fmt: skip
        desk.sources.write_text(json.dumps({"toy": desk.toy}))
        argv = [sys.executable, "-m", "stages.fetch", "toy", "--raw", str(desk.raw), "--sources", str(desk.sources)]

        def run() -> subprocess.CompletedProcess[str]:
            own = environment(hub, desk.root / "home")
            return subprocess.run(argv, cwd=ROOT, env=own, capture_output=True, text=True, check=False)

        yield run


Command = Callable[[], subprocess.CompletedProcess[str]]


def test_a_source_is_fetched_from_the_hub_at_its_revision(desk: Desk, command: Command) -> None:
    done = command()
    assert done.returncode == 0, done.stderr
    assert files_in(desk.folder) == {"dev.json": b"[1, 2]", "more.json": b"[]"}
    revision = desk.toy["hub"][0]["revision"]
    named = {"hub": "someone/toy-set", "revision": revision}
    assert desk.record["meta"]["files"] == [
        {**named, "path": "data/dev.json", "sha256": hash_of(b"[1, 2]"), "size": 6},
        {**named, "path": "data/more.json", "sha256": hash_of(b"[]"), "size": 2},
    ]
    assert "nothing to do" in command().stdout


def test_a_hub_that_does_not_have_the_commit_is_told_and_files_put_there_by_hand_are_used(
    desk: Desk, command: Command
) -> None:
    desk.toy["hub"][0]["revision"] = "0" * 40
    desk.sources.write_text(json.dumps({"toy": desk.toy}))
    done = command()
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    place = f"into the folder {desk.raw}/toy-set, under the same path"
    assert f"/datasets/someone/toy-set/tree/{'0' * 40} {place}" in sentence
    (desk.raw / "toy-set" / "data").mkdir(parents=True)
    (desk.raw / "toy-set" / "data" / "dev.json").write_bytes(b"[1, 2]")
    assert command().returncode == 0
    assert files_in(desk.folder) == {"dev.json": b"[1, 2]"}
