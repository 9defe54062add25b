"""What differs between two versions of the data: rows, labels and why they flip, params, metrics."""

import argparse
from pathlib import Path

from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import write_json, write_text
from stages.diffing.changelog import item_of, read_changelog, with_data_item
from stages.diffing.comparison import compare
from stages.diffing.folders import folder_version
from stages.diffing.page import page_of
from stages.diffing.revisions import commit_of, in_git, revision_version, similar_names
from stages.diffing.terminal import text_of
from stages.diffing.versions import WORKSPACE, Version
from stages.execution.cli_flags import check_paths

_SIDE = "a git commit, branch or tag, the name of a DVC experiment, or a folder (a checkout, or an export as published)"


def version_of(name: str) -> Version:
    """The version that a name stands for: a folder if it looks like a path (`./x`, `/x`, `x/`, `.`), else a revision,
    else a folder. Raises UserError where the name is neither, or both."""
    folder = Path(name)
    if name == WORKSPACE:
        return folder_version(Path(), name)
    if name.startswith((".", "/")) or name.endswith("/"):
        if not folder.is_dir():
            raise UserError(f"{name} is no folder; give {_SIDE}")
        return folder_version(folder, name)
    commit = commit_of(name)
    if commit and folder.is_dir():
        fix = f"give ./{name} for the folder, or {commit[:12]} for the revision"
        raise UserError(f"`{name}` is both a revision and a folder; {fix}")
    if commit:
        return revision_version(name, commit)
    if folder.is_dir():
        return folder_version(folder, name)
    hint = f"; similar names: {', '.join(names)}" if (names := similar_names(name)) else ""
    hint = hint if in_git() else "; this folder is not in a git repository, so there are no revisions"
    raise UserError(f"`{name}` is neither a revision nor a folder{hint}; give {_SIDE}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.diff", description=__doc__)
    parser.add_argument("old", help=_SIDE)
    parser.add_argument("new", nargs="?", default=WORKSPACE, help="the same; the files of this folder if left out")
    parser.add_argument("--json", type=Path, help="JSON file to write the whole comparison to")
    parser.add_argument("--html", type=Path, help="HTML file to write the comparison to")
    parser.add_argument("--changelog", type=Path, help="changelog to write a summary to, under `### Data`")
    args = parser.parse_args()
    errors: list[str] = []
    versions: list[Version] = []
    changelog = ""
    for name in (args.old, args.new):
        with collect_errors(errors):
            versions.append(version_of(name))
    with collect_errors(errors):
        check_paths({}, {}, {"--json": args.json, "--html": args.html})
    with collect_errors(errors):
        changelog = read_changelog(args.changelog) if args.changelog else ""
    if errors:
        raise UserError(*errors)

    comparison = compare(*versions)

    if args.json:
        write_json(args.json, comparison.as_json())
    if args.html:
        write_text(args.html, page_of(comparison))
    if args.changelog:
        write_text(args.changelog, with_data_item(changelog, item_of(comparison)))
    show(text_of(comparison))


if __name__ == "__main__":
    run_stage(main)
