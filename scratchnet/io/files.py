"""Writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scratchnet.errors import ScratchnetError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends without an error.

    The temporary name keeps the suffix of ``path``, because many writers choose their format by it.

    The file is on the disk before it takes the place, and its name is before this returns: after a
    power cut there is the old file or the new one.

    Raises:
        ScratchnetError: if the directory cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=".part" + path.suffix
        )
    except OSError as error:
        raise ScratchnetError(f"cannot write {path}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files (0600); what takes its place gets the permissions of any new
        # file.
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise ScratchnetError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have what was written to a file or a directory on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``, atomically, and only if it can be read back.

    Encoders write to memory first: some take no notice of a disk that is full.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise ScratchnetError(
                f"cannot write {path}: something else came back from the disk than was written"
            )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path``, atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write ``content`` to ``path`` as readable JSON, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ScratchnetError: if the file is missing, is not JSON, or does not hold an object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ScratchnetError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ScratchnetError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ScratchnetError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
