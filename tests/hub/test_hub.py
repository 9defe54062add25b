"""The test Hub takes what the real client pushes to it, gives it back by revision, and refuses what the Hub refuses."""

import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import polars as pl
import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from tests.hub import OWNER, TOKEN, Fault, Files, Hub, Repository, hub_of

NAME = f"{OWNER}/questions"
CARD = b"---\nlicense: mit\n---\n# Questions\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_of(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture
def dataset(hub: Hub) -> Repository:
    """A private dataset, made by the client."""
    HfApi().create_repo(NAME, repo_type="dataset", private=True)
    return hub.dataset(NAME)


def parquet(*questions: str) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"question": list(questions)}).write_parquet(buffer)
    return buffer.getvalue()


def push(*changes: Add, api: HfApi | None = None, parent: str | None = None) -> str:
    api = api or HfApi()
    return api.create_commit(NAME, changes, commit_message="A change", repo_type="dataset", parent_commit=parent).oid


def downloaded(revision: str) -> Files:
    folder = Path(snapshot_download(NAME, repo_type="dataset", revision=revision))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as told:
        call()
    return told.value.response.status_code


# ---- what it keeps ----


def test_a_tag_keeps_its_files_through_further_commits(dataset: Repository) -> None:
    first = push(Add("README.md", CARD), Add("data/train.parquet", parquet("first")))
    HfApi().create_tag(NAME, tag="v1", repo_type="dataset")
    push(Add("data/train.parquet", parquet("second")), parent=first)
    HfApi().create_tag(NAME, tag="v2", repo_type="dataset")
    for tag, question in (("v1", "first"), ("v2", "second")):
        files = downloaded(tag)
        assert (files["README.md"], files["data/train.parquet"]) == (CARD, parquet(question))
    assert HfApi().dataset_info(NAME, revision="v1").sha == first
    assert {tag.name for tag in HfApi().list_repo_refs(NAME, repo_type="dataset").tags} == {"v1", "v2"}


def test_equal_files_on_equal_parents_give_equal_commits(hub: Hub) -> None:
    dataset = hub.dataset(NAME)
    first = dataset.commit({"a": b"1"}, "one")
    assert dataset.commit({"a": b"1"}, "two") == first
    assert dataset.commit({"a": b"1"}, "one") != first


def test_files_go_to_lfs_by_attributes_or_by_their_bytes(dataset: Repository) -> None:
    push(*(Add(path, data) for path, data in {"a.txt": b"a", "b.txt": b"\0b", "c.zst": b"c", "d.bin": b""}.items()))
    files = [entry for entry in HfApi().list_repo_tree(NAME, repo_type="dataset") if isinstance(entry, RepoFile)]
    assert {entry.path: entry.size for entry in files if entry.lfs} == {"b.txt": 2, "c.zst": 1}


def test_an_object_of_lfs_is_uploaded_once(hub: Hub, dataset: Repository) -> None:
    push(Add("a.parquet", parquet("first")))
    push(Add("b.parquet", parquet("first")))
    assert [method for method, _ in hub.asked].count("PUT") == 1
    assert dataset.files()["b.parquet"] == parquet("first")


def test_large_files_come_from_another_address_that_never_gets_the_token(hub: Hub, dataset: Repository) -> None:
    push(Add("data/train.parquet", parquet("first")))
    downloaded("main")
    stored = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert [(request.method, request.token) for request in stored] == [("PUT", None), ("GET", None)]
    assert all(TOKEN not in request.path + request.query for request in hub.requests)
    assert TOKEN not in repr(hub)


def test_an_upload_of_other_bytes_is_not_stored(hub: Hub, dataset: Repository) -> None:
    url = f"{hub.storage}/storage/datasets/{NAME}/{'0' * 64}"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(url, b"other", method="PUT"))
    assert not dataset.objects


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"), ("bytes=-2", 206, b"89"), ("bytes=10-", 416, b"")],
)
def test_a_part_of_a_file_is_answered(hub: Hub, asked: str, status: int, part: bytes) -> None:
    hub.dataset(NAME).commit({"a.txt": b"0123456789"})
    answer = httpx2.get(f"{hub.address}/datasets/{NAME}/resolve/main/a.txt", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, part)
    assert answer.headers["Content-Range"].endswith("/10")


def test_a_download_that_is_cut_goes_on_where_it_was(
    hub: Hub, dataset: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what is less is not kept
    data = os.urandom(300_000)
    push(Add("a.bin", data))
    hub.faults.append(Fault("GET", "/storage/", cut=100_000))
    assert downloaded("main")["a.bin"] == data
    ranges = [request.headers["Range"] for request in hub.requests if request.path.startswith("/storage/")]
    assert ranges == [None, None, "bytes=100000-"]


# ---- what it refuses ----


def test_a_commit_on_a_stale_parent_is_refused(dataset: Repository) -> None:
    first = push(Add("a.txt", b"1"))
    second = push(Add("a.txt", b"2"), parent=first)
    assert status_of(lambda: push(Add("a.txt", b"3"), parent=first)) == 412
    assert dataset.branches["main"] == second


def test_a_repository_and_a_tag_are_made_once(dataset: Repository) -> None:
    api = HfApi()
    assert status_of(lambda: api.create_repo(NAME, repo_type="dataset")) == 409
    assert api.create_repo(NAME, repo_type="dataset", exist_ok=True).repo_id == NAME
    api.create_tag(NAME, tag="v1", repo_type="dataset")
    assert status_of(lambda: api.create_tag(NAME, tag="v1", repo_type="dataset")) == 409


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (False, 401, "Invalid username or password"),
        ("hf_unknown", 401, "Invalid credentials in Authorization header"),
        ("hf_reader", 403, "you must use a write token"),
        ("hf_stranger", 403, "pass `create_pr=1` as a query parameter to create a Pull Request"),
        ("hf_elsewhere", 403, "pass `create_pr=1`"),
    ],
)
def test_nobody_writes_who_may_not(hub: Hub, dataset: Repository, token: str | bool, status: int, words: str) -> None:
    dataset.private = False
    hub.user(OWNER, "hf_reader", role="read")
    hub.user("stranger", "hf_stranger")
    hub.user(OWNER, "hf_elsewhere", role="fineGrained")
    api = HfApi(token=token)
    with pytest.raises(HfHubHTTPError, match=words) as told:
        push(Add("a.txt", b"a"), api=api)
    assert told.value.response.status_code == status
    assert status_of(lambda: api.create_tag(NAME, tag="v1", repo_type="dataset")) == status
    assert status_of(lambda: api.create_repo(NAME, repo_type="dataset")) == status
    assert not dataset.tags and len(dataset.commits) == 1


def test_a_private_repository_is_there_for_its_own_only(hub: Hub, dataset: Repository) -> None:
    hub.user("stranger", "hf_stranger")
    for token, status in ((False, 401), ("hf_stranger", 404)):
        with pytest.raises(RepositoryNotFoundError) as told:
            HfApi(token=token).dataset_info(NAME)
        assert told.value.response.status_code == status
    assert HfApi().dataset_info(NAME).private


def test_a_revision_that_is_not_there_is_told(dataset: Repository) -> None:
    with pytest.raises(RevisionNotFoundError):
        HfApi().dataset_info(NAME, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        HfApi().create_tag(NAME, tag="v1", revision="0" * 40, repo_type="dataset")
