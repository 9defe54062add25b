"""What the tests of fetching share: a repository with a raw folder, a data file of one toy source, and the command."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages import fetch
from stages.core.errors import UserError
from stages.fetching import download
from tests.web import Web, serving

NOISE = b"".join(sha256(b"%d" % number).digest() for number in range(20_000))
"""640,000 bytes that do not compress: a zip of them is cut in their middle."""


def zipped(members: dict[Any, bytes]) -> bytes:
    """A zip; a member is named by its path or its ZipInfo."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def hash_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


GOOD = {"toy_1/dev.json": b'[{"question": "?"}, {}]', "toy_1/database/a/a.sqlite": NOISE, "notes.txt": b"outside"}
MAC = {"__MACOSX/toy_1/._dev.json": b"x", "toy_1/.DS_Store": b"x", "toy_1/database/.DS_Store": b"x"}
ARCHIVE = zipped({**GOOD, **MAC})
WHOLE = {"dev.json": GOOD["toy_1/dev.json"], "database/a/a.sqlite": NOISE}
"""What a fetch makes of ARCHIVE."""


class Toy:
    """A repository with a raw folder, a data file of sources, and the command."""

    def __init__(self, root: Path, web: Web, patch: pytest.MonkeyPatch) -> None:
        self.root, self.web, self.patch = root, web, patch
        self.raw, self.sources = root / "raw", root / "sources.yaml"
        self.source: dict[str, Any] = {
            "title": "Toy", "homepage": "https://toy.example", "licence": "CC0-1.0",
            "licence_url": "https://toy.example/licence", "redistribution": True, "citation": "@misc{toy,\n}\n",
            "files": [{
                "name": "toy.zip", "url": f"{web.address}/toy.zip", "sha256": hash_of(ARCHIVE), "size": len(ARCHIVE),
                "unpack": {"root": "toy_1", "nested": []}, "into": ".",
            }],
            "hub": [], "required": ["database/*/*.sqlite"], "questions": {"dev.json": 2},
        }  # fmt: skip

    @property
    def file(self) -> dict[str, Any]:
        """What the data file describes the archive."""
        file: dict[str, Any] = self.source["files"][0]
        return file

    @property
    def folder(self) -> Path:
        return self.raw / "toy"

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = YAML(typ="safe", pure=True).load((self.raw / "toy.dvc").read_text())
        return record

    def serve(self, archive: bytes, known: bool = True) -> None:
        """Has the server give this archive, as the source that the data file describes."""
        self.web.files["toy.zip"] = archive
        self.file["sha256"] = hash_of(archive) if known else None

    def fetch(self, *names: str, **others: dict[str, Any]) -> None:
        self.sources.write_text(json.dumps({"toy": self.source, **others}))  # which is YAML, too
        argv = ["fetch", *(names or ["toy"]), "--raw", str(self.raw), "--sources", str(self.sources)]
        self.patch.setattr(sys, "argv", argv)
        fetch.main()

    def refused(self, *names: str, **others: dict[str, Any]) -> list[str]:
        """The sentences that the command ends with; nothing is in place then."""
        with pytest.raises(UserError) as caught:
            self.fetch(*names, **others)
        assert not self.folder.exists()
        assert not (self.raw / "toy.dvc").exists()
        assert not (self.raw / "toy.partial").exists()
        return list(caught.value.sentences)


@contextmanager
def toy_repository(root: Path, patch: pytest.MonkeyPatch) -> Iterator[Toy]:
    """A toy in an empty folder, with a server of ARCHIVE; failed downloads are tried again twice, without a pause."""
    patch.setattr(download, "PAUSES", [0.0, 0.0])
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
    Repo.init(str(root), no_scm=True).close()
    with serving({"toy.zip": ARCHIVE}) as web:
        yield Toy(root, web, patch)
