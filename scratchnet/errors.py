"""The exceptions scratchnet raises on purpose; each message says what was expected, what came, and
what to do.
"""

from __future__ import annotations


class ScratchnetError(Exception):
    """Base class: catching it catches every error that scratchnet raises on purpose."""


class ShapeError(ScratchnetError, ValueError):
    """A tensor has the wrong rank or size."""


class ArgumentError(ScratchnetError, ValueError):
    """A layer, optimizer or function was given an argument outside its range."""


class TypeMismatch(ScratchnetError, TypeError):
    """Not a tensor, or a tensor of the wrong dtype or on the wrong device."""


class DataError(ScratchnetError, ValueError):
    """A file or folder is missing, unreadable, or holds something else than expected."""


class OrderError(ScratchnetError, RuntimeError):
    """``backward`` was called before ``forward``, or after a forward that kept nothing."""


class PluginError(ScratchnetError, LookupError):
    """A plugin is missing, broken, ambiguous, blocked, or written for another version."""


class BackendError(ScratchnetError, RuntimeError):
    """The backend asked for cannot run here, or does not support this call."""
