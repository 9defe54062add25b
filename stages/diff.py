"""What differs between two versions of the data: rows, labels and why they flip, params, metrics."""

import argparse
from pathlib import Path

from stages.core.commands import noted
from stages.core.display import show
from stages.core.errors import UserError, run_stage
from stages.core.files import write_json, write_text
from stages.diffing.changelog import filled, item_of, read_changelog
from stages.diffing.comparison import compare
from stages.diffing.folders import folder_version
from stages.diffing.page import page_of
from stages.diffing.revisions import commit_of, in_git, revision_version, similar
from stages.diffing.terminal import text_of
from stages.diffing.versions import WORKSPACE, Version
from stages.execution.cli_flags import check_paths

_SIDE = "a git commit, branch or tag, the name of a DVC experiment, or a folder (a checkout, or an export as published)"


def version_of(name: str) -> Version:
    """The version that a name stands for: a folder if it looks like a path (`./x`, `/x`, `x/`, `.`), else a revision,
    else a folder. Raises UserError where it stands for nothing, or for both."""
    folder = Path(name)
    if name == WORKSPACE:
        return folder_version(Path(), name)
    if name.startswith((".", "/")) or name.endswith("/"):
        if not folder.is_dir():
            raise UserError(f"{name} is no folder; give {_SIDE}")
        return folder_version(folder, name)
    commit = commit_of(name)
    if commit and folder.is_dir():
        told = f"give ./{name} for the folder, or {commit[:12]} for the revision"
        raise UserError(f"`{name}` is both a revision and a folder; {told}")
    if commit:
        return revision_version(name, commit)
    if folder.is_dir():
        return folder_version(folder, name)
    where = f"; much like it: {', '.join(close)}" if (close := similar(name)) else ""
    where = where if in_git() else "; this folder is not in a git repository, so there are no revisions"
    raise UserError(f"`{name}` is neither a revision nor a folder{where}; give {_SIDE}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.diff", description=__doc__)
    parser.add_argument("old", help=_SIDE)
    parser.add_argument("new", nargs="?", default=WORKSPACE, help="the same; the files of this folder if left out")
    parser.add_argument("--json", type=Path, help="file to write all of it to, as JSON")
    parser.add_argument("--html", type=Path, help="file to write a page for people to")
    parser.add_argument("--changelog", type=Path, help="file whose `### Data` under `## [Unreleased]` is to tell of it")
    args = parser.parse_args()
    wrong: list[str] = []
    versions: list[Version] = []
    changelog = ""
    for name in (args.old, args.new):
        with noted(wrong):
            versions.append(version_of(name))
    with noted(wrong):
        check_paths({}, {}, {"--json": args.json, "--html": args.html})
    with noted(wrong):
        changelog = read_changelog(args.changelog) if args.changelog else ""
    if wrong:
        raise UserError(*wrong)

    found = compare(*versions)

    if args.json:
        write_json(args.json, found.as_json())
    if args.html:
        write_text(args.html, page_of(found))
    if args.changelog:
        write_text(args.changelog, filled(changelog, item_of(found)))
    show(text_of(found))


if __name__ == "__main__":
    run_stage(main)
