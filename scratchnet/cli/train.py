"""``scratchnet train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scratchnet.cli import options
from scratchnet.errors import ScratchnetError
from scratchnet.io.files import read_json
from scratchnet.training.config import CODE, EVERY, PRESETS, TrainConfig, preset, start_from

RUN, MODEL, OPTIMIZER = "Run", "Network", "Optimizer"


def _presets(field: str) -> str:
    """The presets' values of a setting, as a help text shows defaults."""
    values = {name: getattr(config, field) for name, (_, config) in PRESETS.items()}
    if len(set(map(str, values.values()))) == 1:
        default = next(iter(values.values()))
        return "default: the optimizer's own" if default is None else f"default: {default}"
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _option(
    text: str, panel: str, field: str | None = None, *, flag: str | None = None, **kwargs: Any
) -> Any:
    if field is not None:
        text += f" [{_presets(field)}]"
    names = () if flag is None else (flag,)
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **kwargs)


def train(
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Settings to start from [default: quick]. "
            + " ".join(f"`{n}`: {what}." for n, (what, _) in PRESETS.items()),
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        _option(
            "Settings to start from: the `config.json` or the weights of an earlier run.",
            RUN,
            metavar="FILE",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the run. [default: a new runs/PRESET-N]",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, _option("Go on with the run in --out from its last checkpoint.", RUN, flag="--resume")
    ] = False,
    checkpoint_every: Annotated[
        str,
        _option(
            "How often to keep a state to go on from, besides after each epoch: a number of steps, "
            f"or of minutes as in `5m`. [default: {EVERY}]",
            RUN,
            metavar="N",
        ),
    ] = EVERY,
    force: Annotated[bool, _option("Replace the run in --out.", RUN, flag="--force")] = False,
    epochs: Annotated[
        int | None, _option("Passes over all pairs.", RUN, "epochs", metavar="N", min=1)
    ] = None,
    augment: Annotated[
        bool | None,
        _option("Exchange input and target, mirror and turn both, at random.", RUN),
    ] = None,
    seed: Annotated[
        int | None,
        _option(
            "Decides initial weights, images, noise and order of batches.",
            RUN,
            "seed",
            metavar="N",
            min=0,
        ),
    ] = None,
    data: options.Data = None,
    images: options.Images = None,
    noisy_a: options.NoisyA = None,
    noisy_b: options.NoisyB = None,
    noise: Annotated[
        str | None,
        _option(
            "`subpixel`, `gaussian:SIGMA` or `gaussian:LOW-HIGH` (grey levels), "
            "`poisson:PEAK` (photons at white) or `impulse:P` (share of pixels).",
            options.DATA,
            "noise",
            metavar="NAME",
        ),
    ] = None,
    n_train: Annotated[
        int | None,
        _option(
            "Training pairs (with --data: at most).", options.DATA, "n_train", metavar="N", min=1
        ),
    ] = None,
    n_val: Annotated[
        int | None,
        _option(
            "Validation images (with --data: at most).", options.DATA, "n_val", metavar="N", min=1
        ),
    ] = None,
    size: Annotated[
        int | None,
        _option(
            "Side of the images that are cut, in pixels.",
            options.DATA,
            "size",
            metavar="N",
            min=1,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _option(
            "Network; `scratchnet info` lists them. Or the name of an installed layer that is one, "
            "or a `FILE.py` that defines `model(*, generator=None)` and returns one.",
            MODEL,
            "model",
            metavar="NAME",
        ),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        _option(
            "An argument of the network, such as `depth=7`; repeat for more.",
            MODEL,
            metavar="KEY=VALUE",
        ),
    ] = None,
    dtype: Annotated[
        str | None, _option("`float32` or `float64`.", MODEL, "dtype", metavar="NAME")
    ] = None,
    optimizer: Annotated[
        str | None,
        _option(
            "Optimizer; `scratchnet info` lists them. Or `PACKAGE.MODULE:CLASS`, such as "
            "`torch.optim:AdamW`.",
            OPTIMIZER,
            "optimizer",
            metavar="NAME",
        ),
    ] = None,
    optimizer_arg: Annotated[
        list[str] | None,
        _option(
            "An argument of the optimizer, such as `amsgrad=true`; repeat for more.",
            OPTIMIZER,
            metavar="KEY=VALUE",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        _option("Loss; `scratchnet info` lists them.", OPTIMIZER, "loss", metavar="NAME"),
    ] = None,
    lr: Annotated[float | None, _option("Learning rate.", OPTIMIZER, "lr", metavar="X")] = None,
    schedule: Annotated[
        str | None,
        _option(
            "How lr changes; `scratchnet info` lists the schedules.",
            OPTIMIZER,
            "schedule",
            metavar="NAME",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, _option("Pairs a step.", OPTIMIZER, "batch_size", metavar="N", min=1)
    ] = None,
    momentum: Annotated[
        float | None,
        _option("Momentum.", OPTIMIZER, "momentum", metavar="X"),
    ] = None,
    dampening: Annotated[
        float | None,
        _option("Dampening.", OPTIMIZER, "dampening", metavar="X"),
    ] = None,
    nesterov: Annotated[
        bool | None, _option("Nesterov momentum (of sgd: needs momentum).", OPTIMIZER)
    ] = None,
    weight_decay: Annotated[
        float | None,
        _option("L2 penalty.", OPTIMIZER, "weight_decay", metavar="X"),
    ] = None,
    betas: Annotated[
        tuple[float, float] | None,
        _option("Decay rates of means.", OPTIMIZER, "betas", metavar="B1 B2"),
    ] = None,
    eps: Annotated[
        float | None,
        _option("Epsilon.", OPTIMIZER, "eps", metavar="X"),
    ] = None,
    backend: options.Backend = None,
    threads: options.Threads = None,
    verify: options.Verify = False,
) -> None:
    """Train a denoiser from pairs of noisy images; no clean ones are needed.

    The run's folder then holds the weights (`model.safetensors`), `samples.png` with images
    before and after, `psnr.png`, `metrics.csv`, and `config.json`, from which the run can be
    repeated. With the same seed, backend and number of threads the weights are the same, bit for
    bit, and so are those of a run that was interrupted, by Ctrl-C or anything else, and resumed.

    **Examples**

    `scratchnet train` – a first denoiser, on built-in photographs, in about a minute

    `scratchnet train --noise gaussian:25 --images ~/Pictures` – for noise like a camera's, from
    images of your own

    `scratchnet train --preset paper --data DIR` – the paper's network and settings

    `scratchnet train --preset best --data DIR` – a larger network, for better images

    `scratchnet train --resume --out runs/quick-1` – go on with an interrupted run
    """
    from rich.markup import escape

    from scratchnet.cli.console import console
    from scratchnet.cli.progress import TrainingProgress
    from scratchnet.training import rundir, runs

    given = {
        "epochs": epochs, "augment": augment, "seed": seed,
        **options.texts(data=data, images=images, noisy_a=noisy_a, noisy_b=noisy_b),
        "noise": noise, "n_train": n_train, "n_val": n_val, "size": size,
        "model": model, "dtype": dtype,
        "model_args": options.key_values(model_arg) if model_arg else None,
        "optimizer": optimizer, "lr": lr, "schedule": schedule, "batch_size": batch_size,
        "optimizer_args": options.key_values(optimizer_arg) if optimizer_arg else None,
        "loss": loss,
        "momentum": momentum, "dampening": dampening, "nesterov": nesterov,
        "weight_decay": weight_decay, "betas": betas, "eps": eps,
        "backend": backend, "threads": threads,
    }  # fmt: skip
    if resume:
        _only_for_resume(given, preset_name, config, out, force)
    settings = _settings(preset_name, config, out, given, resume=resume, force=force)
    screen = console()
    with options.machine(settings.backend, settings.threads, verify, apply=False):
        try:
            with TrainingProgress(screen) as progress:
                run = runs.train(
                    settings, out, resume=resume, force=force,
                    checkpoint_every=checkpoint_every, callbacks=[progress],
                )  # fmt: skip
        except runs.Interrupted as stop:
            screen.print(f"\n{stop}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(128 + stop.signal) from stop
    last = run.history[-1]
    gain = last.val_psnr - run.noisy.psnr
    where = escape(str(run.out))
    screen.print(
        f"[bold]{last.val_psnr:.2f} dB[/bold], {gain:+.2f} dB against the noisy input\n"
        f"in {where}: {', '.join(rundir.TO_LOOK_AT)}\n"
        f"next: scratchnet denoise --weights {where} IN.png OUT.png",
        highlight=False,
        soft_wrap=True,
    )


def _settings(
    preset_name: str | None,
    config: Path | None,
    out: Path | None,
    given: dict[str, Any],
    *,
    resume: bool,
    force: bool,
) -> TrainConfig:
    from scratchnet.training import rundir, runs

    if resume and out is not None:
        return runs.resumable(out, **given)
    found = start_from(preset_name, config, preset("quick"), **given)
    if out is not None:
        rundir.check_out(out, force=force)
    return found


def _only_for_resume(
    given: dict[str, Any],
    preset_name: str | None,
    config: Path | None,
    out: Path | None,
    force: bool,
) -> None:
    """Refuse options that would make a resumed run another run."""
    from scratchnet.training import rundir

    file = out / rundir.CONFIG if out is not None else None
    recorded = read_json(file) if file is not None and file.is_file() else {}
    same = {name for name in CODE if recorded.get(name) == given[name]}  # code has to be named
    free = {"epochs", "backend", "threads", *same}
    extra = [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if value is not None and name not in free
    ]
    extra += ["--preset"] * (preset_name is not None) + ["--config"] * (config is not None)
    extra += ["--force"] * force
    if out is None or extra:
        raise ScratchnetError(
            "--resume goes on with the run in --out DIR under that run's own settings: "
            + (f"leave out {', '.join(extra)}" if extra else "name it with --out")
        )
