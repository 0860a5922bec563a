"""``scratchnet bench``."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Literal

import typer

from scratchnet.cli import options
from scratchnet.cli.options import option
from scratchnet.errors import ScratchnetError

CONTESTANTS = "Contestants"

Dtype = Literal["float32", "float64"]


def bench(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION",
            help="Any of `step` (a training step), `inference`, `convolutions` (single ones), "
            "`float64` (the step and the convolutions in double precision), `course` (the backend "
            "`reference`, and first, naive programs), `memory`, `zoo` (each operation with a "
            "kernel, and networks). [default: all but `zoo`]",
        ),
    ] = None,
    quick: Annotated[
        bool, option("A first look in half the time: few rounds.", None, "--quick")
    ] = False,
    batch: Annotated[
        str | None,
        option("Images a step.", metavar="N[,N]...", show_default="40, for `step` 2 and 256, too"),
    ] = None,
    threads: Annotated[
        str | None,
        option(
            "Threads to compute with.", metavar="N[,N]...", show_default="all, for `step` 1, too"
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        option("Rounds of each section.", metavar="N", min=1, show_default="5 to 40, by section"),
    ] = None,
    shapes: Annotated[
        str, option("Only the convolutions whose name contains this.", metavar="TEXT")
    ] = "",
    dtype: Annotated[
        Dtype, option("Of `step`, `inference`, `convolutions`, `memory` and `--layer`.")
    ] = "float32",
    backend: Annotated[
        str | None,
        option(
            "Backends of scratchnet that take part; the others are compared with the first.",
            CONTESTANTS,
            metavar="NAME[,NAME]...",
            show_default="the fastest that can",
        ),
    ] = None,
    compiled: Annotated[
        bool,
        option("Let torch.compile take part, which takes minutes.", CONTESTANTS, "--compile"),
    ] = False,
    rivals: Annotated[
        list[str] | None,
        option(
            "Let another training step take part: a file that defines `rival()`, as those in "
            "`benchmarks/`, or `package.module:FUNCTION`; repeatable.",
            CONTESTANTS,
            "--rival",
            metavar="FILE.py",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        option("Measure this layer (or `package.module:Class`) and nothing else.", metavar="NAME"),
    ] = None,
    op: Annotated[
        str | None, option("Measure this operation and nothing else.", metavar="NAME")
    ] = None,
    arguments: options.Arguments = None,
    inputs: options.Inputs = None,
    out: options.ReportOut = None,
    force: options.ForceReport = False,
    as_json: options.AsJson = False,
    verify: options.Verify = False,
) -> None:
    """Measure on this machine how fast scratchnet is, and torch at the same.

    All take turns in one process, round by round, so that whatever else runs disturbs everyone
    alike; and each is timed only after its results were found equal. Shown are the fastest round,
    the round in the middle, and both as multiples of scratchnet's. Ctrl-C ends it early, with what
    was measured by then.

    **Examples**

    `scratchnet bench` – everything, in about three minutes

    `scratchnet bench step --batch 40 --rounds 60 --compile` – the training step, torch.compile, too

    `scratchnet bench --layer Conv2d --arg in_channels=16 --arg out_channels=16 --arg kernel_size=3`

    `scratchnet bench --layer my-layer --input 16,8,64,64` – a plugin's layer, on each backend

    `scratchnet bench --op max_pool2d` – an operation, on each backend that implements it
    """
    import torch

    from scratchnet.bench import Bench, Plan, text, write_report
    from scratchnet.cli.console import console
    from scratchnet.cli.progress import bar
    from scratchnet.training import rundir

    if out is not None:
        rundir.check_out(out, force=force)
    if layer is None and op is None and (arguments or inputs):
        raise ScratchnetError("--arg and --input go with --layer NAME or --op NAME")
    plan = Plan(
        sections=sections or (),
        batches=_numbers("--batch", batch),
        threads=_numbers("--threads", threads),
        rounds=rounds,
        backends=[] if backend is None else list(dict.fromkeys(backend.split(","))),
        shapes=shapes,
        dtype={"float32": torch.float32, "float64": torch.float64}[dtype],
        compiled=compiled,
        rivals=rivals or (),
        quick=quick,
        layer=layer,
        op=op,
        arguments=options.key_values(arguments) if arguments else None,
        inputs=[options.sizes("--input", shape) for shape in inputs or []],
    )
    screen = console()
    first = None if "auto" in (plan.backends or ["auto"]) else plan.backends[0]
    with (
        options.machine(first, None, verify),
        bar(screen, "{task.percentage:3.0f}%", "{task.fields[what]}") as progress,
    ):
        task = progress.add_task("measuring", total=None, what="getting ready")
        measuring = Bench(plan)
        progress.update(task, total=measuring.work)
        result = measuring.run(
            shlex.join(["scratchnet", *sys.argv[1:]]),
            lambda done, what: progress.update(task, advance=done, what=what),
        )
    out = out or rundir.claim(None, "bench")
    write_report(result, out)
    if as_json:
        options.print_json(result.as_dict())
    else:
        options.say(screen, text(result))
        files = "bench.txt (these tables), bench.png, bench.json (every round)"
        options.say(screen, f"in {out}: {files}")
    if result.interrupted:
        raise typer.Exit(130)
    if result.wrong:
        raise ScratchnetError(
            f"computed something else than expected, and was not timed: {'; '.join(result.wrong)} "
            "(`scratchnet check` tests each layer and backend)"
        )


def _numbers(name: str, text: str | None) -> list[int] | None:
    return None if text is None else sorted({*options.sizes(name, text, "numbers such as 2,40")})
