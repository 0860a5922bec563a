"""Which image is written to which file, decided before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scratchnet.data import find_images
from scratchnet.errors import DataError
from scratchnet.io.imagefile import check_suffix


@dataclass(frozen=True)
class Job:
    """An image to denoise and where the result goes."""

    source: Path
    target: Path


def compare_path(target: Path) -> Path:
    """Where the comparison of before and after goes: ``NAME-compare.png`` beside ``NAME.*``."""
    return target.with_name(f"{target.stem}-compare.png")


def plan(
    inputs: Sequence[Path], out: Path, *, force: bool = False, compare: bool = False
) -> list[Job]:
    """Decide which image is written to which file, before anything is written.

    One image: ``out`` is the file to write, or an existing folder to write into under the same
    name. Several images, or a folder: ``out`` is a folder, made if need be; the images of an input
    folder keep their places below it.

    Args:
        inputs: image files and folders.
        out: a file or a folder.
        force: allow files that exist to be replaced (never the inputs themselves).
        compare: comparisons of before and after will be written, too.

    Raises:
        DataError: if an input is missing, two would be written to one file, an input would be
            overwritten, a file exists already without ``force``, or an ending names no image
            format.
    """
    if not inputs:
        raise DataError(
            "nothing to denoise: give at least one image or folder, then where to write"
        )
    single = len(inputs) == 1 and not inputs[0].is_dir() and not out.is_dir()
    jobs = []
    for path in inputs:
        if not path.exists():
            raise DataError(f"there is no image or folder {path}")
        if path.is_dir():
            found = [p for p in find_images(path) if not _within(p, out)]
            if not found:
                raise DataError(f"{path}: no images found outside the output folder {out}")
            jobs += [Job(p, out / p.relative_to(path)) for p in found]
        else:
            jobs.append(Job(path, out if single else out / path.name))
    if not single and out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, but several images need a folder to go to")
    _check_targets(jobs, force=force, compare=compare)
    return jobs


def _check_targets(jobs: Sequence[Job], *, force: bool, compare: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    claimed: dict[Path, Path] = {}
    existing = []
    for job in jobs:
        check_suffix(job.target)
        for path in (job.target, compare_path(job.target)) if compare else (job.target,):
            target = path.resolve()
            if target in sources:
                raise DataError(f"{path} is an input and would be overwritten: name another OUT")
            if target in claimed:
                raise DataError(
                    f"{claimed[target]} and {job.source} would both be written to {path}: "
                    "denoise them into different folders"
                )
            claimed[target] = job.source
            if path.exists():
                existing.append(path)
    if existing and not force:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise DataError(
            f"{existing[0]}{more} exists already: name another OUT, or replace it with --force"
        )


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
