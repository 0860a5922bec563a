"""``scratchnet denoise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scratchnet.cli import options


def denoise(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN", help="Images, or folders of them.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Where to write: a file for one image, a folder for several.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="WEIGHTS",
            help=options.WEIGHTS,
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also write NAME-compare.png: before and after, side by side."
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Replace files that exist. Inputs are never replaced."),
    ] = False,
    self_ensemble: Annotated[
        bool,
        typer.Option(
            "--self-ensemble",
            help="Take the mean over all ways to mirror and turn the image: a little better, 8 "
            "times as long.",
        ),
    ] = False,
    tile: options.Tile = None,
    model: options.OwnModel = None,
    backend: options.Backend = None,
    threads: options.Threads = None,
    verify: options.Verify = False,
) -> None:
    """Denoise images of any size and kind.

    Grey stays grey, transparency, 8 or 16 bits per channel, EXIF data and colour profile are kept.
    The format follows the ending of OUT: .png, .tif, .jpg, .webp and what else Pillow writes. Large
    images are done in tiles, without a seam and in bounded memory. OUT may be an existing folder,
    or with several inputs a new one; the images of an input folder keep their places below it.
    Nothing that exists is replaced without `--force`.

    **Examples**

    `scratchnet denoise night.jpg night-clean.png --compare`

    `scratchnet denoise *.png denoised/`

    `scratchnet denoise --weights runs/quick-1 ~/Pictures/scans cleaned/`
    """
    from rich.markup import escape

    from scratchnet.cli.console import console, printable
    from scratchnet.cli.progress import bar
    from scratchnet.denoise.denoiser import Denoiser, denoise_file
    from scratchnet.denoise.jobs import compare_path, plan
    from scratchnet.denoise.tiles import TILE
    from scratchnet.errors import ScratchnetError
    from scratchnet.training import checkpoint

    jobs = plan(inputs, out, force=force, compare=compare)
    screen, failures = console(), []
    with options.machine(backend, threads, verify):
        network = checkpoint.load(checkpoint.find_weights(weights), code=model)
        denoiser = Denoiser(network, tile=tile or TILE, ensemble=self_ensemble)
        with bar(screen, "{task.percentage:3.0f}%") as progress:
            whole = progress.add_task("images", total=len(jobs), visible=len(jobs) > 1)
            for job in jobs:
                task = progress.add_task(escape(printable(job.source.name)), total=1.0)
                try:
                    denoise_file(
                        denoiser,
                        job,
                        compare=compare,
                        on_share=lambda share, task=task: progress.update(task, advance=share),  # type: ignore[misc]
                    )
                except ScratchnetError as error:
                    failures.append(str(error))  # the other images are still worth doing
                except MemoryError:
                    failures.append(f"{job.source}: too little memory; try a smaller --tile")
                else:
                    options.say(screen, str(job.target))
                    if compare:
                        options.say(screen, str(compare_path(job.target)))
                progress.remove_task(task)
                progress.update(whole, advance=1)
    if len(failures) == 1:
        raise ScratchnetError(failures[0])
    if failures:
        raise ScratchnetError(
            f"{len(failures)} of {len(jobs)} images could not be done:\n  " + "\n  ".join(failures)
        )
