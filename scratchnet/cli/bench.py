"""``scratchnet bench``."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scratchnet.cli import options
from scratchnet.errors import ScratchnetError

if TYPE_CHECKING:
    from rich.console import Console

    from scratchnet.bench import Plan, Result

LAYER, CONTESTANTS = "One layer", "Contestants"

Dtype = Literal["float32", "float64"]


def bench(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION",
            help="Any of `step` (a training step), `inference`, `convolutions` (single ones), "
            "`float64` (the step and the convolutions in double precision), `course` (the backend "
            "`reference` against a first, naive program), `memory`. [default: all]",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look in half the time: few rounds.")
    ] = False,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]...",
            help="Images a step.",
            show_default="40, and for `step` 2 and 256, too",
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]...",
            help="Threads to compute with.",
            show_default="one a core, and for `step` a single one, too",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Rounds of each section.", show_default="5 to 40, by section"
        ),
    ] = None,
    shapes: Annotated[
        str, typer.Option(metavar="TEXT", help="Only the convolutions whose name contains this.")
    ] = "",
    dtype: Annotated[
        Dtype, typer.Option(help="Of `step`, `inference`, `convolutions`, `memory` and `--layer`.")
    ] = "float32",
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]...",
            help="Backends of scratchnet that take part; the others are compared with the first.",
            show_default="the fastest that can",
            rich_help_panel=CONTESTANTS,
        ),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Let torch.compile take part in `step` and `inference`. It needs a C++ compiler "
            "and a minute or two for each batch and number of threads.",
            rich_help_panel=CONTESTANTS,
        ),
    ] = False,
    jax: Annotated[
        str | None,
        typer.Option(
            "--jax-python",
            metavar="FILE",
            help="Let JAX take part in `step`: the Python of an environment in which "
            "`pip install jax` was run.",
            rich_help_panel=CONTESTANTS,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure this layer and nothing else: one that `scratchnet info` lists, or "
            "`package.module:Class`.",
            rich_help_panel=LAYER,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "--arg",
            metavar="KEY=VALUE",
            help="Argument of its constructor; repeatable.",
            rich_help_panel=LAYER,
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="N,C,H,W",
            help="Shape of an input; repeatable.",
            show_default="16 images of 64x64",
            rich_help_panel=LAYER,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for tables, figure and numbers.",
            show_default="runs/bench-1, -2, ...",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report in --out.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON instead of tables.")
    ] = False,
    verify: options.Verify = False,
) -> None:
    """Measure on this machine how fast scratchnet is, and torch at the same.

    All take turns in one process, round by round, so that whatever else runs disturbs everyone
    alike; and nobody is timed before its results were found equal. Shown are the fastest round,
    the round in the middle, and both as multiples of scratchnet's. Ctrl-C ends it early, with what
    was measured by then.

    **Examples**

    `scratchnet bench` – everything, in about three minutes

    `scratchnet bench step --batch 40 --rounds 60 --compile` – the training step, torch.compile, too

    `scratchnet bench --layer Conv2d --arg in_channels=16 --arg out_channels=16 --arg kernel_size=3`

    `scratchnet bench --layer my-layer --input 16,8,64,64` – a plugin's layer, on each backend
    """
    from scratchnet.cli.console import console
    from scratchnet.training import rundir

    if out is not None:
        rundir.check_out(out, force=force)
    plan = _plan(
        sections, batch, threads, rounds, shapes, dtype, backend, compiled, jax, quick, layer,
        arguments, inputs,
    )  # fmt: skip
    screen = console()
    on_auto = not plan.backends or "auto" in plan.backends
    with options.machine(None if on_auto else plan.backends[0], None, verify):
        result = _run(screen, plan)
    out = _write(result, out)
    if as_json:
        import json

        print(json.dumps(result.as_dict(), indent=2))
    else:
        _show(screen, result)
        screen.print(
            f"in {out}: bench.txt (these tables), bench.png, bench.json (every round)",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if result.interrupted:
        raise typer.Exit(130)
    if result.wrong:
        raise ScratchnetError(
            f"computed something else than expected, and was not timed: {'; '.join(result.wrong)} "
            "(`scratchnet check` tests each layer and backend)"
        )


def _plan(
    sections: list[str] | None,
    batch: str | None,
    threads: str | None,
    rounds: int | None,
    shapes: str,
    dtype: Dtype,
    backend: str | None,
    compiled: bool,
    jax: str | None,
    quick: bool,
    layer: str | None,
    arguments: list[str] | None,
    inputs: list[str] | None,
) -> Plan:
    import torch

    from scratchnet.bench import Plan

    if layer is None and (arguments or inputs):
        raise ScratchnetError("--arg and --input go with --layer NAME")
    if jax is not None and shutil.which(jax) is None:
        raise ScratchnetError(
            f"--jax-python: there is no program {jax}: make one by `python -m venv DIR && "
            "DIR/bin/pip install jax` and name DIR/bin/python"
        )
    return Plan(
        sections=sections or (),
        batches=_numbers("--batch", batch),
        threads=_numbers("--threads", threads),
        rounds=rounds,
        backends=[] if backend is None else list(dict.fromkeys(backend.split(","))),
        shapes=shapes,
        dtype={"float32": torch.float32, "float64": torch.float64}[dtype],
        compiled=compiled,
        jax=jax,
        quick=quick,
        layer=layer,
        arguments=options.key_values(arguments) if arguments else None,
        inputs=[options.sizes("--input", text) for text in inputs or []],
    )


def _numbers(option: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ScratchnetError(f"{option} expects numbers such as 2,40, got {text!r}") from None


def _run(screen: Console, plan: Plan) -> Result:
    from scratchnet.bench import Bench
    from scratchnet.cli.progress import bar

    with bar(screen, "{task.percentage:3.0f}%", "{task.fields[what]}") as progress:
        task = progress.add_task("measuring", total=None, what="getting ready")
        measuring = Bench(plan)
        progress.update(task, total=measuring.work)
        return measuring.run(
            shlex.join(["scratchnet", *sys.argv[1:]]),
            lambda done, what: progress.update(task, advance=done, what=what),
        )


def _write(result: Result, out: Path | None) -> Path:
    from scratchnet import bench
    from scratchnet.training import rundir

    if out is None:
        try:
            out = rundir.new_directory("bench")
        except OSError as error:
            raise ScratchnetError(
                f"cannot make the directory {error.filename}: {error.strerror}"
            ) from error
    bench.write_report(result, out)
    return out


def _show(screen: Console, result: Result) -> None:
    from scratchnet.bench import machine, tables
    from scratchnet.cli.tables import table

    def say(line: str, style: str | None = None) -> None:
        screen.print(line, markup=False, highlight=False, soft_wrap=True, style=style)

    for line in [*machine.lines(result.machine), *result.subjects]:
        say(line, "dim")
    for one in tables.tables(result):
        say("")
        say(one.title, "bold")
        if one.rows:
            screen.print(table(one.head, one.rows))
        for note in one.notes:
            say(note)
    say("")
    for remark in result.remarks:
        say(remark)
