"""Memory that the process keeps, so that arithmetic is measured and not page faults."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MIB = 2**20

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
"""The same for a process that is yet to be started."""


@contextmanager
def keeps_memory() -> Iterator[bool]:
    """Let malloc keep freed memory inside the block; yields whether it does.

    glibc gives large blocks back to the system when they are freed, and takes them again, zeroed
    page by page, at the next allocation: a step of training can spend a third of its time so. The
    setting serves whoever allocates most; other C libraries are left as they are.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield False
        return
    kept = bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    try:
        yield kept
    finally:
        # where glibc's own adjustment, which setting anything ends, arrives in a program like this
        mallopt(_MMAP_MAX, 65536)
        mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        ctypes.CDLL(None).malloc_trim(0)
