"""``scratchnet compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scratchnet.cli import options
from scratchnet.errors import ScratchnetError

if TYPE_CHECKING:
    from rich.console import Console

    from scratchnet.compare import Comparison
    from scratchnet.training.config import TrainConfig

TRAINING = "Training"

Layout = Literal["both", "contiguous", "channels-last"]


def compare(
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Trainings, each from other weights and with batches in another order."
        ),
    ] = 3,
    torch_seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Fewer trainings for torch.nn.", show_default="as --seeds"),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(help="Memory layout of torch.nn: each is a contestant of its own."),
    ] = "both",
    memory: Annotated[
        bool, typer.Option(help="Measure peak memory, in a process for each contestant.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the report.",
            show_default="runs/compare-1, -2, ...",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report in --out.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON instead of a table.")
    ] = False,
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Settings of `scratchnet train` to start from, such as `paper`.",
            show_default="the paper's network, learning with momentum on a few images",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings to start from: the `config.json` of a run.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over all pairs.", rich_help_panel=TRAINING)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Network; `scratchnet info` lists them.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An argument of the network, such as `channels=16`; repeat for more.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="`sgd` or `adam`.", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate.", rich_help_panel=TRAINING)
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Momentum of sgd.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pairs a step.", rich_help_panel=TRAINING)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Of the trainings: `float32` or `float64`.", rich_help_panel=TRAINING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The first seed.", rich_help_panel=TRAINING)
    ] = None,
    data: options.Data = None,
    images: options.Images = None,
    noisy_a: options.NoisyA = None,
    noisy_b: options.NoisyB = None,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Noise to add where the images are clean, as for `scratchnet train`.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    n_train: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training pairs (with --data: at most, and else all).",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    n_val: Annotated[
        int | None,
        typer.Option(min=1, help="Validation images (likewise).", rich_help_panel=options.DATA),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the images that are cut, in pixels.",
            rich_help_panel=options.DATA,
            show_default="32",
        ),
    ] = None,
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
    from scratchnet.cli.console import console
    from scratchnet.training import rundir

    if out is not None:
        rundir.check_out(out, force=force)
    settings = _settings(preset_name, config).with_options(
        epochs=epochs, model=model, optimizer=optimizer, lr=lr, momentum=momentum,
        model_args=options.key_values(model_arg) if model_arg else None,
        batch_size=batch_size, dtype=dtype, seed=seed,
        **options.texts(data=data, images=images, noisy_a=noisy_a, noisy_b=noisy_b),
        noise=noise, n_train=n_train, n_val=n_val, size=size, backend=backend, threads=threads,
    )  # fmt: skip
    screen = console()
    with options.machine(settings.backend, settings.threads, verify):
        result = _run(screen, settings, seeds, torch_seeds, layout, memory)
        out = _write(result, out)
    if as_json:
        import json

        print(json.dumps(result.as_dict(), indent=2))
    else:
        from scratchnet.cli.tables import table
        from scratchnet.compare import summary

        screen.print(result.source, highlight=False, style="dim", soft_wrap=True)
        screen.print(table(*summary.table(result)))
        screen.print(summary.equality(result), highlight=False, soft_wrap=True)
        screen.print(summary.gradients(result), highlight=False, soft_wrap=True)
        screen.print(
            f"in {out}: report.html (open it in a browser), compare.png, samples.png, compare.json",
            highlight=False,
            soft_wrap=True,
        )
        if verify:
            screen.print(
                "verified: each kernel call equals the reference's; times and memory are of both",
                highlight=False,
                soft_wrap=True,
            )
    if result.interrupted:
        screen.print("interrupted: this is what had been done", highlight=False)
        raise typer.Exit(130)
    if not result.losses.equal:
        raise ScratchnetError(
            "scratchnet and torch.nn do not compute the same: `scratchnet check` tests each layer"
        )


def _settings(preset_name: str | None, config: Path | None) -> TrainConfig:
    from scratchnet.compare import DEFAULTS
    from scratchnet.training.config import load_config, preset

    if preset_name is not None and config is not None:
        raise ScratchnetError(
            "give either --preset or --config: each is a complete set of settings"
        )
    if config is not None:
        return load_config(config)
    return preset(preset_name) if preset_name is not None else DEFAULTS


def _run(
    screen: Console,
    settings: TrainConfig,
    seeds: int,
    torch_seeds: int | None,
    layout: Layout,
    memory: bool,
) -> Comparison:
    from scratchnet import compare
    from scratchnet.cli.progress import bar
    from scratchnet.training import sources

    layouts = ["contiguous", "channels-last"] if layout == "both" else [layout]
    with bar(screen, "{task.percentage:3.0f}%", "{task.fields[what]}") as progress:
        task = progress.add_task("comparing", total=None, what="preparing images")
        pairs = sources.load_data(settings)
        progress.update(
            task,
            total=compare.work(
                settings, pairs, seeds=seeds, torch_seeds=torch_seeds or seeds, layouts=layouts
            ),
        )
        return compare.compare(
            settings,
            pairs,
            seeds=seeds,
            torch_seeds=torch_seeds,
            layouts=layouts,
            with_memory=memory,
            on_progress=lambda done, what: progress.update(task, advance=done, what=what),
        )


def _write(result: Comparison, out: Path | None) -> Path:
    from scratchnet import compare
    from scratchnet.training import rundir

    if out is None:
        try:
            out = rundir.new_directory("compare")
        except OSError as error:
            raise ScratchnetError(
                f"cannot make the directory {error.filename}: {error.strerror}"
            ) from error
    compare.write_report(result, out)
    return out
