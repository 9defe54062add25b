"""Downloads over HTTP: cut, refused, without ranges, of another version."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.core.progress import Bar, progress
from stages.fetching import download
from tests.toy import ARCHIVE, GOOD, NOISE, WHOLE, Toy, files_in, hash_of, toy_repository, zipped


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    with toy_repository(tmp_path, monkeypatch) as toy:
        yield toy


def test_a_cut_connection_goes_on_with_a_range_and_ends_with_the_right_bytes(toy: Toy) -> None:
    toy.web.cuts = [300_000, 200_000]
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    starts = [int(header[6:-1]) if header else 0 for _, header in toy.web.requests]
    assert starts[0] == 0 < starts[1] < starts[2] <= 500_000
    assert len(starts) == 3


def test_the_progress_of_a_cut_download_goes_on_where_it_was(toy: Toy) -> None:
    bars: list[Bar] = []

    @contextmanager
    def keeping(label: str, total: int | None, unit: str, initial: int) -> Iterator[Bar]:
        with progress(label, total, unit, initial) as bar:
            bars.append(bar)
            yield bar

    toy.patch.setattr(download, "progress", keeping)
    toy.web.cuts = [300_000]
    toy.fetch()
    assert [(bar.desc, bar.total) for bar in bars] == [("toy.zip", len(ARCHIVE))] * 2
    assert bars[0].initial == 0 < bars[0].n == bars[1].initial < bars[1].n == len(ARCHIVE)


def test_a_server_without_ranges_starts_anew(toy: Toy) -> None:
    toy.web.cuts, toy.web.ranges = [300_000], False
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    assert [header is not None for _, header in toy.web.requests] == [False, True]


def test_a_server_that_names_no_version_is_asked_for_the_whole_file(toy: Toy) -> None:
    toy.web.cuts, toy.web.etags = [300_000], False
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    assert [header for _, header in toy.web.requests] == [None, None]


def test_another_version_of_the_file_is_not_put_behind_the_first_part_of_the_old_one(toy: Toy) -> None:
    toy.web.cuts = [300_000, 0, 0]
    toy.refused()
    other = zipped({**GOOD, "toy_1/database/a/a.sqlite": NOISE[::-1]})
    toy.serve(other)
    toy.fetch()
    assert files_in(toy.folder)["database/a/a.sqlite"] == NOISE[::-1]


def test_a_connection_that_is_always_cut_ends_and_the_next_run_goes_on(toy: Toy) -> None:
    toy.web.cuts = [300_000, 0, 0]
    (sentence,) = toy.refused()
    assert "the connection was cut" in sentence
    toy.fetch()
    assert files_in(toy.folder) == WHOLE
    assert toy.web.requests[-1][1] is not None


def test_killed_after_the_last_byte_the_next_run_takes_what_came(toy: Toy) -> None:
    downloads = toy.raw / ".downloads" / "toy"
    downloads.mkdir(parents=True)
    (downloads / "toy.zip.partial").write_bytes(ARCHIVE)
    (downloads / "toy.zip.validator").write_text(f'"{hash_of(ARCHIVE)}"')
    toy.fetch()
    assert toy.web.requests == [("toy.zip", f"bytes={len(ARCHIVE)}-")]
    assert files_in(toy.folder) == WHOLE


def test_a_server_that_fails_is_asked_again(toy: Toy) -> None:
    toy.web.statuses = [500, 503]
    toy.fetch()
    assert len(toy.web.requests) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_refuses_is_reported_in_one_sentence_with_address_and_place(toy: Toy, status: int) -> None:
    toy.web.statuses = [status] * 9
    (sentence,) = toy.refused()
    assert len(toy.web.requests) == 1
    for part in (str(status), f"{toy.web.address}/toy.zip as {toy.raw}/toy.zip", "run the same command again"):
        assert part in sentence


def test_a_web_page_in_place_of_the_file_is_reported(toy: Toy) -> None:
    toy.web.kind = "text/html; charset=utf-8"
    (sentence,) = toy.refused()
    assert "answered with a web page" in sentence
