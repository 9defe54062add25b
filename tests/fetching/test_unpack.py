"""Unpacking: nested zips, and archives that are not whole or not to be trusted."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zipfile import ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.fetching import unpack
from tests.toy import ARCHIVE, GOOD, NOISE, Toy, files_in, toy_repository, zipped


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    with toy_repository(tmp_path, monkeypatch) as toy:
        yield toy


def test_nested_zips_are_unpacked_and_removed(toy: Toy) -> None:
    inner = zipped({"database/b/b.sqlite": b"b", "__MACOSX/x": b"", "database/b/._b.sqlite": b"", "Thumbs.db": b""})
    toy.serve(zipped({"toy_1/dev.json": b"[1, 2]", "toy_1/database.zip": inner}))
    toy.file["unpack"]["nested"] = ["database.zip"]
    toy.file["into"] = "dev"
    toy.source |= {"required": ["dev/database/*/*.sqlite"], "questions": {"dev/dev.json": 2}}
    toy.fetch()
    assert files_in(toy.folder) == {"dev/dev.json": b"[1, 2]", "dev/database/b/b.sqlite": b"b"}


def test_a_broken_nested_zip_is_reported(toy: Toy) -> None:
    toy.serve(zipped({"toy_1/dev.json": b"[1, 2]", "toy_1/database.zip": ARCHIVE[:-40]}))
    toy.file["unpack"]["nested"] = ["database.zip"]
    (sentence,) = toy.refused()
    assert "of database.zip in it: it is cut or damaged" in sentence


def link(name: str, mode: int) -> ZipInfo:
    member = ZipInfo(name)
    member.external_attr = mode << 16
    return member


def damaged() -> bytes:
    at = ARCHIVE.index(NOISE[1000:1040])
    return ARCHIVE[:at] + b"\0" + ARCHIVE[at + 1 :]


BAD: dict[str, tuple[bytes, str]] = {
    "truncated": (ARCHIVE[:-30_000], "it is cut or damaged"),
    "damaged in the middle": (damaged(), "it is cut or damaged"),
    "no zip": (b"<html>", "it is cut or damaged"),
    "empty": (zipped({}), "it holds no file in the folder 'toy_1'"),
    "another root": (zipped({"other/dev.json": b"[]"}), "it holds no file in the folder 'toy_1'"),
    "an empty name": (zipped({**GOOD, ZipInfo(""): b"x"}), "a file with the name ''"),
    "a name that is not UTF-8": (
        zipped({**GOOD, "toy_1/é": b"x"}).replace("é".encode(), b"\xc3\xff"), "cut or damaged",
    ),
    "a name that is too long": (zipped({**GOOD, f"toy_1/{'a' * 300}": b"x"}), "a longer name than this disk takes"),
    "a path that is too long": (zipped({**GOOD, f"toy_1/{'a/' * 3000}x": b"x"}), "a longer name than this disk takes"),
    "the folder as a file": (zipped({"toy_1": b"x", **GOOD}), "'toy_1', which is the folder itself, as a file"),
    "a path upwards": (zipped({**GOOD, "toy_1/../../evil": b"x"}), "'toy_1/../../evil', which would lie outside"),
    "an absolute path": (zipped({**GOOD, "/evil.txt": b"x"}), "'/evil.txt', which would lie outside"),
    "a path of Windows": (zipped({**GOOD, "toy_1\\..\\evil": b"x"}), "which would lie outside"),
    "a link": (zipped({**GOOD, link("toy_1/link", 0o120777): b"/etc"}), "'toy_1/link', which is a link or a device"),
    "a device": (zipped({**GOOD, link("toy_1/null", 0o020666): b""}), "'toy_1/null', which is a link or a device"),
    "a file as folder": (zipped({"toy_1/a": b"x", "toy_1/a/b": b"x"}), "'toy_1/a/b' twice"),
}


@pytest.mark.parametrize("archive", BAD)
def test_an_archive_that_is_not_whole_or_not_safe_is_refused_and_deleted(toy: Toy, archive: str) -> None:
    data, reason = BAD[archive]
    toy.serve(data)
    (sentence,) = toy.refused()
    assert "toy.zip cannot be unpacked: " in sentence
    assert reason in sentence
    assert "it was deleted; run the same command again" in sentence
    assert not files_in(toy.raw / ".downloads")
    assert not list(toy.root.rglob("evil*"))


def test_a_truncated_archive_put_there_by_hand_is_reported_and_kept(toy: Toy) -> None:
    toy.serve(ARCHIVE[:-30_000])
    toy.raw.mkdir()
    (toy.raw / "toy.zip").write_bytes(ARCHIVE[:-30_000])
    (sentence,) = toy.refused()
    assert "put the right file in its place" in sentence
    assert (toy.raw / "toy.zip").exists()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("a/.\\:", min_size=1, max_size=8))
def test_no_name_of_a_member_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "down" / "in"
    archive = tmp_path / "some.zip"
    archive.write_bytes(zipped({name: b"x"}))
    with suppress(unpack.BrokenArchive):
        unpack.unpack(archive, ".", folder)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= {archive, *folder.rglob("*")}
    shutil.rmtree(folder)


def test_a_disk_that_cannot_be_written_is_no_damage_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some.zip").write_bytes(zipped({"a": b"x"}))

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "copyfileobj", failing)
    with pytest.raises(OSError, match=r"Input/output error: '.*folder'"):
        unpack.unpack(tmp_path / "some.zip", ".", tmp_path / "folder")
