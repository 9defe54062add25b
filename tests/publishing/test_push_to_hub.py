"""The test Hub takes what the real clients push to it, refuses what the Hub refuses, and fails to order."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import CommitOperationCopy as Copy
from huggingface_hub import CommitOperationDelete as Delete
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.hub import hf_api

from tests.hub import OWNER, TOKEN, Fault, Files, Hub, Repository, hub_of, running_hub
from tests.publishing.test_datasets import parquet, run

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


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client meant to wait before it tried again."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def push(*changes: Add | Copy | Delete, api: HfApi | None = None, parent: str | None = None) -> str:
    api = api or HfApi()
    return api.create_commit(
        NAME, changes, commit_message="A change", repo_type="dataset", parent_commit=parent, num_threads=3
    ).oid


def puts(hub: Hub) -> int:
    return [method for method, _ in hub.asked].count("PUT")


def downloaded(revision: str) -> Files:
    folder = Path(snapshot_download(NAME, repo_type="dataset", revision=revision))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as told:
        call()
    return told.value.response.status_code


def test_a_tag_keeps_its_files_through_further_commits(dataset: Repository) -> None:
    first = push(Add("README.md", CARD), Add("data/train.parquet", parquet("first")))
    HfApi().create_tag(NAME, tag="v1", tag_message="The first", repo_type="dataset")
    push(Add("data/train.parquet", parquet("second")), parent=first)
    HfApi().create_tag(NAME, tag="v2", repo_type="dataset")
    for tag, question in (("v1", "first"), ("v2", "second")):
        files = downloaded(tag)
        assert (files["README.md"], files["data/train.parquet"]) == (CARD, parquet(question))
    assert HfApi().dataset_info(NAME, revision="v1").sha == first
    assert {tag.name for tag in HfApi().list_repo_refs(NAME, repo_type="dataset").tags} == {"v1", "v2"}


def test_large_files_come_from_another_address_that_never_gets_the_token(hub: Hub, dataset: Repository) -> None:
    push(Add("data/train.parquet", parquet("first")))
    downloaded("main")
    stored = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert [(request.method, request.token) for request in stored] == [("PUT", None), ("GET", None)]
    assert all(TOKEN not in request.path + request.query for request in hub.requests)
    assert TOKEN not in repr(hub)


def test_an_object_of_lfs_is_uploaded_once(hub: Hub, dataset: Repository) -> None:
    push(Add("a.parquet", parquet("first")))
    push(Add("b.parquet", parquet("first")))
    assert puts(hub) == 1
    assert dataset.files()["b.parquet"] == parquet("first")


def test_files_that_are_there_already_make_no_commit(dataset: Repository) -> None:
    changes = {"README.md": CARD, "a.parquet": parquet("first")}
    first, second = (push(*(Add(path, data) for path, data in changes.items())) for _ in range(2))
    assert first == second == dataset.branches["main"]


def test_files_go_to_lfs_by_attributes_or_by_their_bytes(dataset: Repository) -> None:
    push(*(Add(path, data) for path, data in {"a.txt": b"a", "b.txt": b"\0b", "c.zst": b"c", "d.bin": b""}.items()))
    files = [entry for entry in HfApi().list_repo_tree(NAME, repo_type="dataset") if isinstance(entry, RepoFile)]
    assert {entry.path: entry.size for entry in files if entry.lfs} == {"b.txt": 2, "c.zst": 1}


def test_files_uploaded_side_by_side_all_arrive(dataset: Repository) -> None:
    files = {f"{number}.bin": os.urandom(1000) for number in range(20)}
    push(*(Add(path, data) for path, data in files.items()))
    assert dataset.files().items() >= files.items()


def test_files_under_gitignore_are_left_out(dataset: Repository) -> None:
    push(Add(".gitignore", b"*.log\n"), Add("a.log", b"a"), Add("a.txt", b"a"))
    assert set(dataset.files()) == {".gitattributes", ".gitignore", "a.txt"}


def test_files_and_folders_are_copied_and_deleted(dataset: Repository) -> None:
    push(Add("a.txt", b"a"), Add("b.parquet", b"b"), Add("old/c.txt", b"c"), Add("old/d.txt", b"d"))
    push(Copy("a.txt", "e.txt"), Copy("b.parquet", "f.parquet"), Delete("a.txt"), Delete("old/"))
    assert set(dataset.files()) == {".gitattributes", "b.parquet", "e.txt", "f.parquet"}
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        push(Delete("a.txt"))


def test_tags_branches_and_repositories_are_deleted(hub: Hub, dataset: Repository) -> None:
    api = HfApi()
    api.create_tag(NAME, tag="v1", repo_type="dataset")
    api.create_branch(NAME, branch="new/one", repo_type="dataset")
    assert status_of(lambda: api.create_tag(NAME, tag="v1", repo_type="dataset")) == 409
    assert status_of(lambda: api.create_branch(NAME, branch="new/one", repo_type="dataset")) == 409
    api.delete_tag(NAME, tag="v1", repo_type="dataset")
    api.delete_branch(NAME, branch="new/one", repo_type="dataset")
    assert not dataset.tags and list(dataset.branches) == ["main"]
    assert status_of(lambda: api.delete_tag(NAME, tag="v1", repo_type="dataset")) == 404
    assert status_of(lambda: api.delete_branch(NAME, branch="main", repo_type="dataset")) == 403
    api.delete_repo(NAME, repo_type="dataset")
    assert not hub.repositories
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(NAME, repo_type="dataset")


def test_equal_pushes_give_equal_commits(hub: Hub) -> None:
    def push_anew() -> str:
        HfApi().delete_repo(NAME, repo_type="dataset", missing_ok=True)
        HfApi().create_repo(NAME, repo_type="dataset")
        return push(Add("a.txt", b"a"), Add("b.parquet", b"b"))

    assert push_anew() == push_anew()


def test_a_commit_on_a_stale_parent_is_refused(dataset: Repository) -> None:
    first = push(Add("a.txt", b"1"))
    second = push(Add("a.txt", b"2"), parent=first)
    assert status_of(lambda: push(Add("a.txt", b"3"), parent=first)) == 412
    assert dataset.branches["main"] == second


def test_a_repository_is_made_once(dataset: Repository) -> None:
    api = HfApi()
    with pytest.raises(HfHubHTTPError, match="You already created this dataset repo"):
        api.create_repo(NAME, repo_type="dataset")
    url = api.create_repo(NAME, repo_type="dataset", exist_ok=True)
    assert (url.repo_id, url.repo_type) == (NAME, "dataset")


def test_a_name_that_the_hub_refuses_is_told(hub: Hub) -> None:
    assert status_of(lambda: HfApi().create_repo(f"{OWNER}/notes.ipynb")) == 400
    assert not hub.repositories


def test_a_card_that_the_hub_refuses_is_told_before_any_upload(hub: Hub, dataset: Repository) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata in repo card"):
        push(Add("README.md", b"# Questions"))
    hub.card_errors.append('"license" must be one of [mit]')
    with pytest.raises(ValueError, match='"license" must be one of'):
        push(Add("README.md", CARD), Add("a.parquet", b"a"))
    assert not puts(hub)


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
    hub.user(OWNER, "hf_elsewhere", role="fineGrained", scopes={f"{OWNER}/other": ["repo.write"]})
    api = HfApi(token=token)
    with pytest.raises(HfHubHTTPError, match=words) as told:
        push(Add("a.txt", b"a"), api=api)
    assert told.value.response.status_code == status
    assert status_of(lambda: api.create_tag(NAME, tag="v1", repo_type="dataset")) == status
    assert status_of(lambda: api.create_repo(NAME, repo_type="dataset")) == status
    assert not dataset.tags and len(dataset.commits) == 1


def test_a_fine_grained_token_writes_where_it_says(hub: Hub, dataset: Repository) -> None:
    hub.user(OWNER, "hf_fine", role="fineGrained", scopes={NAME: ["repo.content.read", "repo.write"]})
    api = HfApi(token="hf_fine")
    assert push(Add("a.txt", b"a"), api=api) == dataset.branches["main"]
    assert status_of(lambda: api.create_repo(f"{OWNER}/other")) == 403
    told = api.whoami()["auth"]["accessToken"]
    assert (told["role"], told["fineGrained"]["scoped"][0]["entity"]["name"]) == ("fineGrained", NAME)


def test_members_of_an_organisation_write_to_its_repositories(hub: Hub) -> None:
    hub.user("member", "hf_member", organisations=["house"])
    api = HfApi(token="hf_member")
    api.create_repo("house/tiny", private=True)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="house/tiny")
    assert [organisation["name"] for organisation in api.whoami()["orgs"]] == ["house"]
    with pytest.raises(HfHubHTTPError, match='rights to create a model under the namespace "house"'):
        HfApi().create_repo("house/other")


def test_a_private_repository_is_there_for_its_own_only(hub: Hub, dataset: Repository) -> None:
    hub.user("stranger", "hf_stranger")
    for token, status in ((False, 401), ("hf_stranger", 404)):
        with pytest.raises(RepositoryNotFoundError) as told:
            HfApi(token=token).dataset_info(NAME)
        assert told.value.response.status_code == status
    assert HfApi().dataset_info(NAME).private
    HfApi().update_repo_settings(NAME, private=False, repo_type="dataset")
    assert HfApi(token=False).dataset_info(NAME).private is False


def test_a_revision_that_is_not_there_is_told(dataset: Repository) -> None:
    with pytest.raises(RevisionNotFoundError):
        HfApi().dataset_info(NAME, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        HfApi().create_tag(NAME, tag="v1", revision="0" * 40, repo_type="dataset")


def test_a_gated_file_is_refused(hub: Hub) -> None:
    hub.dataset(NAME).commit({"a.txt": b"a"})
    hub.dataset(NAME).gated = 403
    with pytest.raises(GatedRepoError):
        HfApi().hf_hub_download(NAME, "a.txt", repo_type="dataset")


def test_a_tree_is_listed_in_pages_with_the_last_commit_of_each_entry(hub: Hub, dataset: Repository) -> None:
    first = push(Add("a.txt", b"a"), Add("deep/er/b.txt", b"b"), Add("deep/c.txt", b"c"))
    second = push(Add("deep/c.txt", b"d"))
    hub.page = 2
    entries = list(HfApi().list_repo_tree(NAME, repo_type="dataset", recursive=True, expand=True))
    changed = {entry.path: entry.last_commit.oid for entry in entries if entry.last_commit}
    assert changed.pop(".gitattributes") not in (first, second)
    assert changed == {"a.txt": first, "deep": second, "deep/c.txt": second, "deep/er": first, "deep/er/b.txt": first}
    assert {entry.path for entry in HfApi().list_repo_tree(NAME, "deep", repo_type="dataset")} == {
        "deep/c.txt", "deep/er",
    }  # fmt: skip
    assert len(HfApi().list_repo_commits(NAME, repo_type="dataset")) == 3


def test_an_upload_that_is_cut_is_tried_again(hub: Hub, dataset: Repository, waits: list[float]) -> None:
    hub.faults.append(Fault("PUT", "/storage/", cut=100))
    push(Add("a.bin", os.urandom(300_000)))
    assert (puts(hub), waits) == (2, [1.0])


def test_an_upload_that_is_cut_each_time_commits_nothing(hub: Hub, dataset: Repository, waits: list[float]) -> None:
    hub.faults.append(Fault("PUT", "/storage/", cut=100, times=99))
    with pytest.raises(RuntimeError, match=r"Error while uploading 'a\.bin' to the Hub"):
        push(Add("a.bin", os.urandom(300_000)), Add("b.txt", b"b"))
    assert not dataset.objects and len(dataset.commits) == 1


def test_an_upload_of_other_bytes_is_not_stored(hub: Hub, dataset: Repository) -> None:
    url = f"{hub.storage}/storage/datasets/{NAME}/{'0' * 64}"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(url, b"other", method="PUT"))
    assert not dataset.objects


def test_a_request_is_answered_with_errors_to_order(hub: Hub, dataset: Repository, waits: list[float]) -> None:
    hub.faults += [Fault("POST", "/preupload/", 429, retry_after=7), Fault("POST", "/commit/", 500, message="Sorry!")]
    with pytest.raises(HfHubHTTPError, match="Sorry!"):
        push(Add("a.txt", b"a"))
    assert waits == [8.0] and len(dataset.commits) == 1
    push(Add("a.txt", b"a"))
    assert dataset.files()["a.txt"] == b"a"


def test_a_commit_is_made_and_its_answer_lost(hub: Hub, dataset: Repository) -> None:
    hub.faults.append(Fault("POST", "/commit/", lost=True))
    with pytest.raises(httpx2.RemoteProtocolError):
        push(Add("a.txt", b"a"))
    assert dataset.files()["a.txt"] == b"a"


def test_a_download_that_is_cut_goes_on_where_it_was(
    hub: Hub, dataset: Repository, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what is less is not kept
    data = os.urandom(300_000)
    push(Add("a.bin", data))
    hub.faults.append(Fault("GET", "/storage/", cut=100_000))
    assert downloaded("main")["a.bin"] == data
    ranges = [request.headers["Range"] for request in hub.requests if request.path.startswith("/storage/")]
    assert ranges == [None, None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"), ("bytes=-2", 206, b"89"), ("bytes=10-", 416, b"")],
)
def test_a_part_of_a_file_is_answered(hub: Hub, asked: str, status: int, part: bytes) -> None:
    hub.dataset(NAME).commit({"a.txt": b"0123456789"})
    answer = httpx2.get(f"{hub.address}/datasets/{NAME}/resolve/main/a.txt", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, part)
    assert answer.headers["Content-Range"].endswith("/10")


def test_a_model_comes_back_by_its_tag(
    hub: Hub, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_api(), "endpoint", hub.address)  # transformers' own, made once a process
    name = f"{OWNER}/tiny"
    pushed: list[Any] = [model, tokenizer]
    for part in pushed:
        part.push_to_hub(name, private=True)
    HfApi().create_tag(name, tag="v1")
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=name)
    loaded = LlamaForCausalLM.from_pretrained(name, revision="v1")
    assert all(one.equal(other) for one, other in zip(loaded.parameters(), model.parameters(), strict=True))
    read = PreTrainedTokenizerFast.from_pretrained(name, revision="v1")
    assert read.encode("SELECT name") == tokenizer.encode("SELECT name")
    assert hub.model(name).private


def test_polars_reads_a_file_by_its_address(hub: Hub) -> None:
    dataset = hub.dataset(NAME)
    dataset.tags["v1"] = dataset.commit({"train.parquet": parquet("first")})
    dataset.commit({"train.parquet": parquet("second")})
    table = pl.read_parquet(f"{hub.address}/datasets/{NAME}/resolve/v1/train.parquet")
    assert table["question"].to_list() == ["first"]


DATASETS = f"""
import json
from datasets import Dataset, get_dataset_config_names, load_dataset
from huggingface_hub import HfApi
def pushed(tag, train):
    for name, rows in (("pairs", train), ("questions", ["a question"])):
        Dataset.from_dict({{"question": rows}}).push_to_hub("{NAME}", name, private=True)
    HfApi().create_tag("{NAME}", tag=tag, repo_type="dataset")
def loaded(name, tag, **how):
    return [row["question"] for row in load_dataset("{NAME}", name, split="train", revision=tag, **how)]
pushed("v1", ["first"])
pushed("v2", ["first", "second"])
print(json.dumps({{
    "configs": get_dataset_config_names("{NAME}"),
    "loaded": [loaded("pairs", "v1"), loaded("pairs", "v2"), loaded("questions", "v1")],
    "streamed": [loaded("pairs", tag, streaming=True) for tag in ("v1", "v2")],
}}))
"""


def test_a_dataset_of_two_configurations_comes_back_by_its_tag(tmp_path: Path) -> None:
    with running_hub() as hub:
        hub.user(OWNER, TOKEN)
        told = json.loads(run(DATASETS, hub, tmp_path, TOKEN))
        assert hub.dataset(NAME).private
    assert told["configs"] == ["pairs", "questions"]
    assert told["loaded"] == [["first"], ["first", "second"], ["a question"]]
    assert told["streamed"] == told["loaded"][:2]
