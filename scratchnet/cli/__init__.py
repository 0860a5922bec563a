"""The command line: one file a command; a command parses, calls the library, and prints."""

from __future__ import annotations

import sys
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
from scratchnet.errors import ScratchnetError

COMMANDS = (train, denoise, evaluate, compare, bench, check, new_plugin, info)

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


@app.callback()
def _root(
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


def main() -> None:
    """Run the command line; errors made on purpose become one line and exit code 1."""
    try:
        app(prog_name="scratchnet")
    except ScratchnetError as error:
        print(f"scratchnet: {error}", file=sys.stderr)
        sys.exit(1)
