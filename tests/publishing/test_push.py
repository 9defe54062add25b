"""The push: to a Hub on loopback, through the real client."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.errors import UserError
from stages.core.files import sha256_file, write_json
from stages.publishing.push import Upload, plan_push
from tests.hub import OWNER, TOKEN, Fault, Hub, Repository, hub_of
from tests.publishing.workplace import DATASET, FIGURES, IDENTITY, MODEL, VERSION, Workplace, small_tables
from tests.workplace import put

OTHER = "hf_othertoken"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between the client's tries
    with hub_of(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture
def workplace(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    (tmp_path / "work").mkdir()
    return Workplace(tmp_path / "work", monkeypatch)


def written(hub: Hub) -> list[tuple[str, str]]:
    """The requests that change something."""
    asked = [(method, path) for method, path in hub.asked if method != "GET" and method != "HEAD"]
    return [one for one in asked if "validate-yaml" not in one[1] and "paths-info" not in one[1]]


def named_release(card: bytes, workplace: Workplace) -> bytes:
    """A card that was pushed, with its release replaced by what an export has there."""
    head, lock = workplace.git("rev-parse", VERSION).strip(), sha256_file(workplace.folder / "dvc.lock")
    release = f"| git commit | `{head}` |\n| sha256 of `dvc.lock` | `{lock}` |\n"
    assert release in card.decode()
    return card.replace(release.encode(), b"| git commit | not released: this is an export that was not pushed |\n")


def commits(repository: Repository) -> list[str]:
    """The titles of what was committed, less the first commit that comes with a repository."""
    return [commit.title for commit in repository.commits.values() if commit.parent]


# ---- what a push does ----


def test_a_version_is_one_commit_and_a_tag_in_private_repositories(
    hub: Hub, workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.push()
    lines = capsys.readouterr().out.splitlines()
    for repository in (hub.dataset(DATASET), hub.model(MODEL)):
        assert repository.private
        assert commits(repository) == [VERSION]
        assert repository.tags == {VERSION: repository.branches["main"]}
    assert lines[0].startswith("publish: ") and lines[1:] == [
        f"{DATASET} {VERSION}: pushed, commit {hub.dataset(DATASET).tags[VERSION]}",
        f"{MODEL} {VERSION}: pushed, commit {hub.model(MODEL).tags[VERSION]}",
    ]


def test_what_is_pushed_is_the_export_and_the_model(hub: Hub, workplace: Workplace) -> None:
    workplace.push()
    dataset = hub.dataset(DATASET).files(VERSION)
    exported = {path.relative_to(workplace.export / "dataset").as_posix(): path.read_bytes()
            for path in (workplace.export / "dataset").rglob("*.*")}  # fmt: skip
    card = exported.pop("README.md")  # of the export, which names no commit
    assert {name: data for name, data in dataset.items() if name not in (".gitattributes", "README.md")} == exported
    assert named_release(dataset["README.md"], workplace) == card
    model = hub.model(MODEL).files(VERSION)
    assert model["model.safetensors"] == (workplace.folder / "models/dpo/model.safetensors").read_bytes()
    assert b"| git commit | `" in model["README.md"]
    assert set(model) - {".gitattributes"} == {"README.md", "config.json", "model.safetensors", "tokenizer.json"}


def test_the_card_that_is_pushed_names_the_commit_and_the_lock_of_the_git_tag(hub: Hub, workplace: Workplace) -> None:
    workplace.push()
    card = hub.dataset(DATASET).files(VERSION)["README.md"].decode()
    assert f"| git commit | `{workplace.git('rev-parse', VERSION).strip()}` |" in card
    assert f"| sha256 of `dvc.lock` | `{sha256_file(workplace.folder / 'dvc.lock')}` |" in card


def adapters_of(workplace: Workplace, model: str) -> None:
    """Puts adapters beside a model, as training leaves them: with the folder that they were trained from."""
    folder = workplace.folder / "models" / model / "adapter"
    folder.mkdir()
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": str(workplace.folder), "r": 8})
    (folder / "adapter_model.safetensors").write_bytes(bytes(10))


def test_adapters_are_pushed_alone_with_the_tokenizer_and_name_what_they_belong_to(
    hub: Hub, workplace: Workplace
) -> None:
    strong = f"{OWNER}/small-strong"
    for test_set in ("demo-dev", "demo-test"):
        write_json(Path(f"reports/evaluate/sft/strong-{test_set}.json"), FIGURES)
    adapters_of(workplace, "dpo")
    workplace.set("publish", adapters=["dpo"], models={"dpo": MODEL, "sft/strong": strong})
    workplace.push()
    files = hub.model(MODEL).files(VERSION)
    assert set(files) - {".gitattributes"} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
    }  # fmt: skip
    named = {"base_model_name_or_path": strong, "r": 8, "revision": VERSION}
    assert json.loads(files["adapter_config.json"]) == named
    assert f"These are adapters of {strong} at `{VERSION}`" in files["README.md"].decode()
    assert "model.safetensors" in hub.model(strong).files(VERSION)


def test_adapters_of_a_hub_model_name_its_commit(hub: Hub, workplace: Workplace) -> None:
    for test_set in ("demo-dev", "demo-test"):
        write_json(Path(f"reports/evaluate/sft/weak-{test_set}.json"), FIGURES)
    adapters_of(workplace, "sft/weak")
    workplace.set("train_sft.weak", base="some/coder", revision="abc", scratch=None)
    workplace.set("publish", adapters=["sft/weak"], models={"sft/weak": MODEL}, licences={"some/coder": "mit"})
    workplace.push()
    config = json.loads(hub.model(MODEL).files(VERSION)["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == ("some/coder", "abc")


def test_the_same_version_twice_commits_nothing_and_uploads_nothing(
    hub: Hub, workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.push()
    hub.asked.clear()
    capsys.readouterr()
    workplace.push_again()
    assert capsys.readouterr().out.count("was there already, commit ") == 2
    assert {path for _, path in written(hub)} <= {"/api/repos/create"}


def test_the_next_version_has_its_own_files_only_and_the_old_tag_keeps_its(hub: Hub, workplace: Workplace) -> None:
    workplace.set("publish", shard_rows=2)
    workplace.push()
    old = hub.dataset(DATASET).files(VERSION)
    workplace.set("publish", shard_rows=100)
    workplace.push("v0.2.0")
    dataset = hub.dataset(DATASET)
    assert dataset.files(VERSION) == old and "pairs/train-00002-of-00003.parquet" in old
    assert [name for name in dataset.files("v0.2.0") if "pairs" in name] == ["pairs/train-00000-of-00001.parquet"]
    assert commits(dataset) == [VERSION, "v0.2.0"]


def test_public_repositories_are_made_where_params_say_so(hub: Hub, workplace: Workplace) -> None:
    workplace.set("publish", private=False)
    workplace.push()
    assert not hub.dataset(DATASET).private and not hub.model(MODEL).private


def test_an_organisation_that_one_belongs_to_is_pushed_to(hub: Hub, workplace: Workplace) -> None:
    hub.user(OWNER, TOKEN, organisations=["team"])
    workplace.set("publish", dataset="team/small", models={})
    workplace.push()
    assert VERSION in hub.dataset("team/small").tags


def test_without_push_nothing_is_asked_of_the_hub(hub: Hub, workplace: Workplace) -> None:
    workplace.run()
    assert not hub.asked


def test_no_token_is_in_what_is_printed_reported_or_pushed(
    hub: Hub, workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.push()
    printed = capsys.readouterr()
    assert f"{DATASET} {VERSION}: pushed, commit " in printed.out
    assert TOKEN not in printed.out + printed.err
    assert not any(TOKEN in path for _, path in hub.asked)
    pushed = [data for place in (hub.dataset(DATASET), hub.model(MODEL)) for data in place.files(VERSION).values()]
    files = [path.read_bytes() for path in workplace.folder.rglob("reports/**/*.*")]
    assert not any(TOKEN.encode() in data for data in [*pushed, *files])


# ---- broken off ----


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", ".", cut=100, times=1000),
        Fault("PUT", ".", status=500, times=1000),
        Fault("POST", f"datasets/{DATASET}/commit", status=500, times=10),
        Fault("POST", f"datasets/{DATASET}/commit", status=429, times=10),
        Fault("POST", f"datasets/{DATASET}/commit", status=412, times=1),
        Fault("POST", f"datasets/{DATASET}/commit", lost=True, times=10),
        Fault("POST", f"datasets/{DATASET}/preupload", cut=10, times=10),
        Fault("POST", f"datasets/{DATASET}/tag", status=503, times=10),
        Fault("POST", f"models/{MODEL}/commit", status=500, times=10),
        Fault("POST", f"models/{MODEL}/tag", status=500, times=10),
    ],
    ids=lambda fault: f"{fault.path} {fault.status or ('lost' if fault.lost else 'cut')}",
)
def test_a_push_that_broke_off_is_reported_leaves_no_half_version_and_can_be_run_again(
    fault: Fault, hub: Hub, workplace: Workplace
) -> None:
    workplace.tag()
    hub.faults.append(replace(fault))
    [sentence] = workplace.push_refused()
    assert sentence.startswith((f"{DATASET}: ", f"{MODEL}: "))
    for repository in hub.repositories.values():
        assert commits(repository) in ([], [VERSION])
        assert not repository.tags or commits(repository)
    hub.faults.clear()
    workplace.push_again()
    for repository in (hub.dataset(DATASET), hub.model(MODEL)):
        assert commits(repository) == [VERSION] and set(repository.tags) == {VERSION}


def test_a_shard_that_came_before_the_cut_is_not_sent_again(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    hub.faults.append(Fault("POST", f"datasets/{DATASET}/commit", status=500, times=10))
    workplace.push_refused()
    hub.faults.clear()
    hub.asked.clear()
    workplace.push_again()
    assert len([path for method, path in hub.asked if method == "PUT"]) == 1  # the model's


# ---- refused ----


def refused(workplace: Workplace, hub: Hub) -> list[str]:
    """What a push is refused with, before anything is written."""
    workplace.tag()
    sentences = workplace.push_refused()
    assert not written(hub)
    return sentences


def test_a_push_without_a_token_is_refused(hub: Hub, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(workplace.folder / "none"))
    assert refused(workplace, hub) == ["there is no token for the Hub; call `hf auth login`, or set HF_TOKEN"]


def test_a_token_that_may_only_read_is_refused(hub: Hub, workplace: Workplace) -> None:
    hub.user(OWNER, TOKEN, role="read")
    [sentence] = refused(workplace, hub)
    assert sentence.startswith("the token for the Hub may only read; make one that may write")


def test_a_fine_grained_token_without_the_right_is_refused_by_the_hub(hub: Hub, workplace: Workplace) -> None:
    hub.user(OWNER, TOKEN, role="fineGrained")
    workplace.tag()
    [sentence] = workplace.push_refused()
    assert sentence.startswith(f"{DATASET}: the Hub answers 403 (") and "right to write to it" in sentence


def test_a_token_that_is_not_valid_is_refused(hub: Hub, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_gone")
    [sentence] = refused(workplace, hub)
    assert sentence.startswith("the Hub: the Hub answers 401") and "`hf auth login`" in sentence
    assert "hf_gone" not in sentence


def test_repositories_of_another_are_refused_all_at_once(hub: Hub, workplace: Workplace) -> None:
    workplace.set("publish", dataset="other/small", models={"dpo": "another/small"})
    assert refused(workplace, hub) == [
        f"{name} is not yours (the token is that of {OWNER}, who may write to {OWNER}); correct it in `publish`, or use"
        " another token"
        for name in ("other/small", "another/small")
    ]


def test_the_owner_that_params_come_with_is_no_owner(hub: Hub, workplace: Workplace) -> None:
    workplace.set("publish", dataset="OWNER/small", models={})
    [sentence] = refused(workplace, hub)
    assert sentence == "params.yaml has `OWNER/small` in section `publish`; put your name on the Hub in place of OWNER"


def test_a_public_repository_is_not_pushed_to_as_a_private_one(hub: Hub, workplace: Workplace) -> None:
    hub.dataset(DATASET).commit({"a": b""})
    [sentence] = refused(workplace, hub)
    assert sentence.startswith(f"`publish.private` is true, but {DATASET} is public; set it to false, or make that")


def test_a_name_that_the_hub_refuses_is_reported_in_its_words(hub: Hub, workplace: Workplace) -> None:
    hub.faults.append(Fault("POST", "/api/repos/create", status=400, message="This name is reserved"))
    workplace.tag()
    assert workplace.push_refused() == [
        f"{DATASET}: the Hub answers 400 (This name is reserved); correct it in `publish`"
    ]


def test_a_card_that_the_hub_refuses_is_reported_and_nothing_is_uploaded(hub: Hub, workplace: Workplace) -> None:
    hub.card_errors.append("license must be one of …")
    workplace.tag()
    [sentence] = workplace.push_refused()
    assert sentence.startswith(f"{DATASET}: the Hub refuses the commit (") and "license must be one of" in sentence
    assert not [path for method, path in hub.asked if method == "PUT"]


def test_a_tag_with_other_content_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.push()
    before = dict(hub.dataset(DATASET).tags)
    workplace.set("publish", shard_rows=2)
    workplace.tag(VERSION)  # moved
    [sentence] = workplace.push_refused()
    assert sentence.startswith(f"{DATASET} has a tag `{VERSION}` with other content (")
    assert sentence.endswith("a version never changes: set `publish.version` to a new one")
    assert hub.dataset(DATASET).tags == before and commits(hub.dataset(DATASET)) == [VERSION]


def test_sources_and_base_models_without_a_licence_are_refused_with_what_else_is_wrong(
    hub: Hub, workplace: Workplace
) -> None:
    workplace.replace_in_sources("redistribution: true", "redistribution: false")
    for name, rows in small_tables().items():
        ids = rows["item_id" if name == "synthetic" else "question_id"]
        put(name, rows.filter(ids.str.starts_with("mydata/")))
    workplace.set("train_sft.weak", base="some/coder", revision="abc", scratch=None)
    workplace.set("publish", dataset="OWNER/small")
    sentences = refused(workplace, hub)
    assert [sentence.split(";")[0] for sentence in sentences] == [
        "`publish.licences` does not name the licence of the model some/coder",
        "none of mydata may be passed on",
        "params.yaml has `OWNER/small` in section `publish`",
    ]


def test_files_that_no_version_put_there_stop_a_push(hub: Hub, workplace: Workplace) -> None:
    hub.dataset(DATASET).private = True
    hub.dataset(DATASET).commit({"thesis.txt": b"mine", "README.md": b"# Mine"})
    [sentence] = refused_while_planning(workplace)
    assert sentence == (
        f"{DATASET} has files that no version of it has (thesis.txt); remove them there, or name another repository in "
        "`publish`"
    )
    assert hub.dataset(DATASET).files()["thesis.txt"] == b"mine"


def test_nothing_is_pushed_where_the_last_repository_refuses(hub: Hub, workplace: Workplace) -> None:
    hub.model(MODEL).private = True
    hub.model(MODEL).tags[VERSION] = hub.model(MODEL).commit({"README.md": b"# Other"})
    [sentence] = refused_while_planning(workplace)
    assert sentence.startswith(f"{MODEL} has a tag `{VERSION}` with other content (config.json, model.safetensors, tok")
    assert ("datasets", DATASET) not in hub.repositories


def refused_while_planning(workplace: Workplace) -> list[str]:
    workplace.tag()
    return workplace.push_refused()


def test_an_export_that_is_gone_is_not_pushed_as_an_empty_version(hub: Hub) -> None:
    with pytest.raises(UserError, match=f"there is nothing to upload to {DATASET}; run the push again, one at a time"):
        plan_push(Upload(DATASET, "dataset", {}), VERSION)
    assert not hub.asked


def test_a_licence_of_what_is_not_here_or_is_known_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.set("publish", licences={"mydta": "mit", "spider": "mit"})
    assert refused(workplace, hub) == [
        "`publish.licences` names mydta, which is no source of the questions and no model here; correct or remove it",
        "`publish.licences` names spider, whose licence is known; remove it",
    ]


# ---- the git tag ----


def test_a_push_without_the_git_tag_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag("v0.0.9")
    [sentence] = workplace.push_refused()
    assert sentence.startswith(f"git has no tag `{VERSION}`, the `publish.version`; commit, then `git tag {VERSION}`")
    assert not hub.asked


def test_a_push_from_another_commit_than_the_tags_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    workplace.tag("later")
    [sentence] = workplace.push_refused()
    assert sentence.startswith(f"the git tag `{VERSION}` is commit ") and "but HEAD is " in sentence


def refused_after(workplace: Workplace, hub: Hub) -> list[str]:
    """What a push of the tag is refused with, less how to go on."""
    sentences = workplace.push_refused()
    assert not hub.asked and all("; call `make back`, or run `dvc repro`" in sentence for sentence in sentences)
    return [sentence.split(f" at the git tag `{VERSION}`")[0] for sentence in sentences]


def test_a_lock_that_is_not_the_tags_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    lock = workplace.folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("cmd: make", "cmd: make more", 1))
    first, second = refused_after(workplace, hub)
    assert first == "dvc.lock is not as it was" and "of dvc.lock" not in second


def test_data_that_is_not_that_of_the_tag_is_refused_even_with_a_receipt(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    (workplace.folder / "data" / "pairs.parquet").unlink()
    put("pairs", small_tables()["pairs"].head(2))
    assert refused_after(workplace, hub) == [
        "reports/validation/pairs.json is not as it was",
        "stage `data-pairs-parquet` is not what dvc.lock says of it (data/pairs.parquet modified)",
        "stage `publish` is not what dvc.lock says of it (data/pairs.parquet modified, reports/validation/pairs.json "
        "modified)",
    ]


def test_a_model_that_is_not_that_of_the_tag_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    (workplace.folder / "models" / "dpo" / "model.safetensors").write_bytes(b"other")
    assert refused_after(workplace, hub) == [
        f"stage `{stage}` is not what dvc.lock says of it (models/dpo modified)" for stage in ("models-dpo", "publish")
    ]


def test_figures_and_params_that_are_not_those_of_the_tag_are_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    write_json(Path("reports/evaluate/dpo-demo-dev.json"), FIGURES | {"ex": 0.99})
    workplace.set("publish", licences={"mydata": "mit"})
    workplace.set("candidates", temperature=0.1)
    assert refused_after(workplace, hub) == [
        "params.yaml is not as it was", "reports/evaluate/dpo-demo-dev.json is not as it was",
        "stage `publish` is not what dvc.lock says of it (reports/evaluate modified, candidates modified, publish "
        "modified)",
    ]  # fmt: skip


def test_params_that_were_committed_and_tagged_without_a_run_are_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    workplace.set("pairs", neg_limit=7)
    workplace.git("add", "--all")
    workplace.git(*IDENTITY, "commit", "--quiet", "--message", "not run")
    workplace.git("tag", "--force", VERSION)
    assert refused_after(workplace, hub) == [
        "stage `publish` is not what dvc.lock says of it (pairs modified)",
    ]


def test_a_changed_file_that_git_takes_for_the_old_one_is_refused(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    workplace.git("config", "core.trustctime", "false")  # so it is after a failed `dvc exp run`: size and time agree
    workplace.git("config", "core.checkStat", "minimal")
    figures = workplace.folder / "reports" / "evaluate" / "dpo-demo-test.json"
    os.utime(figures, (1e9, 1e9))  # git reads a file that is as new as its index
    workplace.git("status")
    before = figures.stat()
    figures.write_text(figures.read_text().replace("0.6", "0.9"))
    os.utime(figures, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert workplace.git("status", "--porcelain") == ""
    assert refused_after(workplace, hub)[0] == "reports/evaluate/dpo-demo-test.json is not as it was"


@pytest.mark.parametrize("name", ["dvc.lock", "params.yaml", "stages/mine.py"])
def test_a_file_that_decides_and_is_not_in_git_is_refused(name: str, hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    if (workplace.folder / name).exists():
        workplace.git("rm", "--quiet", "--cached", name)
        workplace.git(*IDENTITY, "commit", "--quiet", "--message", "without it")
        workplace.git("tag", "--force", VERSION)
    else:
        (workplace.folder / name).parent.mkdir()
        (workplace.folder / name).write_text("")
    assert refused_after(workplace, hub) == [f"{name} is not in git"]


# ---- what a push leaves here ----


def state(workplace: Workplace) -> dict[str, bytes]:
    files = [path for path in workplace.folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path): path.read_bytes() for path in files if ".dvc" not in path.parts and "site" not in path.parts}


def test_a_push_changes_no_file_here(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    before = state(workplace)
    workplace.push_again()
    assert state(workplace) == before


def test_a_refused_push_changes_no_file_here(hub: Hub, workplace: Workplace) -> None:
    workplace.tag()
    hub.faults.append(Fault("POST", f"datasets/{DATASET}/commit", status=500, times=10))
    before = state(workplace)
    workplace.push_refused()
    assert state(workplace) == before


def test_what_a_killed_push_left_is_not_pushed(hub: Hub, workplace: Workplace) -> None:
    left = workplace.export.with_name("push.partial") / "dataset" / "pairs" / "train-00007-of-00009.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another version")
    workplace.push()
    names = [name for name in hub.dataset(DATASET).files(VERSION) if name.startswith("pairs/")]
    assert names == ["pairs/train-00000-of-00001.parquet"]
    assert not list(workplace.folder.rglob("*.partial"))
