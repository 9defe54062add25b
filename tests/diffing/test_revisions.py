"""Versions by git revision and experiment, in a real git and DVC repository that the tests share."""

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.core.errors import UserError
from stages.diff import version_of
from stages.diffing.comparison import compare
from stages.diffing.versions import Version
from tests.diffing.world import keyed, make_version, new_repository, run

FIRST = {"pairs": keyed("pairs", "a", "b")}
SECOND = {"pairs": keyed("pairs", "b", "c", chosen="x"), "prompts": keyed("prompts", "q")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tag v1, tag v2 on branch main, and the experiment puffy-daks on v2."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        new_repository(folder)
        make_version(folder, FIRST, {})
        run(folder, "git", "tag", "v1")
        make_version(folder, SECOND, {"pairs": {"seed": 2}}, pairs={"out": 3, "new": 1.5})
        run(folder, "git", "tag", "--annotate", "v2", "--message", "the second")
        keyed("pairs", "d").write_parquet(folder / "pairs.made")
        with chdir(folder), Repo() as repo:
            repo.reproduce()
            repo.experiments.save(name="puffy-daks")
        run(folder, "git", "checkout", "--quiet", "--", ".")
        with chdir(folder), Repo() as repo:
            repo.checkout(force=True)
        yield folder


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(folder)
    return folder


def keys(version: Version) -> list[str]:
    found: list[str] = version.tables["pairs"].keys().sort().to_list()
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v1", "ab"), ("v2", "bc"), ("main", "bc"), ("HEAD", "bc"), ("HEAD~1", "ab"), ("refs/tags/v1", "ab"),
        ("puffy-daks", "d"), ("workspace", "bc"), (".", "bc"),
    ],
)  # fmt: skip
def test_tags_branches_commits_experiments_and_the_workspace_are_versions(
    name: str, expected: str, repository: Path
) -> None:
    assert keys(version_of(name)) == list(expected)
    assert run(repository, "git", "status", "--porcelain") == ""


def test_a_short_commit_is_a_version(repository: Path) -> None:
    commit = run(repository, "git", "rev-parse", "v1").strip()
    version = version_of(commit[:8])
    assert (version.commit, keys(version)) == (commit, ["a", "b"])


def test_metrics_params_and_datasets_of_two_revisions_are_side_by_side(repository: Path) -> None:
    found = compare(version_of("v1"), version_of("v2"))
    assert found.metrics is not None
    numbers = {name: (both.old, both.new) for name, both in found.metrics["reports/pairs.json"].items()}
    assert numbers == {"out": (2, 3), "new": (None, 1.5)}
    assert found.metrics["reports/prompts.json"]["out"].old is None
    assert found.params == {"pairs.seed": {"old": 1, "new": 2}, "prompts.seed": {"new": 1}}
    assert (found.datasets["prompts"].old, found.datasets["prompts"].new) == (None, 1)
    pairs = found.datasets["pairs"]
    assert (pairs.added, pairs.removed, pairs.changed) == (1, 1, 1)


def test_a_branch_and_an_annotated_tag_on_its_commit_are_one_version(repository: Path) -> None:
    run(repository, "git", "branch", "v2", "v2^{commit}")
    assert keys(version_of("v2")) == ["b", "c"]


def test_files_of_the_workspace_count_as_they_are(repository: Path) -> None:
    (repository / "data" / "pairs.parquet").unlink()
    keyed("pairs", "x").write_parquet(repository / "data" / "pairs.parquet")
    assert keys(version_of("workspace")) == ["x"]


def test_a_name_of_a_folder_and_of_a_revision_is_refused(repository: Path) -> None:
    (repository / "v1" / "pairs").mkdir(parents=True)
    keyed("pairs", "z").write_parquet(repository / "v1" / "pairs" / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"`v1` is both a revision and a folder; give ./v1 for the folder, or"):
        version_of("v1")
    assert keys(version_of("./v1")) == keys(version_of("v1/")) == ["z"]


