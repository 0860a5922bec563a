"""The directory of a run: what is in it, who holds it, and how one is made without losing an
earlier one.

Every file is replaced as a whole. What belongs together is committed by one renaming: a run that
takes the place of another lies in ``.commit`` until the other's files are gone, and whoever opens
the directory next completes that.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scratchnet.errors import ScratchnetError
from scratchnet.io.files import sync, write_json
from scratchnet.training.checkpoint import WEIGHTS
from scratchnet.training.trainstate import STATE, TrainingState, load_state, save_state

CONFIG, METRICS, CURVE, SAMPLES = "config.json", "metrics.csv", "psnr.png", "samples.png"
BEFORE, BEST = "checkpoint-before.safetensors", "best.safetensors"
TO_LOOK_AT = (SAMPLES, CURVE, METRICS, CONFIG, WEIGHTS)
_FILES = (STATE, BEFORE, BEST, *TO_LOOK_AT)
_LOCK, _STAGED, _COMMIT = ".lock", ".next", ".commit"
_OWN_LITTER = re.compile(
    rf"\.({'|'.join(Path(name).stem for name in _FILES)})-\w+\.part(\.\w+)?|\.before\.part"
)


def check_out(out: Path, *, force: bool) -> None:
    """Refuse a directory that is in use.

    Raises:
        ScratchnetError: if ``out`` is a file, or a directory with something in it and not
            ``force``.
    """
    if out.exists() and not out.is_dir():
        raise ScratchnetError(f"{out} is a file; name a directory for the run")
    if out.is_dir() and not force and not all(map(_is_litter, out.iterdir())):
        raise ScratchnetError(
            f"{out} is not empty: name another directory, go on with the run in it with --resume, "
            "or replace it with --force"
        )


def _is_litter(path: Path) -> bool:
    """Whether a run that was killed left this, without having got anywhere."""
    return path.name in (_LOCK, _STAGED) or bool(_OWN_LITTER.fullmatch(path.name))


def claim(out: Path | None, stem: str) -> Path:
    """Make a directory; its making claims a numbered one, so that two runs never share it.

    Args:
        out: the directory; None for the first of ``runs/<stem>-1``, ``-2``, ... that does not
            exist.
        stem: for the name of a numbered one.

    Raises:
        ScratchnetError: if it cannot be made.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            return out
        number = 1
        while True:
            try:
                (path := Path("runs") / f"{stem}-{number}").mkdir(parents=True)
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ScratchnetError(
            f"cannot make the directory {error.filename}: {error.strerror}"
        ) from error


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold a run's directory inside the block, after completing what a run that was killed in
    there had begun. The lock dies with the process; an empty directory is removed at the end.

    Raises:
        ScratchnetError: if another process holds it, or it cannot be written to.
    """
    path = out / _LOCK
    try:
        handle = _locked(path)
    except OSError as error:
        raise _unusable(out, error) from error
    try:
        try:
            _complete(out)
        except OSError as error:
            raise _unusable(out, error) from error
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)
        with suppress(OSError):
            out.rmdir()


def _unusable(out: Path, error: OSError) -> ScratchnetError:
    return ScratchnetError(f"cannot use the directory {out}: {error.strerror or error}")


def _locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 20).decode(errors="replace").strip() or "another"
            os.close(handle)
            raise ScratchnetError(
                f"{path.parent} is in use by process {holder}: wait for it or stop it, or name "
                "another directory with --out"
            ) from error
        # Whoever held it before may have removed the file between the two calls.
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            return handle
        os.close(handle)


def _complete(out: Path) -> None:
    """Complete a replacement that was committed, and remove what was not."""
    if (out / _COMMIT).is_dir():
        for name in set(_FILES) - {STATE, CONFIG}:
            (out / name).unlink(missing_ok=True)
        for name in (STATE, CONFIG):
            if (out / _COMMIT / name).exists():
                os.replace(out / _COMMIT / name, out / name)
        (out / _COMMIT).rmdir()
    for path in out.iterdir():
        if path.name == _STAGED:
            shutil.rmtree(path)
        elif _OWN_LITTER.fullmatch(path.name):
            path.unlink()


def holds_run(out: Path) -> bool:
    """Whether there is a run in ``out``, or some of one."""
    return any((out / name).exists() for name in _FILES)


def replace_run(out: Path, state: TrainingState, config: dict[str, Any]) -> None:
    """Put a new run, of which this much is done, in the place of the one in ``out``."""
    save_state(state, out / _STAGED / STATE)
    write_json(out / _STAGED / CONFIG, config)
    os.rename(out / _STAGED, out / _COMMIT)
    sync(out)
    _complete(out)


def keep_state(out: Path, state: TrainingState) -> None:
    """Write the state of a run; the one before is kept, too."""
    if (out / STATE).exists():
        kept = out / ".before.part"
        kept.unlink(missing_ok=True)
        try:
            os.link(out / STATE, kept)
        except OSError:  # a file system without links
            shutil.copyfile(out / STATE, kept)
        os.replace(kept, out / BEFORE)
        kept.unlink(missing_ok=True)  # still there if both were links to one file already
    save_state(state, out / STATE)


def latest_state(out: Path) -> TrainingState | None:
    """The state that a run can go on from: the last one, or if that is damaged the one before.

    Raises:
        ScratchnetError: if both are damaged.
    """
    problem: ScratchnetError | None = None
    for path in (out / STATE, out / BEFORE):
        if not path.exists():
            continue
        try:
            state = load_state(path)
        except ScratchnetError as error:
            problem = problem or error
            continue
        if problem is not None:
            warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
        return state
    if problem is not None:
        raise problem
    return None


def discard(out: Path) -> None:
    """Remove a run's files from ``out``."""
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
