"""The data file of the sources: read strictly, everything pinned, and each source passes through what is told of it."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import fetch
from stages.fetching.sources import read_sources
from tests import ROOT
from tests.real import REAL
from tests.toy import Toy, toy_repository, zipped

SOURCES = ROOT / "stages/fetching/sources.yaml"
VARIANTS = REAL / "variants"
NAMES = ["spider", "bird", "bird-mini", "spider-syn", "spider-dk", "spider-realistic"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    with toy_repository(tmp_path, monkeypatch) as toy:
        yield toy


def test_every_mistake_of_the_data_file_is_reported(toy: Toy) -> None:
    toy.file.update(sha256="abc", into="../out")
    first, second = toy.refused()
    assert "`toy.files.0.sha256` is 'abc'" in first
    assert "`toy.files.0.into` is '../out'" in second


def test_a_pattern_outside_the_root_is_reported(toy: Toy) -> None:
    part = {"repo": "a/b", "revision": "0" * 40, "patterns": ["x.json"], "sha256": {}, "root": "data", "into": "."}
    toy.source["hub"] = [part]
    (sentence,) = toy.refused()
    assert "every pattern must begin with `data/`, the root" in sentence


def test_the_list_shows_licence_size_and_origin_of_every_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fetch", "--list", "--sources", str(SOURCES)])
    fetch.main()
    output = capsys.readouterr().out
    for name, source in read_sources(SOURCES, []).items():
        assert f"{name}: {source.title}, {source.licence}, " in output
        assert all(file.url in output for file in source.files)


def test_the_sources_are_pinned_have_names_of_their_own_and_say_where_every_file_goes() -> None:
    sources = read_sources(SOURCES, [])
    assert list(sources) == NAMES
    names = [part.name for source in sources.values() for part in source.downloads]
    assert len(names) == len(set(names)) and not set(names) & set(sources)
    for source in sources.values():
        assert source.citation.startswith("@") and source.questions
        for file in source.files:
            assert file.sha256 or "/5205322/" in file.url or any(len(part) == 40 for part in file.url.split("/"))


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_made_to_the_description_of_a_source_is_fetched(toy: Toy, name: str) -> None:
    """The real data file against archives that are made to its description."""
    source = YAML(typ="safe", pure=True).load(SOURCES.read_text())[name]
    toy.raw.mkdir()
    made_to(source, toy.raw)
    toy.fetch(name, **{name: source})
    for file, count in source["questions"].items():
        assert len(json.loads((toy.raw / name / file).read_text())) == count


def made_to(source: dict[str, Any], raw: Path) -> None:
    """Puts downloads by hand that hold what the source must have; their hashes are not those of the real ones."""
    wanted = {pattern.replace("*", "some"): b"x" for pattern in source["required"]}
    wanted |= {path: json.dumps([{}] * count).encode() for path, count in source["questions"].items()}
    for files in source["hub"]:
        (path,) = files["patterns"]
        target = raw / files["repo"].split("/")[1] / path
        target.parent.mkdir(parents=True)
        target.write_bytes(wanted.pop(Path(path).name))
        files["sha256"] = {}
    for file in sorted(source["files"], key=lambda file: file["into"] == "."):
        file["sha256"] = None
        start = "" if file["into"] == "." else f"{file['into']}/"
        mine = {path[len(start) :]: wanted.pop(path) for path in list(wanted) if path.startswith(start)}
        data = shipped(file["unpack"], mine) if file["unpack"] else wanted.get(file["into"], b"x")
        (raw / file["name"]).write_bytes(data)


def shipped(described: dict[str, Any], files: dict[str, bytes]) -> bytes:
    """An archive of these files, those of a nested zip in that."""
    members = {}
    for nested in described["nested"]:
        start = nested.removesuffix(".zip") + "/"
        members[nested] = zipped({path: files.pop(path) for path in list(files) if path.startswith(start)})
    return zipped({f"{described['root']}/{path}": data for path, data in (members | files).items()})


@pytest.mark.realdata
def test_the_real_variants_match_their_description(toy: Toy) -> None:
    sources = YAML(typ="safe", pure=True).load(SOURCES.read_text())
    toy.raw.mkdir()
    for path in (*VARIANTS.glob("spider-syn/*.json"), *VARIANTS.glob("spider-realistic/*.json")):
        name = f"spider-syn-{path.name}" if path.parent.name == "spider-syn" else path.name
        shutil.copy(path, toy.raw / name)
    names = ["spider-syn", "spider-realistic"]
    toy.fetch(*names, **{name: sources[name] for name in names})
    assert len(json.loads((toy.raw / "spider-syn/train_spider.json").read_text())) == 7000
    assert len(json.loads((toy.raw / "spider-realistic/spider-realistic.json").read_text())) == 508
