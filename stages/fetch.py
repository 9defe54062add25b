"""Fetches corpora into the raw folder: downloads, verifies and unpacks them, and records their provenance.

Not a stage: `dvc repro` never uses the network. An interrupted download is resumed. A source's folder appears whole or
not at all, with a record `<source>.dvc` beside it, to be committed. A file in the raw folder with the name of a
download is used instead of downloading it.
"""

import argparse
import shutil
from pathlib import Path

from stages.core.disk import disk_full_errors
from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import move_folder, write_text
from stages.fetching import dvc_record
from stages.fetching.downloads import RUN_AGAIN, SourceFetch, download_files, verify_files
from stages.fetching.dvc_record import DownloadedFile, record_path
from stages.fetching.expected_files import expected_file_problems
from stages.fetching.hub_files import matching
from stages.fetching.sources import Source, WebFile, read_sources
from stages.fetching.unpack import BrokenArchive, unpack, unpack_nested


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.fetch", description=__doc__)
    parser.add_argument("source", nargs="*", help="what to fetch: see --list")
    parser.add_argument("--list", action="store_true", help="show the sources: licence, size, origin")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="the folder to fetch into")
    parser.add_argument(
        "--sources", type=Path, default=Path("stages/fetching/sources.yaml"), help="the file that describes the sources"
    )
    args = parser.parse_args()
    if not args.source and not args.list:
        parser.error("name a source, or give --list")
    sources = read_sources(args.sources, list(dict.fromkeys(args.source)))
    if args.list:
        show("\n".join(_describe(name, source) for name, source in sources.items()))
        return
    dvc_record.require_repository(args.raw)
    errors: list[str] = []
    for name, source in sources.items():
        with collect_errors(errors):
            fetch_source(SourceFetch(name, source, args.raw))
    if errors:
        raise UserError(*errors)


def fetch_source(fetch: SourceFetch) -> None:
    """Puts a source's folder and its record into the raw folder; does nothing if both exist and agree.

    Raises UserError if a download fails, has the wrong content, or does not fit the disk.
    """
    record, recorded = record_path(fetch.folder), dvc_record.read_record(fetch.folder)
    if fetch.folder.exists() and _is_done(fetch, recorded):
        show(f"{fetch.name}: {fetch.folder} is there and matches {record}; nothing to do")
    else:
        paths = download_files(fetch)
        files = verify_files(fetch, paths, recorded)
        _build(fetch, paths)
        dvc_record.write_record(fetch.folder, fetch.source, files)
        show(f"{fetch.name}: {fetch.folder} is there; commit its record {record}")
    fetch.delete_downloads()


def _is_done(fetch: SourceFetch, recorded: list[DownloadedFile]) -> bool:
    """Whether an existing folder is the source's and recorded. False if a process was killed before the record."""
    folder, record = fetch.folder, record_path(fetch.folder)
    if not recorded:
        if fetch.unrecorded_mark.exists():
            return False
        raise UserError(f"{folder} is there without a record of where it came from; move it away and {RUN_AGAIN}")
    if not dvc_record.matches_source(recorded, fetch.source):
        raise UserError(f"{record} lists other downloads than the source's; remove it and {folder} and {RUN_AGAIN}")
    if not dvc_record.is_unchanged(folder):
        raise UserError(f"{folder} does not match {record}; remove the folder and {RUN_AGAIN}")
    return True


def _build(fetch: SourceFetch, paths: dict[str, Path]) -> None:
    """Builds the source's folder from its downloads, whole or not at all."""
    partial = fetch.raw / f"{fetch.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for file in fetch.source.files:
            _add_web_file(fetch, file, paths[file.name], partial)
        for files in fetch.source.hub:
            for path in matching(files, paths[files.name]):
                _copy(path, partial / files.into / path.relative_to(paths[files.name] / files.root))
        if problems := expected_file_problems(partial, fetch.source):
            fetch.delete_downloads()
            fix = f"the download is not what {fetch.source.homepage} describes; take away what was put there by hand"
            raise UserError(*(f"{fetch.name}: {problem}; {fix} and {RUN_AGAIN}" for problem in problems))
        write_text(fetch.unrecorded_mark, "")
        move_folder(partial, fetch.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _add_web_file(fetch: SourceFetch, file: WebFile, path: Path, folder: Path) -> None:
    target = folder / file.into
    if file.unpack is None:
        _copy(path, target)
        return
    try:
        unpack(path, file.unpack.root, target)
        for nested in file.unpack.nested:
            unpack_nested(target / nested)
    except BrokenArchive as error:
        raise UserError(f"{fetch.name}: {path} cannot be unpacked: {error}; {fetch.discard(path)}") from None


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk_full_errors(target):
        shutil.copyfile(path, target)


def _describe(name: str, source: Source) -> str:
    sizes = [file.size for file in source.files]
    total = sum(size for size in sizes if size)
    size = f"{total / 1e6:,.0f} MB" if total else "size not known"
    size = f"more than {size}" if total and (None in sizes or source.hub) else size
    origins = [file.url for file in source.files] + [f"Hub dataset {files.repo}" for files in source.hub]
    return "\n  ".join([f"{name}: {source.title}, {source.licence}, {size}", *origins])


if __name__ == "__main__":
    run_stage(main)
