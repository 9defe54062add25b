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

from stages.core.errors import UserError
from stages.fetching import dvc_record
from tests import ROOT
from tests.hub import environment, running_hub
from tests.toy import ARCHIVE, GOOD, WHOLE, Toy, files_in, hash_of, toy_repository, zipped


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    with toy_repository(tmp_path, monkeypatch) as toy:
        yield toy


def test_a_source_is_fetched_over_http_without_what_macos_adds(toy: Toy) -> None:
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    assert sorted(path.name for path in toy.raw.iterdir()) == [".downloads", "toy", "toy.dvc"]
    assert not files_in(toy.raw / ".downloads")


def test_the_record_tells_of_origin_hash_licence_and_citation_and_of_no_machine(toy: Toy) -> None:
    toy.fetch()
    assert toy.record["desc"] == "Toy, as its authors ship it."
    assert toy.record["meta"] == {
        "title": "Toy", "homepage": "https://toy.example", "licence": "CC0-1.0",
        "licence_url": "https://toy.example/licence", "redistribution": True, "citation": "@misc{toy,\n}\n",
        "files": [{"url": f"{toy.web.address}/toy.zip", "sha256": hash_of(ARCHIVE), "size": len(ARCHIVE)}],
    }  # fmt: skip
    (out,) = toy.record["outs"]
    assert (out["path"], out["nfiles"], out["size"]) == ("toy", 2, sum(map(len, WHOLE.values())))
    assert str(toy.root) not in (toy.raw / "toy.dvc").read_text()


def test_git_is_given_the_record_whole_and_not_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Toy
) -> None:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    shutil.rmtree(tmp_path / ".dvc")
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    toy.raw.mkdir()
    shutil.copy(ROOT / "data/raw/.gitignore", toy.raw)
    toy.fetch()
    status = git("status", "--porcelain", "--untracked-files=all", "raw").splitlines()
    assert status == ["A  raw/toy.dvc", "?? raw/.gitignore"]
    assert "citation" in git("show", ":raw/toy.dvc")


def test_two_fetches_make_the_same_record(toy: Toy) -> None:
    toy.fetch()
    first = (toy.raw / "toy.dvc").read_bytes()
    shutil.rmtree(toy.folder)
    toy.fetch()
    assert (toy.raw / "toy.dvc").read_bytes() == first


