"""Files that are written whole or not at all, and the work folder that a killed stage resumes from."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.errors import UserError, is_utf8, name_in_errors

HALF_PAIR = "half a surrogate pair is no text"
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """Hex sha256 over the relative paths and the bytes of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint([(path.relative_to(folder).as_posix(), sha256_file(path)) for path in files])


@cache
def sha256_code(*rooms: str) -> str:
    """Hex sha256 of the modules in these folders of `stages/`: what is cached under it outlives no change of them."""
    stages = Path(__file__).parents[1]
    files = sorted(path for room in rooms for path in (stages / room).glob("*.py"))
    return fingerprint([(path.relative_to(stages).as_posix(), sha256_file(path)) for path in files])


def partial_of(path: Path) -> Path:
    """The name under which a file is written that is not whole yet; not that of `work_folder`."""
    return path.with_name(path.name + ".new.partial")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to, and moves the file into place at the end.

    Where something fails, what stood at `path` stays and the temporary file is deleted. Raises OSError, naming `path`
    where the system's own error names nothing.
    """
    temporary = partial_of(path)
    with name_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Writes `value` as indented JSON with a final newline, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises UserError where it is missing or is no JSON object."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run `dvc repro` to make it") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); run `dvc repro` to make it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; run `dvc repro` to make it again")
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, saying why, where it is no JSON, cannot be held (as for
    `decode_json`), or has a text that UTF-8 cannot hold."""
    value = decode_json(text)
    if not is_text(value, text):
        raise ValueError(HALF_PAIR)
    return value


def decode_json(text: str, **hooks: Any) -> Any:
    """`json.loads` with its hooks. Raises ValueError also where values are nested too deeply for Python, and says of
    too long a number what a user understands."""
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        digits = "a number in it has too many digits" if "int_max_str_digits" in str(error) else error
        raise ValueError(digits) from None


def is_text(value: object, source: str) -> bool:
    """Whether UTF-8 can hold every text in `value`, which was read from the JSON text `source`."""
    return not _HALF_PAIR.search(source) or is_utf8(json.dumps(value, ensure_ascii=False))


def fingerprint(*parts: object) -> str:
    """Hex sha256 of a JSON rendering of `parts`: equal inputs and params give the same text on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def work_folder(out: Path, key: str) -> Path:
    """`<out>.partial/`, where the stage that makes `out` keeps finished work until `out` is whole.

    DVC removes a stage's outs before it runs, not this folder beside them. Work of other inputs or params (another
    `key`) is deleted: resuming never mixes two versions.
    """
    folder = out.with_name(out.name + ".partial")
    mark = folder / "key"
    if not (mark.exists() and mark.read_text() == key):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(mark, key)
    return folder


def move_folder(made: Path, out: Path) -> None:
    """Puts a finished folder in the place of `out`, replacing what stood there."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.replace(out)
