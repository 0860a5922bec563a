"""``scratchnet evaluate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scratchnet.cli import options
from scratchnet.errors import ScratchnetError

if TYPE_CHECKING:
    from rich.table import Table

    from scratchnet.denoise.evaluation import Scores


def evaluate(
    weights: Annotated[
        str | None,
        typer.Argument(metavar="WEIGHTS", help=options.WEIGHTS),
    ] = None,
    data: options.Data = None,
    images: options.Images = None,
    noisy_a: options.NoisyA = None,
    noisy_b: options.NoisyB = None,
    noise: options.Noise = None,
    n_val: options.NVal = None,
    size: options.Size = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.png",
            help="Save a sheet of images: noisy, denoised, clean.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    self_ensemble: Annotated[
        bool,
        typer.Option(
            "--self-ensemble",
            help="Measure the network also as `scratchnet denoise --self-ensemble` would use it.",
        ),
    ] = False,
    model: options.OwnModel = None,
    backend: options.Backend = None,
    threads: options.Threads = None,
    verify: options.Verify = False,
) -> None:
    """Measure a denoiser, beside the noisy input and two classical denoisers.

    PSNR comes in both current definitions: pooled is that of the mean squared error over
    everything, per image is the mean of the images' own. Unless options say otherwise the data
    are those that the weights were trained with; no validation image is among the training ones.

    **Examples**

    `scratchnet evaluate runs/quick-1` – the figures of a run

    `scratchnet evaluate runs/quick-1 --noise gaussian:25 --out sheet.png` – on other noise, and
    with images

    `scratchnet evaluate noise2noise --data DIR --json`
    """
    from scratchnet.cli.console import console
    from scratchnet.cli.progress import bar
    from scratchnet.denoise import evaluation
    from scratchnet.training import checkpoint, runs, sources

    if out is not None and out.suffix.lower() != ".png":
        raise ScratchnetError(f"--out: expected a file that ends in .png, got {out}")
    screen = console()
    path = checkpoint.find_weights(weights)
    settings = runs.settings_of(path).with_options(
        **options.texts(data=data, images=images, noisy_a=noisy_a, noisy_b=noisy_b),
        noise=noise, n_val=n_val, size=size,
    )  # fmt: skip
    with options.machine(backend, threads, verify):
        network = checkpoint.load(path, code=model)
        with bar(screen) as progress:
            task = progress.add_task("preparing images", total=None)
            pairs = sources.load_validation(settings)
            methods = evaluation.all_methods(network, settings.model, ensemble=self_ensemble)
            progress.update(task, total=len(methods), description="noisy input")
            scores = {}
            for name, result in evaluation.evaluate(methods, pairs):
                scores[name] = result
                progress.update(task, advance=1, description=f"after {name}")
            if out is not None:
                evaluation.sample_sheet(out, pairs, methods)
    if as_json:
        _print_json(str(path), pairs.source, pairs.val_is_clean, scores)
    else:
        screen.print(_table(scores))
        against = "" if pairs.val_is_clean else " (PSNR against a second noisy image: it stays low)"
        screen.print(pairs.source + against, markup=False, style="dim", soft_wrap=True)


def _print_json(weights: str, source: str, clean: bool, scores: dict[str, Scores]) -> None:
    import json

    methods = {name: dataclasses.asdict(value) for name, value in scores.items()}
    print(
        json.dumps(
            {"weights": weights, "data": source, "target_is_clean": clean, "methods": methods},
            indent=2,
        )
    )


def _table(scores: dict[str, Scores]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("PSNR pooled", "PSNR per image", "SSIM"):
        table.add_column(heading, justify="right")
    best = max(scores.values(), key=lambda s: s.psnr)
    for name, value in scores.items():
        table.add_row(
            name,
            f"{value.psnr:.2f} dB",
            f"{value.psnr_per_image:.2f} dB",
            "–" if value.ssim is None else f"{value.ssim:.4f}",
            style="green" if value is best else "",
        )
    return table
