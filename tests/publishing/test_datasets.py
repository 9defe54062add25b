"""The test Hub speaks the Hub's protocol: the real clients download from it by revision."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.hub import Hub, running_hub

NAME = "someone/questions"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def environment(hub: Hub, home: Path, token: str = "") -> dict[str, str]:
    """Of a process that takes the test Hub for the Hub, and has this token and no other."""
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return {**os.environ, **own, "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}


def run(code: str, hub: Hub, home: Path, token: str = "") -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(hub, home, token), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parquet(*questions: str) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"question": list(questions)}).write_parquet(buffer)
    return buffer.getvalue()


def test_a_snapshot_has_the_files_of_its_commit_under_the_asked_patterns(hub: Hub, tmp_path: Path) -> None:
    dataset = hub.dataset(NAME)
    old = dataset.commit({"data/dev.json": b"[1]", "data/a b.txt": b"x", "README.md": b"# old"})
    dataset.commit({"data/dev.json": b"[1, 2]"})
    code = f"""
from huggingface_hub import snapshot_download
for revision in ("{old}", "main"):
    snapshot_download("{NAME}", repo_type="dataset", revision=revision, allow_patterns=["data/*"],
                      local_dir="{tmp_path}/" + revision)
"""
    run(code, hub, tmp_path / "home")
    assert (tmp_path / old / "data/dev.json").read_bytes() == b"[1]"
    assert (tmp_path / old / "data/a b.txt").read_bytes() == b"x"
    assert not (tmp_path / old / "README.md").exists()
    assert (tmp_path / "main" / "data/dev.json").read_bytes() == b"[1, 2]"


def test_load_dataset_reads_a_parquet_file_by_commit_and_by_branch(hub: Hub, tmp_path: Path) -> None:
    dataset = hub.dataset(NAME)
    old = dataset.commit({"data/train.parquet": parquet("first")})
    dataset.commit({"data/train.parquet": parquet("first", "second")})
    code = f"""
import json
from datasets import load_dataset
print(json.dumps([load_dataset("{NAME}", split="train", revision=revision)["question"][:]
                  for revision in ("{old}", "main")]))
"""
    assert json.loads(run(code, hub, tmp_path)) == [["first"], ["first", "second"]]


def test_unknown_datasets_and_commits_are_told_apart(hub: Hub, tmp_path: Path) -> None:
    hub.dataset(NAME).commit({"a": b""})
    code = f"""
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
for name, revision in (("{NAME}", "0" * 40), ("no/one", "main")):
    try:
        HfApi().dataset_info(name, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        print(type(error).__name__)
"""
    assert run(code, hub, tmp_path).split() == ["RevisionNotFoundError", "RepositoryNotFoundError"]


def test_equal_files_on_equal_parents_give_equal_commits(hub: Hub) -> None:
    dataset = hub.dataset(NAME)
    first = dataset.commit({"a": b"1"}, "one")
    assert dataset.commit({"a": b"1"}, "two") == first
    assert dataset.commit({"a": b"1"}, "one") != first
