"""``scratchnet compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scratchnet.cli import options
from scratchnet.cli.options import option
from scratchnet.errors import ScratchnetError

TRAINING = "Training"

Layout = Literal["both", "contiguous", "channels-last"]


def compare(
    seeds: Annotated[
        int, option("Trainings, each from other weights and with batches in another order.", min=1)
    ] = 3,
    torch_seeds: Annotated[
        int | None, option("Fewer trainings for torch.nn.", min=1, show_default="as --seeds")
    ] = None,
    layout: Annotated[Layout, option("Memory layout of torch.nn; each is a contestant.")] = "both",
    memory: Annotated[bool, option("Measure peak memory, each in a process.")] = True,
    out: options.ReportOut = None,
    force: options.ForceReport = False,
    as_json: options.AsJson = False,
    preset_name: Annotated[
        str | None,
        option(
            "Settings of `scratchnet train` to start from. [default: the paper's, on few images]",
            TRAINING,
            "--preset",
            metavar="NAME",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        option("Settings to start from: the `config.json` of a run.", TRAINING, metavar="FILE"),
    ] = None,
    epochs: Annotated[int | None, option("Passes over all pairs.", TRAINING, min=1)] = None,
    model: Annotated[
        str | None, option("Network; `scratchnet info` lists them.", TRAINING, metavar="NAME")
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        option("Argument of the network; repeat for more.", TRAINING, metavar="KEY=VALUE"),
    ] = None,
    optimizer: Annotated[str | None, option("`sgd` or `adam`.", TRAINING)] = None,
    lr: Annotated[float | None, option("Learning rate.", TRAINING)] = None,
    momentum: Annotated[float | None, option("Momentum of sgd.", TRAINING)] = None,
    batch_size: Annotated[int | None, option("Pairs a step.", TRAINING, min=1)] = None,
    dtype: Annotated[
        str | None, option("Of the trainings.", TRAINING, metavar="float32|float64")
    ] = None,
    seed: Annotated[int | None, option("The first seed.", TRAINING, min=0)] = None,
    data: options.Data = None,
    images: options.Images = None,
    noisy_a: options.NoisyA = None,
    noisy_b: options.NoisyB = None,
    noise: options.Noise = None,
    n_train: Annotated[int | None, option("Training pairs, at most.", options.DATA, min=1)] = None,
    n_val: options.NVal = None,
    size: options.Size = None,
    backend: options.Backend = None,
    threads: options.Threads = None,
    verify: options.Verify = False,
) -> None:
    """Train the same network here and in torch.nn with autograd, and compare them.

    Same initial weights, same batches in the same order. What comes out is a table, a figure, and
    one page to open in a browser, on a phone too: do both compute the same (losses in float64,
    gradients in float32)? do both learn as much (over several seeds)? how fast, and in how much
    memory? Ctrl-C ends it early, with a report of what had been done.

    **Examples**

    `scratchnet compare` – a minute or two on built-in photographs

    `scratchnet compare --model unet --epochs 1 --seeds 1` – another network

    `scratchnet compare --preset paper --data DIR --torch-seeds 1 -o out` – the paper's experiment:
    hours, nearly all of them torch.nn's
    """
    from scratchnet import bench
    from scratchnet.cli.console import console
    from scratchnet.cli.progress import bar
    from scratchnet.cli.tables import table
    from scratchnet.training import rundir, sources
    from scratchnet.training.config import start_from

    if out is not None:
        rundir.check_out(out, force=force)
    settings = start_from(
        preset_name, config, bench.DEFAULTS,
        epochs=epochs, model=model, optimizer=optimizer, lr=lr, momentum=momentum,
        model_args=options.key_values(model_arg) if model_arg else None,
        batch_size=batch_size, dtype=dtype, seed=seed,
        **options.texts(data=data, images=images, noisy_a=noisy_a, noisy_b=noisy_b),
        noise=noise, n_train=n_train, n_val=n_val, size=size, backend=backend, threads=threads,
    )  # fmt: skip
    screen = console()
    layouts = ["contiguous", "channels-last"] if layout == "both" else [layout]
    how: dict[str, Any] = {"seeds": seeds, "torch_seeds": torch_seeds or seeds, "layouts": layouts}
    with options.machine(settings.backend, settings.threads, verify):
        with bar(screen, "{task.percentage:3.0f}%", "{task.fields[what]}") as progress:
            task = progress.add_task("comparing", total=None, what="preparing images")
            pairs = sources.load_data(settings)
            progress.update(task, total=bench.work(settings, pairs, **how))
            result = bench.compare(
                settings,
                pairs,
                **how,
                with_memory=memory,
                on_progress=lambda done, what: progress.update(task, advance=done, what=what),
            )
        out = out or rundir.claim(None, "compare")
        bench.write_report(result, out)
    if as_json:
        options.print_json(result.as_dict())
    else:
        options.say(screen, result.data.source, "dim")
        screen.print(table(*result.table()))
        options.say(screen, result.equality())
        options.say(screen, result.exactness())
        files = "report.html (open it in a browser), compare.png, samples.png, compare.json"
        options.say(screen, f"in {out}: {files}")
        if verify:
            both = "times and memory are of both"
            options.say(screen, f"verified: each kernel call equals the reference's; {both}")
    if result.interrupted:
        options.say(screen, "interrupted: this is what had been done")
        raise typer.Exit(130)
    if not result.losses.equal:
        raise ScratchnetError(
            "scratchnet and torch.nn do not compute the same: `scratchnet check` tests each layer"
        )
