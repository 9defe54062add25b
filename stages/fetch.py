"""Fetches corpora into the raw folder: downloads, checks and unpacks them, and records where they came from.

Not a stage: `dvc repro` never uses the network. A download that was cut goes on where it was; a source's folder appears
whole or not at all, with a record `<source>.dvc` beside it, which is to be committed. What lies in the raw folder under
the name of a download is used in its place, without a network.
"""

import argparse
import shutil
from pathlib import Path

from stages.core.disk import disk_full_errors
from stages.core.display import show
from stages.core.errors import UserError, run_stage
from stages.core.files import move_folder, write_text
from stages.fetching.downloads import AGAIN, Job, check, obtain
from stages.fetching.dvc_record import Part, is_of, need_repository, read_parts, record_of, unchanged, write_record
from stages.fetching.hub_files import matching
from stages.fetching.layout import layout_mistakes
from stages.fetching.sources import HubFiles, Source, WebFile, read_sources
from stages.fetching.unpack import BrokenArchive, unpack, unpack_nested


def main() -> None:
    args = _arguments()
    sources = read_sources(args.sources, list(dict.fromkeys(args.source)))
    if args.list:
        show("\n".join(_line(name, source) for name, source in sources.items()))
        return
    need_repository(args.raw)
    wrong: list[str] = []
    for name, source in sources.items():
        try:
            fetch(Job(name, source, args.raw))
        except UserError as error:
            wrong += error.sentences
    if wrong:
        raise UserError(*wrong)


def fetch(job: Job) -> None:
    """Puts a source's folder and its record into the raw folder; does nothing where both are there and agree.

    Raises UserError where something cannot be downloaded, is not what it should be, or does not fit the disk.
    """
    record, recorded = record_of(job.folder), read_parts(job.folder)
    if job.folder.exists() and _is_done(job, recorded):
        show(f"{job.name}: {job.folder} is there and as {record} tells; nothing to do")
    else:
        places = obtain(job)
        parts = check(job, places, recorded)
        _build(job, places)
        write_record(job.folder, job.source, parts)
        show(f"{job.name}: {job.folder} is there; commit its record {record}")
    job.clean()


def _is_done(job: Job, recorded: list[Part]) -> bool:
    """Whether a folder that is there is the source's; not if it was put there by a process killed before the record."""
    folder, record = job.folder, record_of(job.folder)
    if not recorded:
        if job.mark.exists():
            return False
        raise UserError(f"{folder} is there without a record of where it came from; move it away and {AGAIN}")
    if not is_of(recorded, job.source):
        raise UserError(f"{record} tells of other downloads than the source's; remove it and {folder} and {AGAIN}")
    if not unchanged(folder):
        raise UserError(f"{folder} is not as {record} tells; remove the folder and {AGAIN}")
    return True


def _build(job: Job, places: dict[str, Path]) -> None:
    """Makes the source's folder out of its downloads, whole or not at all."""
    made = job.raw / f"{job.name}.partial"
    shutil.rmtree(made, ignore_errors=True)
    try:
        for file in job.source.files:
            _put(job, file, places[file.name], made)
        for files in job.source.hub:
            _copy(files, places[files.name], made)
        wrong = layout_mistakes(made, job.source)
        if wrong:
            job.clean()
            tail = f"the download is not what {job.source.homepage} tells of; take away what was put there by hand"
            raise UserError(*(f"{job.name}: {mistake}; {tail} and {AGAIN}" for mistake in wrong))
        write_text(job.mark, "")
        move_folder(made, job.folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _put(job: Job, file: WebFile, place: Path, made: Path) -> None:
    target = made / file.into
    if file.unpack is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk_full_errors(target):
            shutil.copyfile(place, target)
        return
    try:
        unpack(place, file.unpack.root, target)
        for nested in file.unpack.nested:
            unpack_nested(target / nested)
    except BrokenArchive as error:
        raise UserError(f"{job.name}: {place} cannot be unpacked: {error}; {job.let_go(place)}") from None


def _copy(files: HubFiles, place: Path, made: Path) -> None:
    for path in matching(files, place):
        target = made / files.into / path.relative_to(place / files.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk_full_errors(target):
            shutil.copyfile(path, target)


def _line(name: str, source: Source) -> str:
    sizes = [file.size for file in source.files]
    known = sum(size for size in sizes if size)
    size = f"{known / 1e6:,.0f} MB" if known else "size not known"
    size = f"more than {size}" if known and (None in sizes or source.hub) else size
    places = [file.url for file in source.files] + [f"Hub dataset {files.repo}" for files in source.hub]
    return "\n  ".join([f"{name}: {source.title}, {source.licence}, {size}", *places])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.fetch", description=__doc__)
    parser.add_argument("source", nargs="*", help="what to fetch: see --list")
    parser.add_argument("--list", action="store_true", help="show the sources: licence, size, origin")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="the folder to fetch into")
    parser.add_argument(
        "--sources", type=Path, default=Path("stages/fetching/sources.yaml"), help="the file that tells of the sources"
    )
    args = parser.parse_args()
    if not args.source and not args.list:
        parser.error("name a source, or give --list")
    return args


if __name__ == "__main__":
    run_stage(main)
