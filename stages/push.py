"""Pushes the datasets and models of a tagged version to the Hub, with cards that name its commit.

A push needs a token, and HEAD at the git tag `publish.version` with files, params and data as they are at the tag. So
nobody pushes by accident, and what is on the Hub can be made again from git. It is no stage: DVC never runs it, and
never restores it from its run cache as if it had happened.
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stages.core.commands import noted, stage_flags
from stages.core.disk import disk_full_errors
from stages.core.errors import UserError, run_stage
from stages.core.params import read_params, read_sections
from stages.publish import PublishParams, making_of, read_tables, write_export
from stages.publishing.licences import unlicensed
from stages.publishing.models import model_files
from stages.publishing.names import NOBODY
from stages.publishing.push import Kind, Upload, push_all, refusals
from stages.publishing.release import release_of
from stages.publishing.release_info import Making
from stages.publishing.shards import files_in


def repositories(params: PublishParams) -> list[tuple[str, Kind]]:
    """The repositories that are pushed to, the dataset's first."""
    return [(params.dataset, "dataset"), *((name, "model") for name in params.models.values())]


def released(making: Making, params: PublishParams) -> Making:
    """The same with its release. Raises UserError with every reason not to push; nothing is written before."""
    behind, bases = [*making.behind_candidates(), *making.behind_models()], list(making.bases.values())
    errors = unlicensed(params.licences, making.origins, behind, bases)
    errors += [
        f"params.yaml has `{name}` in section `publish`; put your name on the Hub in place of {NOBODY}"
        for name, _ in repositories(params) if name.startswith(f"{NOBODY}/")
    ]  # fmt: skip
    release = None
    with noted(errors):
        release = release_of(params.version)
    with noted(errors):
        errors += [] if errors else refusals(repositories(params), params.private)
    if errors:
        raise UserError(*errors)
    return replace(making, release=release)


def uploads_of(params: PublishParams, export: Path, checkpoints: Path) -> list[Upload]:
    """What is pushed: the dataset, then the models with the card and the config that `export` has for them."""
    uploads = [Upload(params.dataset, "dataset", files_in(export / "dataset"))]
    for model, repository in params.models.items():
        files = model_files(checkpoints / model, model in params.adapters)
        uploads.append(Upload(repository, "model", files | files_in(export / "models" / model)))
    return uploads


def places(flags: Mapping[str, str]) -> argparse.Namespace:
    """The flags of stage `publish`, as its command in dvc.yaml has them."""
    return argparse.Namespace(**{name.replace("-", "_"): Path(value) for name, value in flags.items()})


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.push", description=__doc__).parse_args()
    args, params, sections = places(stage_flags("publish")), read_params("publish", PublishParams), read_sections()
    tables = read_tables(args)
    making = released(making_of(params, sections, sorted(tables["questions"]["source"].unique()), args), params)

    export = args.export.with_name("push.partial")  # not the stage's own: its cards name no commit
    shutil.rmtree(export, ignore_errors=True)  # of a push that was killed
    try:
        with disk_full_errors(export):
            write_export(tables, making, params, args, export)
        push_all(uploads_of(params, export, args.checkpoints), params.version, params.private)
    finally:
        shutil.rmtree(export, ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)
