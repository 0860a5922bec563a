"""Functions of the user's own code, named by file or module: ``net.py``, ``net.py:tiny``,
``package.module:tiny``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from scratchnet.errors import ArgumentError

DEFAULT = "model"


def is_own_code(name: str) -> bool:
    """Whether ``name`` names code, not something that is known by its name."""
    return name.endswith(".py") or ":" in name


def function(name: str) -> Callable[..., Any]:
    """Run the file or import the module that ``name`` names, and return its function.

    Args:
        name: ``"FILE.py"`` for the function ``model`` in a file, ``"FILE.py:FUNCTION"``, or
            ``"package.module:FUNCTION"``.

    Raises:
        ArgumentError: there is no such file, module or function, or it fails when it is run.
    """
    where, colon, wanted = name.rpartition(":")
    if not colon or name.endswith(".py"):
        where, wanted = name, DEFAULT
    try:
        module = _run(Path(where)) if where.endswith(".py") else import_module(where)
    except Exception as error:
        raise ArgumentError(f"{where} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, wanted, None)
    if not callable(found):
        raise ArgumentError(f"{where} is expected to define a function {wanted}(), and does not")
    maker: Callable[..., Any] = found
    return maker


def _run(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
