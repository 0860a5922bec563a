"""Denoising picture files and tensors of any size with a trained network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scratchnet.data import find_pictures
from scratchnet.errors import DataError, ScratchnetError
from scratchnet.imagefile import ImageData, Pixels, check_suffix, read_image, write_image
from scratchnet.module import Module
from scratchnet.report import before_after
from scratchnet.tiling import TILE, Geometry, geometry, tiled

OnPixels = Callable[[int], None]


class Denoiser:
    """A network, ready for pictures of any size.

    Args:
        model: maps (N, 3, H, W) with values 0..1 to the same shape, at least for sides of some
            multiple.
        tile: side of the tiles that large pictures are cut into, in pixels.

    Attributes:
        form: the network's :class:`~scratchnet.tiling.Geometry`.

    Raises:
        ScratchnetError: if ``tile`` is below 1 or the network does not keep the size of pictures.
    """

    def __init__(self, model: Module, *, tile: int = TILE) -> None:
        if tile < 1:
            raise ScratchnetError(f"tile must be at least 1 pixel, got {tile}")
        self.model, self.tile = model.eval(), tile
        self.form: Geometry = geometry(model)
        self.dtype = next((value.dtype for value, _ in model.param()), torch.float32)

    def pixels(self, pixels: Pixels, on_pixels: OnPixels = lambda done: None) -> Pixels:
        """Denoise a decoded picture; alpha passes through.

        A grey picture is shown to the network with three equal channels, and the mean of what comes
        out is kept.

        Args:
            pixels: (H, W, C), uint8 or uint16, C from 1 to 4 as in
                :class:`~scratchnet.imagefile.ImageData`.
            on_pixels: called after each tile with the number of pixels it was.

        Returns:
            A new array of the same shape and dtype.
        """
        height, width, channels = pixels.shape
        colours = 1 if channels <= 2 else 3
        white = float(np.iinfo(pixels.dtype).max)
        out = pixels.copy()
        m = self.form.multiple
        # Mirrored, so that the added rim looks like more of the picture; "symmetric" does a single
        # pixel too.
        padded = np.pad(
            pixels[..., :colours], ((0, -height % m), (0, -width % m), (0, 0)), mode="symmetric"
        )

        def read(rows: slice, columns: slice) -> Tensor:
            values = torch.from_numpy(padded[rows, columns].astype(np.float32))
            x = values.to(self.dtype).div_(white).permute(2, 0, 1)[None]
            return x.expand(-1, 3, -1, -1).contiguous() if colours == 1 else x.contiguous()

        def write(rows: slice, columns: slice, y: Tensor) -> None:
            if colours == 1:
                y = y.mean(dim=1, keepdim=True)
            values = y[0].permute(1, 2, 0).mul(white).round_().clamp_(0, white).numpy()
            region = out[rows, columns, :colours]  # ends where the picture does, without the rim
            region[...] = values[: region.shape[0], : region.shape[1]].astype(pixels.dtype)

        for done in tiled(
            self.model.forward, read, write, padded.shape[:2], form=self.form, tile=self.tile
        ):
            on_pixels(done)
        return out

    def tensor(self, x: Tensor) -> Tensor:
        """Denoise a batch of pictures in tiles.

        Args:
            x: (N, 3, H, W), floating point, values 0..1, H and W multiples of ``form.multiple``.

        Returns:
            A new tensor of the same shape, as the network gives it: neither rounded nor clipped.

        Raises:
            DataError: if the shape is another.
        """
        m = self.form.multiple
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % m or x.shape[3] % m:
            raise DataError(
                f"expected pictures (N, 3, H, W) with H and W multiples of {m}, "
                f"got {tuple(x.shape)}"
            )
        out = torch.empty_like(x, memory_format=torch.contiguous_format)

        def write(rows: slice, columns: slice, y: Tensor) -> None:
            out[:, :, rows, columns] = y

        size = (x.shape[2], x.shape[3])
        for _ in tiled(
            self.model.forward,
            lambda r, c: x[:, :, r, c],
            write,
            size,
            form=self.form,
            tile=self.tile,
        ):
            pass
        return out


@dataclass(frozen=True)
class Job:
    """A picture to denoise and where the result goes."""

    source: Path
    target: Path


def denoise_file(
    denoiser: Denoiser,
    job: Job,
    *,
    compare: bool = False,
    on_share: Callable[[float], None] = lambda share: None,
) -> None:
    """Denoise a picture file.

    Args:
        denoiser: the network.
        job: which file, and where to.
        compare: also write :func:`compare_path` of the target, before and after side by side.
        on_share: called now and then with the share of the work, from 0 to 1, done since the last
            call.

    Raises:
        DataError: if the file cannot be read, or the target's format cannot hold the picture.
    """
    noisy = read_image(job.source)
    total = noisy.pixels.shape[0] * noisy.pixels.shape[1]
    clean = ImageData(
        denoiser.pixels(noisy.pixels, lambda done: on_share(done / total)), noisy.info
    )
    write_image(job.target, clean)
    if compare:
        before_after(compare_path(job.target), noisy.pixels, clean.pixels)


def compare_path(target: Path) -> Path:
    """Where the picture of before and after goes: ``NAME-compare.png`` beside ``NAME.*``."""
    return target.with_name(f"{target.stem}-compare.png")


def plan(
    inputs: Sequence[Path], out: Path, *, force: bool = False, compare: bool = False
) -> list[Job]:
    """Decide which file becomes which, before anything is written.

    One picture: ``out`` is the file to write, or an existing folder to write into under the same
        name. Several
    pictures, or a folder: ``out`` is a folder, made if need be; the pictures of an input folder
        keep their places
    below it.

    Args:
        inputs: picture files and folders.
        out: a file or a folder.
        force: allow files that exist to be replaced (never the inputs themselves).
        compare: the pictures of before and after will be written too.

    Raises:
        DataError: if an input is missing, two would be written to one file, an input would be
            overwritten, a file exists already without ``force``, or an ending names no picture
            format.
    """
    if not inputs:
        raise DataError(
            "nothing to denoise: give at least one picture or folder, then where to write"
        )
    single = len(inputs) == 1 and not inputs[0].is_dir() and not out.is_dir()
    jobs = []
    for path in inputs:
        if not path.exists():
            raise DataError(f"there is no picture or folder {path}")
        if path.is_dir():
            found = [p for p in find_pictures(path) if not _within(p, out)]
            if not found:
                raise DataError(f"{path}: no pictures found outside the output folder {out}")
            jobs += [Job(p, out / p.relative_to(path)) for p in found]
        else:
            jobs.append(Job(path, out if single else out / path.name))
    if not single and out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, but several pictures need a folder to go to")
    _check_targets(jobs, force=force, compare=compare)
    return jobs


def _check_targets(jobs: Sequence[Job], *, force: bool, compare: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    claimed: dict[Path, Path] = {}
    existing = []
    for job in jobs:
        check_suffix(job.target)
        for path in (job.target, compare_path(job.target)) if compare else (job.target,):
            target = path.resolve()
            if target in sources:
                raise DataError(f"{path} is an input and would be overwritten: name another OUT")
            if target in claimed:
                raise DataError(
                    f"{claimed[target]} and {job.source} would both be written to {path}: "
                    "denoise them into different folders"
                )
            claimed[target] = job.source
            if path.exists():
                existing.append(path)
    if existing and not force:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise DataError(
            f"{existing[0]}{more} exists already: name another OUT, or replace it with --force"
        )


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
