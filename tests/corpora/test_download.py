"""Downloads over HTTP: cut, refused, without ranges, of another version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.corpora import download
from tests.desk import ARCHIVE, GOOD, NOISE, WHOLE, Desk, at_desk, files_in, hash_of, zipped


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with at_desk(tmp_path, monkeypatch) as desk:
        yield desk


def test_a_cut_connection_goes_on_with_a_range_and_ends_with_the_right_bytes(desk: Desk) -> None:
    desk.web.cuts = [300_000, 200_000]
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    starts = [int(asked[6:-1]) if asked else 0 for _, asked in desk.web.asked]
    assert starts[0] == 0 < starts[1] < starts[2] <= 500_000
    assert len(starts) == 3


def test_without_a_terminal_progress_is_told_in_lines(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.patch.setattr(download, "LINE_SECONDS", 0.0)
    desk.fetch()
    told = capsys.readouterr()
    assert "toy.zip: 0 of 1 MB\n" in told.out
    assert "\r" not in told.out + told.err


def test_a_server_without_ranges_starts_anew(desk: Desk) -> None:
    desk.web.cuts, desk.web.ranges = [300_000], False
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    assert [asked is not None for _, asked in desk.web.asked] == [False, True]


def test_a_server_that_names_no_version_is_asked_for_the_whole_file(desk: Desk) -> None:
    desk.web.cuts, desk.web.etags = [300_000], False
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    assert [asked for _, asked in desk.web.asked] == [None, None]


def test_another_version_of_the_file_is_not_put_behind_the_first_part_of_the_old_one(desk: Desk) -> None:
    desk.web.cuts = [300_000, 0, 0]
    desk.refused()
    other = zipped({**GOOD, "toy_1/database/a/a.sqlite": NOISE[::-1]})
    desk.serve(other)
    desk.fetch()
    assert files_in(desk.folder)["database/a/a.sqlite"] == NOISE[::-1]


def test_a_connection_that_is_always_cut_ends_and_the_next_run_goes_on(desk: Desk) -> None:
    desk.web.cuts = [300_000, 0, 0]
    (sentence,) = desk.refused()
    assert "the connection was cut" in sentence
    desk.fetch()
    assert files_in(desk.folder) == WHOLE
    assert desk.web.asked[-1][1] is not None


def test_killed_after_the_last_byte_the_next_run_takes_what_came(desk: Desk) -> None:
    own = desk.raw / ".downloads" / "toy"
    own.mkdir(parents=True)
    (own / "toy.zip.partial").write_bytes(ARCHIVE)
    (own / "toy.zip.validator").write_text(f'"{hash_of(ARCHIVE)}"')
    desk.fetch()
    assert desk.web.asked == [("toy.zip", f"bytes={len(ARCHIVE)}-")]
    assert files_in(desk.folder) == WHOLE


def test_a_server_that_fails_is_asked_again(desk: Desk) -> None:
    desk.web.statuses = [500, 503]
    desk.fetch()
    assert len(desk.web.asked) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_refuses_is_told_in_one_sentence_with_address_and_place(desk: Desk, status: int) -> None:
    desk.web.statuses = [status] * 9
    (sentence,) = desk.refused()
    assert len(desk.web.asked) == 1
    for part in (str(status), f"{desk.web.address}/toy.zip as {desk.raw}/toy.zip", "run the same command again"):
        assert part in sentence


def test_a_web_page_in_place_of_the_file_is_told(desk: Desk) -> None:
    desk.web.kind = "text/html; charset=utf-8"
    (sentence,) = desk.refused()
    assert "answered with a web page" in sentence
