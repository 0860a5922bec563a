"""The directory of a run: what is in it, and how one is made without losing an earlier one."""

from __future__ import annotations

from pathlib import Path

from scratchnet.errors import ScratchnetError
from scratchnet.training.checkpoint import WEIGHTS
from scratchnet.training.trainstate import STATE

CONFIG, METRICS, CURVE, SAMPLES = "config.json", "metrics.csv", "psnr.png", "samples.png"
TO_LOOK_AT = (SAMPLES, CURVE, METRICS, CONFIG, WEIGHTS)
_FILES = (STATE, *TO_LOOK_AT)


def check_out(out: Path, *, force: bool) -> None:
    """Refuse a directory that is in use.

    Raises:
        ScratchnetError: if ``out`` is a file, or a directory with something in it and not
            ``force``.
    """
    if out.exists() and not out.is_dir():
        raise ScratchnetError(f"{out} is a file; name a directory for the run")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ScratchnetError(
            f"{out} is not empty: name another directory, go on with the run in it with --resume, "
            "or replace it with --force"
        )


def claim(out: Path | None, preset: str, *, force: bool) -> Path:
    """Make a run's directory; its making claims a numbered one, so that two runs never share it.

    Args:
        out: the directory; None for a new ``runs/<preset>-<n>``.
        preset: for the name of a numbered one.
        force: remove the files of the run that is in ``out``.

    Raises:
        ScratchnetError: if it cannot be made.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if force:
                discard(out)
                out.mkdir(exist_ok=True)
            return out
        return new_directory(preset)
    except OSError as error:
        raise ScratchnetError(
            f"cannot make the directory {error.filename}: {error.strerror}"
        ) from error


def new_directory(stem: str) -> Path:
    """Make and return the first of ``runs/<stem>-1``, ``-2``, ... that does not exist.

    Raises:
        OSError: if it cannot be made.
    """
    number = 1
    while True:
        try:
            (path := Path("runs") / f"{stem}-{number}").mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def discard(out: Path) -> None:
    """Remove a run's files from ``out``, and ``out`` itself if nothing else is in it."""
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()