def test_a_second_run_does_nothing_and_says_so(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.fetch()
    requests, stamp = list(toy.web.requests), (toy.raw / "toy.dvc").stat().st_mtime_ns
    capsys.readouterr()
    toy.fetch()
    assert toy.web.requests == requests
    assert (toy.raw / "toy.dvc").stat().st_mtime_ns == stamp
    assert "nothing to do" in capsys.readouterr().out


def test_without_a_network_one_sentence_a_source_says_what_to_put_where(toy: Toy) -> None:
    nowhere = "http://127.0.0.1:9"
    second = {**toy.file, "name": "more.zip", "url": f"{nowhere}/more.zip"}
    toy.file["url"] = f"{nowhere}/toy.zip"
    other = {**toy.source, "files": [toy.file, second]}
    alone, both = toy.refused("toy", "other", other=other)
    assert f"download by hand {nowhere}/toy.zip as {toy.raw}/toy.zip, then run the same command again" in alone
    assert f"{nowhere}/toy.zip as {toy.raw}/toy.zip, and {nowhere}/more.zip as {toy.raw}/more.zip, then" in both


def test_an_archive_put_there_by_hand_is_used_without_a_network_and_kept(toy: Toy) -> None:
    toy.raw.mkdir()
    (toy.raw / "toy.zip").write_bytes(ARCHIVE)
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    assert toy.web.requests == []
    assert (toy.raw / "toy.zip").exists()


def test_a_wrong_hash_is_refused_with_both_hashes_and_the_download_is_deleted(toy: Toy) -> None:
    toy.file["sha256"] = "0" * 64
    (sentence,) = toy.refused()
    assert "0" * 64 in sentence
    assert hash_of(ARCHIVE) in sentence
    assert not files_in(toy.raw / ".downloads")


def test_a_wrong_file_put_there_by_hand_is_refused_and_kept(toy: Toy) -> None:
    toy.raw.mkdir()
    (toy.raw / "toy.zip").write_bytes(b"other")
    (sentence,) = toy.refused()
    assert "put the right file in its place" in sentence
    assert (toy.raw / "toy.zip").read_bytes() == b"other"


def test_a_hash_that_nobody_published_is_recorded_and_a_later_fetch_holds_to_it(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.serve(ARCHIVE, known=False)
    toy.fetch()
    assert f"has sha256 {hash_of(ARCHIVE)}; there is none to compare it with" in capsys.readouterr().out
    shutil.rmtree(toy.folder)
    toy.serve(zipped({**GOOD, "toy_1/new.txt": b""}), known=False)
    with pytest.raises(UserError, match=hash_of(ARCHIVE)):
        toy.fetch()
    assert not toy.folder.exists()


def test_killed_between_download_and_unpacking_the_next_run_does_not_download_again(toy: Toy) -> None:
    toy.sources.write_text(json.dumps({"toy": toy.source}))
    code = (
        "import os, sys; from stages import fetch\n"
        "fetch._build = lambda *_: os.kill(os.getpid(), 9)\n"
        f"sys.argv = ['fetch', 'toy', '--raw', {str(toy.raw)!r}, '--sources', {str(toy.sources)!r}]\n"
        "fetch.main()\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert len(toy.web.requests) == 1
    toy.fetch()
    assert len(toy.web.requests) == 1
    assert files_in(toy.folder) == WHOLE


def test_killed_before_the_record_the_next_run_makes_it(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(dvc_record, "write_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        toy.fetch()
    assert toy.folder.exists()
    toy.fetch()
    assert toy.record["outs"]


def test_a_folder_that_is_no_longer_as_recorded_is_reported_and_left_alone(toy: Toy) -> None:
    toy.fetch()
    (toy.folder / "dev.json").write_text("[]")
    with pytest.raises(UserError, match=r"does not match .*toy\.dvc"):
        toy.fetch()
    assert (toy.folder / "dev.json").read_text() == "[]"


@pytest.mark.parametrize("half", [False, True])
def test_a_folder_without_a_record_is_reported_and_left_alone(toy: Toy, half: bool) -> None:
    if half:  # of a download is there, too
        toy.web.cuts = [300_000, 0, 0]
        toy.refused()
    toy.folder.mkdir(parents=True)
    (toy.folder / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="without a record"):
        toy.fetch()
    assert files_in(toy.folder) == {"mine.txt": b"mine"}


def test_a_record_of_other_downloads_is_reported(toy: Toy) -> None:
    toy.fetch()
    toy.file["url"] += "?version=2"
    with pytest.raises(UserError, match="other downloads"):
        toy.fetch()


def test_missing_files_and_wrong_counts_are_all_reported(toy: Toy) -> None:
    toy.source["required"] += ["tables.json"]
    toy.source["questions"] = {"dev.json": 1034, "train.json": 7000}
    sentences = toy.refused()
    wanted = ["no file is tables.json", "dev.json has 2 entries, not 1034", "train.json is missing"]
    assert len(sentences) == len(wanted)
    assert all(part in sentence for part, sentence in zip(wanted, sentences, strict=True))


@pytest.mark.parametrize(
    ("text", "reason"), [(b"[{", "is not JSON"), (b"{}", "holds no list"), (b"\xff", "is not JSON")]
)
def test_a_question_file_that_cannot_be_counted_is_reported(toy: Toy, text: bytes, reason: str) -> None:
    toy.serve(zipped({**GOOD, "toy_1/dev.json": text}))
    (sentence,) = toy.refused()
    assert f"dev.json {reason}" in sentence


def test_a_single_file_is_taken_as_it_is_where_it_belongs(toy: Toy) -> None:
    toy.web.files["x"] = b"[1, 2]"
    toy.file.update(name="toy-dev.json", url=f"{toy.web.address}/x", sha256=None, unpack=None, into="in/dev.json")
    toy.source |= {"required": [], "questions": {"in/dev.json": 2}}
    toy.fetch()
    assert files_in(toy.folder) == {"in/dev.json": b"[1, 2]"}


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_the_download_is_reported_before_it(toy: Toy) -> None:
    toy.patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, len(ARCHIVE) - 1))
    (sentence,) = toy.refused()
    assert f"is full ({len(ARCHIVE):,} bytes are needed, {len(ARCHIVE) - 1:,} are free); make room" in sentence


def test_a_disk_without_room_for_what_is_in_the_archive_is_reported_and_the_archive_kept(toy: Toy) -> None:
    toy.serve(zipped({**GOOD, "toy_1/zeros": bytes(50_000_000)}))
    toy.patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10_000_000))
    (sentence,) = toy.refused()
    assert "is full" in sentence
    assert list(files_in(toy.raw / ".downloads")) == ["toy/toy.zip"]


def test_a_disk_that_fills_up_is_reported(toy: Toy) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    toy.patch.setattr(shutil, "copyfileobj", full)
    (sentence,) = toy.refused()
    assert "is full; make room" in sentence


def test_every_unknown_source_is_reported_with_the_known_ones_before_any_work(toy: Toy) -> None:
    assert toy.refused("toy", "spyder", "brid") == [
        f"source {name!r} is not known; the sources are: toy" for name in ("spyder", "brid")
    ]
    assert toy.web.requests == []


def test_two_sources_that_fail_are_both_reported_and_a_third_is_fetched(toy: Toy) -> None:
    none = {**toy.source, "files": [{**toy.file, "name": "n.zip", "url": f"{toy.web.address}/none"}]}
    wrong = {**toy.source, "files": [{**toy.file, "name": "w.zip", "sha256": "1" * 64}]}
    with pytest.raises(UserError) as caught:
        toy.fetch("none", "toy", "wrong", none=none, wrong=wrong)
    first, second = caught.value.sentences
    assert first.startswith("none: ") and second.startswith("wrong: ")
    assert files_in(toy.folder) == WHOLE


def test_a_raw_folder_outside_a_dvc_repository_is_reported(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> None:
    toy.raw = tmp_path_factory.mktemp("elsewhere")
    (sentence,) = toy.refused()
    assert "lies in no DVC repository" in sentence


@pytest.fixture
def command(toy: Toy) -> Iterator[Callable[[], subprocess.CompletedProcess[str]]]:
    """Fetches `toy`, which is a Hub dataset, in a process that takes the test Hub for the Hub."""
    with running_hub() as hub:
        dataset = hub.dataset("someone/toy-set")
        revision = dataset.commit({"data/dev.json": b"[1, 2]", "data/more.json": b"[]", "README.md": b"#"})
        dataset.commit({"data/dev.json": b"[1, 2, 3]"})
        toy.source |= {"files": [], "required": []}
        toy.source["hub"] = [{
            "repo": "someone/toy-set", "revision": revision, "patterns": ["data/*"], "root": "data", "into": ".",
            "sha256": {"data/dev.json": hash_of(b"[1, 2]")},
        }]  # fmt: skip
        toy.sources.write_text(json.dumps({"toy": toy.source}))
        argv = [sys.executable, "-m", "stages.fetch", "toy", "--raw", str(toy.raw), "--sources", str(toy.sources)]

        def run() -> subprocess.CompletedProcess[str]:
            variables = environment(hub, toy.root / "home")
            return subprocess.run(argv, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)

        yield run


Command = Callable[[], subprocess.CompletedProcess[str]]


def test_a_source_is_fetched_from_the_hub_at_its_revision(toy: Toy, command: Command) -> None:
    process = command()
    assert process.returncode == 0, process.stderr
    assert files_in(toy.folder) == {"dev.json": b"[1, 2]", "more.json": b"[]"}
    revision = toy.source["hub"][0]["revision"]
    named = {"hub": "someone/toy-set", "revision": revision}
    assert toy.record["meta"]["files"] == [
        {**named, "path": "data/dev.json", "sha256": hash_of(b"[1, 2]"), "size": 6},
        {**named, "path": "data/more.json", "sha256": hash_of(b"[]"), "size": 2},
    ]
    assert "nothing to do" in command().stdout


def test_a_hub_that_does_not_have_the_commit_is_reported_and_files_put_there_by_hand_are_used(
    toy: Toy, command: Command
) -> None:
    toy.source["hub"][0]["revision"] = "0" * 40
    toy.sources.write_text(json.dumps({"toy": toy.source}))
    process = command()
    assert process.returncode == 2
    (sentence,) = process.stderr.splitlines()
    place = f"into the folder {toy.raw}/toy-set, under the same path"
    assert f"/datasets/someone/toy-set/tree/{'0' * 40} {place}" in sentence
    (toy.raw / "toy-set" / "data").mkdir(parents=True)
    (toy.raw / "toy-set" / "data" / "dev.json").write_bytes(b"[1, 2]")
    assert command().returncode == 0
    assert files_in(toy.folder) == {"dev.json": b"[1, 2]"}
