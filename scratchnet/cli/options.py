"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scratchnet.errors import ScratchnetError

if TYPE_CHECKING:
    from rich.console import Console

VERIFY_VARIABLE = "SCRATCHNET_VERIFY"
DATA, MACHINE = "Images", "Machine"


def option(text: str, panel: str | None = None, *flags: str, **settings: Any) -> Any:
    """An option with a help text, in a panel of the help page.

    Args:
        text: the help.
        panel: its heading; None for the first one.
        flags: how it is written, where that is not its parameter's name.
        settings: as ``typer.Option`` takes them.
    """
    return typer.Option(*flags, help=text, rich_help_panel=panel, **settings)


Backend = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Backend to compute with, such as `cpp` or `reference`; `scratchnet info` lists them. "
        "[default: the fastest that can]",
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Threads to compute with. [default: one a core]",
        rich_help_panel=MACHINE,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Run every kernel call on `reference`, too, and stop at the first difference; slow. "
        "The same as `SCRATCHNET_VERIFY=1`.",
        rich_help_panel=MACHINE,
    ),
]
ReportOut = Annotated[
    Path | None,
    option(
        "Folder for the report. [default: a new one in runs/]",
        None,
        "--out",
        "-o",
        metavar="DIR",
        show_default=False,
    ),
]
ForceReport = Annotated[bool, option("Replace the report in --out.", None, "--force")]
AsJson = Annotated[bool, option("Print all figures as JSON instead of tables.", None, "--json")]
Arguments = Annotated[
    list[str] | None,
    option("Argument of the layer or operation; repeatable.", None, "--arg", metavar="KEY=VALUE"),
]
Inputs = Annotated[
    list[str] | None,
    option("Shape of an input of the layer; repeatable.", None, "--input", metavar="N,C,H,W"),
]
Noise = Annotated[
    str | None,
    option(
        "Noise to add where the images are clean, as for `scratchnet train`.", DATA, metavar="NAME"
    ),
]
NVal = Annotated[int | None, option("Validation images, at most.", DATA, metavar="N", min=1)]
Size = Annotated[
    int | None,
    option("Side of the images that are cut, in pixels.", DATA, metavar="N", min=1),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with `train_data.pkl` (two noisy uint8 tensors N×3×H×W) and `val_data.pkl` "
        "(noisy, clean), written by torch.save. [default: the built-in photographs]",
        rich_help_panel=DATA,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Any folder of clean images; noise is added.", rich_help_panel=DATA
    ),
]
NoisyA = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of noisy images; with `--noisy-b`, a folder of the same scenes under the "
        "same names with other noise.",
        rich_help_panel=DATA,
    ),
]
NoisyB = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The second noisy folder.", rich_help_panel=DATA),
]
WEIGHTS = (
    "A weights file, the folder of a run, or the name of weights that come with scratchnet. "
    "[default: `residual`]"
)
OwnModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.py",
        help="The code of your own network that the weights belong to; no weights file runs code "
        "that is not named here.",
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="PIXELS",
        help="Side of the tiles large images are cut into; smaller needs less memory. "
        "[default: 256]",
        rich_help_panel=MACHINE,
    ),
]


@contextmanager
def machine(
    backend: str | None, threads: int | None, verify: bool = False, *, apply: bool = True
) -> Iterator[None]:
    """Compute with this backend (unless not ``apply``: what runs inside selects it) and this many
    threads, verified or not, inside the block.

    Where no backend was chosen and the kernels are missing, standard error says so: the work will
    take several times as long.
    """
    import torch

    from scratchnet import backends
    from scratchnet.backends.dispatch import AUTO, selection, use_backend
    from scratchnet.training.config import MOST_THREADS

    kernels = backends.get("cpp").available()
    if kernels is not True and selection(backend)[0] == AUTO:
        typer.echo(
            f"scratchnet: the C++ kernels are missing ({kernels}); computing with 'reference', "
            "several times slower",
            err=True,
        )
    before = torch.get_num_threads()
    if threads is not None and threads > MOST_THREADS:
        raise ScratchnetError(f"threads must be up to {MOST_THREADS}, got {threads}")
    if threads is not None:
        torch.set_num_threads(threads)
    verified_before = {k: v for k, v in os.environ.items() if k == VERIFY_VARIABLE}
    if verify:  # in the environment, so that processes started from here verify, too
        os.environ[VERIFY_VARIABLE] = "1"
    try:
        with use_backend(backend) if backend is not None and apply else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)
        if verify:
            del os.environ[VERIFY_VARIABLE]
            os.environ |= verified_before


def say(screen: Console, line: str, style: str | None = None) -> None:
    """Print a line, however long, without markup."""
    screen.print(line, markup=False, highlight=False, soft_wrap=True, style=style)


def print_json(found: dict[str, Any]) -> None:
    """Print plain values for another program to read."""
    import json

    print(json.dumps(found, indent=2))


def texts(**paths: Path | None) -> dict[str, str | None]:
    """Return the paths by name, as settings hold them."""
    return {name: None if path is None else str(path) for name, path in paths.items()}


def key_values(items: list[str]) -> dict[str, object]:
    """``["width=32", "name=x"]`` as a dictionary; values are read as JSON where they are JSON.

    Raises:
        ScratchnetError: if an item has no "=".
    """
    import json

    values: dict[str, object] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ScratchnetError(f"expected KEY=VALUE, got {item!r}")
        try:
            values[key.strip()] = json.loads(text)
        except ValueError:
            values[key.strip()] = text
    return values


def sizes(option: str, text: str, such_as: str = "sizes such as 2,3,32,32") -> list[int]:
    """``"2,3,32,32"`` as a list.

    Args:
        option: for the message.
        text: what it was given.
        such_as: what it expects.

    Raises:
        ScratchnetError: if it is something else than sizes of at least 0.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise ScratchnetError(f"{option} expects {such_as}, got {text!r}")
    return found