def test_a_name_of_a_tag_and_of_another_branch_is_refused(repository: Path) -> None:
    run(repository, "git", "branch", "v1", "v2")
    with pytest.raises(UserError, match=r"`v1` stands for several commits; .*: refs/heads/v1, refs/tags/v1"):
        version_of("v1")


def test_an_unknown_name_is_refused_with_those_that_are_like_it(repository: Path) -> None:
    with pytest.raises(UserError, match=r"`puffy-dak` is neither .*; similar names: puffy-daks; give"):
        version_of("puffy-dak")


def test_a_folder_that_is_not_there_is_refused(repository: Path) -> None:
    with pytest.raises(UserError, match=r"./nowhere is no folder; give a git commit"):
        version_of("./nowhere")


def test_a_revision_without_a_pipeline_is_refused(repository: Path) -> None:
    run(repository, "git", "checkout", "--quiet", "--orphan", "empty")
    run(repository, "git", "rm", "--quiet", "-rf", ".")
    run(repository, "git", "commit", "--quiet", "--allow-empty", "--message", "nothing")
    with pytest.raises(UserError, match=r"empty has no dvc.yaml and dvc.lock"):
        version_of("empty")


def test_outside_of_a_git_repository_folders_can_be_given_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "pairs").mkdir(parents=True)
    keyed("pairs", "z").write_parquet(tmp_path / "mine" / "pairs" / "train-00000-of-00001.parquet")
    assert keys(version_of("mine")) == ["z"]
    with pytest.raises(UserError, match=r"`v1` is neither .*; this folder is not in a git repository"):
        version_of("v1")


def test_a_revision_outside_of_a_dvc_repository_is_refused(repository: Path) -> None:
    shutil.rmtree(repository / ".dvc")
    with pytest.raises(UserError, match=r"v1: DVC cannot tell where its data is"):
        version_of("v1")


def forget(repository: Path) -> None:
    """Empties DVC's cache."""
    shutil.rmtree(repository / ".dvc" / "cache" / "files")


def test_data_that_is_nowhere_is_named_with_the_command_that_gets_it(repository: Path) -> None:
    forget(repository)
    with pytest.raises(UserError, match=r"v1: data/pairs.parquet neither in DVC's cache nor") as caught:
        version_of("v1")
    assert "`dvc fetch --all-commits data/pairs.parquet`" in str(caught.value)


def test_data_that_only_the_remote_has_is_fetched_and_the_workspace_stays(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / ".dvc" / "cache" / "files", tmp_path / "remote" / "files")
    forget(repository)
    remote = f"[core]\nremote = r\n['remote \"r\"']\nurl = {tmp_path / 'remote'}\n"
    (repository / ".dvc" / "config.local").write_text(remote)
    before = (repository / "data" / "pairs.parquet").read_bytes()
    run(repository, "git", "checkout", "--quiet", "v1")  # whose pipeline knows of no prompts
    assert version_of("v2").tables["prompts"].keys().to_list() == ["q"]
    assert keys(version_of("v1")) == ["a", "b"]
    assert keys(version_of("puffy-daks")) == ["d"]
    assert (repository / "data" / "pairs.parquet").read_bytes() == before
    assert run(repository, "git", "status", "--porcelain") == ""


def test_a_version_in_a_folder_below_the_root_of_git_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    run(tmp_path, "git", "init", "--quiet", "--initial-branch", "main")
    run(tmp_path, "git", "config", "user.name", "Test")
    run(tmp_path, "git", "config", "user.email", "test@example.org")
    below = tmp_path / "below"
    below.mkdir()
    Repo.init(str(below), subdir=True).close()
    (below / ".gitignore").write_text("*.made\n/data\n/site\n")
    make_version(below, FIRST, {})
    monkeypatch.chdir(below)
    assert keys(version_of("HEAD")) == ["a", "b"]


def test_two_revisions_with_one_version_of_a_dataset_read_one_file(repository: Path) -> None:
    old, new = version_of("v2"), version_of("main")
    assert old.tables["pairs"].is_the_same_file(new.tables["pairs"])
