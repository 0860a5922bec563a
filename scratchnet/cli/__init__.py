"""The command line: one file a command; a command parses, calls the library, and prints."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

import scratchnet
from scratchnet.cli.bench import bench
from scratchnet.cli.check import check
from scratchnet.cli.compare import compare
from scratchnet.cli.denoise import denoise
from scratchnet.cli.evaluate import evaluate
from scratchnet.cli.info import info
from scratchnet.cli.new_plugin import new_plugin
from scratchnet.cli.train import train
from scratchnet.cli.zoo import zoo
from scratchnet.errors import ScratchnetError

COMMANDS = (train, denoise, evaluate, compare, bench, check, new_plugin, info, zoo)

app = typer.Typer(
    name="scratchnet",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"scratchnet {scratchnet.__version__}")
        raise typer.Exit


class _Debug:
    asked = False


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code an error came from.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train image denoisers without clean images, on layers whose gradients are written by hand.

    Start with `scratchnet train`: about a minute later there is a network and images of what it
    does. Then `scratchnet denoise IN OUT` applies it to images of your own.
    """
    _Debug.asked = debug


def main() -> None:
    """Run the command line; whatever goes wrong becomes one line and an exit code: 2 for a line
    that cannot be understood, 1 for everything else.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    _Debug.asked = False
    empty = [a for a in sys.argv[1:] if not a or (a.startswith("--") and a.find("=") == len(a) - 1)]
    if empty:
        _fail(f"an argument is empty ({empty[0]!r}): leave it out, or see what should fill it", 2)
    try:
        try:
            app(prog_name="scratchnet")
        finally:
            sys.stdout.flush()
    except ScratchnetError as error:
        if _Debug.asked:
            raise
        _fail(str(error))
    except OSError as error:  # of the output stream, most likely: a full disk, a closed pipe
        if _Debug.asked:
            raise
        with suppress(OSError):  # what is left to be written would fail again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:
        if _Debug.asked:
            raise
        reason = str(error).strip().partition("\n")[0]
        _fail(
            f"{type(error).__name__}: {reason} (this is a mistake of scratchnet's, or there is too "
            "little memory: `scratchnet --debug COMMAND ...` shows where it came from)"
        )


def _fail(message: str, code: int = 1) -> None:
    from scratchnet.cli.console import printable

    print(f"scratchnet: {printable(message)}", file=sys.stderr)
    sys.exit(code)
