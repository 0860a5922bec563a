"""``scratchnet new-plugin``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_plugin(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of the distribution, its folder, and what it brings: `my-layer`."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="`layer`; `kernel`, a layer with its own C++ kernel; or `backend`.",
        ),
    ] = "layer",
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to make the folder. [default: here]"),
    ] = None,
) -> None:
    """Write a plugin to start from: an installable package with tests that prove it.

    **Examples**

    `scratchnet new-plugin swish` – a layer with a trainable parameter

    `scratchnet new-plugin fast-swish --kind kernel` – the same with its own C++ kernel

    `scratchnet new-plugin my-backend --kind backend` – a backend to fill in, operation by operation
    """
    from scratchnet.scaffold.new_plugin import install, write

    folder = write(name, kind, into=into)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    print(f"{folder}:")
    for path in files:
        print(f"  {path}")
    print(f"next: {install(folder, kind)} && pytest {folder} && scratchnet check {name}")
