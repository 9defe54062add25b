"""Pushes the datasets and models of a tagged version to the Hub, with cards that name its commit.

A push needs a token, and HEAD at the git tag `publish.version` with files, params and data as they are at the tag. So
nobody pushes by accident, and what is on the Hub can be made again from git. It is no stage: DVC never runs it, and
never restores it from its run cache as if it had happened.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from stages.core.disk import disk_full_errors
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.layout import EXPORT, model_path
from stages.core.params import read_params, read_sections
from stages.publish import PublishParams, read_tables, release_info, write_export
from stages.publishing.licences import licence_errors
from stages.publishing.models import model_files
from stages.publishing.params import NOBODY
from stages.publishing.push import Kind, Upload, push_all, push_errors
from stages.publishing.release import release_of
from stages.publishing.release_info import ReleaseInfo
from stages.publishing.shards import files_in


def repositories(params: PublishParams) -> list[tuple[str, Kind]]:
    """The repositories that are pushed to, the dataset's first."""
    return [(params.dataset, "dataset"), *((name, "model") for name in params.models.values())]


def with_release(info: ReleaseInfo, params: PublishParams) -> ReleaseInfo:
    """The same info with its release. Raises UserError with every reason not to push; nothing is written before."""
    behind = [*info.writers(), *filter(None, map(info.base_of, info.models))]
    errors = licence_errors(params.licences, info.origins, behind, list(info.bases.values()))
    errors += [
        f"params.yaml has `{name}` in section `publish`; put your name on the Hub in place of {NOBODY}"
        for name, _ in repositories(params) if name.startswith(f"{NOBODY}/")
    ]  # fmt: skip
    release = None
    with collect_errors(errors):
        release = release_of(params.version)
    with collect_errors(errors):
        errors += [] if errors else push_errors(repositories(params), params.private)
    if errors:
        raise UserError(*errors)
    return replace(info, release=release)


def uploads_of(params: PublishParams, export: Path) -> list[Upload]:
    """What is pushed: the dataset, then the models with the card and the config that `export` has for them."""
    uploads = [Upload(params.dataset, "dataset", files_in(export / "dataset"))]
    for model, repository in params.models.items():
        files = model_files(model_path(model), model in params.adapters)
        uploads.append(Upload(repository, "model", files | files_in(export / "models" / model)))
    return uploads


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.push", description=__doc__).parse_args()
    params, sections = read_params("publish", PublishParams), read_sections()
    tables = read_tables(sections)
    info = with_release(release_info(params, sections, tables), params)

    export = EXPORT.with_name("push.partial")  # not the stage's own: its cards name no commit
    shutil.rmtree(export, ignore_errors=True)  # of a push that was killed
    try:
        with disk_full_errors(export):
            write_export(tables, info, params, export)
        push_all(uploads_of(params, export), params.version, params.private)
    finally:
        shutil.rmtree(export, ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)
