import hashlib
import sys
from pathlib import Path

import pytest

from stages.core.errors import UserError, run_stage
from stages.core.files import (
    fingerprint,
    move_folder,
    read_json,
    sha256_file,
    sha256_folder,
    work_folder,
    write_json,
    write_text,
)


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes" * 100_000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"bytes" * 100_000).hexdigest()


def test_the_hash_of_a_folder_depends_on_names_and_bytes_and_not_on_where_it_lies(tmp_path: Path) -> None:
    for folder, name, content in (("a", "x/one", "1"), ("b", "x/one", "1"), ("c", "x/two", "1"), ("d", "x/one", "2")):
        write_text(tmp_path / folder / name, content)
    a, b, c, d = (sha256_folder(tmp_path / folder) for folder in "abcd")
    assert a == b and len({a, c, d}) == 3


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "made" / "file.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "made" / "file.json", {"a": float("nan")})
    assert read_json(tmp_path / "made" / "file.json") == {"a": 1}
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["file.json"]


def test_json_keeps_the_order_of_its_keys_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"b": "é", "a": 1})
    assert (tmp_path / "file.json").read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": 1\n}\n'


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len({fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint(["a", "bc"])}) == 3


def test_work_of_the_same_version_is_kept_and_of_another_is_deleted(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "out.parquet", "one")
    (folder / "part").touch()
    assert (work_folder(tmp_path / "out.parquet", "one") / "part").exists()
    assert not (work_folder(tmp_path / "out.parquet", "other") / "part").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_moved_folder_replaces_what_stood_there(tmp_path: Path) -> None:
    write_text(tmp_path / "made" / "new", "")
    write_text(tmp_path / "models" / "out" / "old", "")
    move_folder(tmp_path / "made", tmp_path / "models" / "out")
    assert [path.name for path in (tmp_path / "models" / "out").iterdir()] == ["new"]
    assert not (tmp_path / "made").exists()


def test_mistakes_end_a_stage_with_status_2_and_a_sentence_each(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("one is wrong", "two is wrong")

    with pytest.raises(SystemExit) as ended:
        run_stage(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: one is wrong\nerror: two is wrong\n"


def test_a_stage_that_ends_with_a_status_of_its_own_keeps_it() -> None:
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda: sys.exit(1))
    assert ended.value.code == 1
