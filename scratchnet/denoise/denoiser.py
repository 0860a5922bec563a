"""Denoising image files and tensors of any size with a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from scratchnet.denoise.ensemble import self_ensemble
from scratchnet.denoise.jobs import Job, compare_path
from scratchnet.denoise.scale import Scale, Values
from scratchnet.denoise.tiles import TILE, Geometry, geometry, tiled
from scratchnet.errors import DataError, ScratchnetError
from scratchnet.io.imagefile import ImageData, read_image, write_image
from scratchnet.io.stack import Stack, open_stack
from scratchnet.layers.module import Module
from scratchnet.report.figures import before_after

OnPixels = Callable[[int], None]


class Denoiser:
    """A network, ready for images of any size.

    Args:
        model: maps (N, 3, H, W) with values 0..1 to the same shape, at least for sides of some
            multiple.
        tile: side of the tiles that large images are cut into, in pixels.
        ensemble: average the network's outputs over all 8 ways to mirror and turn an image:
            somewhat better, 8 times as long
            (:func:`~scratchnet.denoise.ensemble.self_ensemble`).

    Attributes:
        form: the network's :class:`~scratchnet.denoise.tiles.Geometry`.

    Raises:
        ScratchnetError: if ``tile`` is below 1 or the network does not keep the size of images.
    """

    def __init__(self, model: Module, *, tile: int = TILE, ensemble: bool = False) -> None:
        if tile < 1:
            raise ScratchnetError(f"tile must be at least 1 pixel, got {tile}")
        self.model, self.tile = model.eval(), tile
        self.form: Geometry = geometry(model)
        self.ensemble = ensemble
        self.dtype = next((value.dtype for value, _ in model.param()), torch.float32)

    def _apply(self, x: Tensor) -> Tensor:
        forward = self.model.forward
        return (self_ensemble(forward) if self.ensemble else forward)(x)

    def pixels(
        self,
        pixels: Values,
        on_pixels: OnPixels = lambda done: None,
        *,
        scale: Scale | None = None,
    ) -> Values:
        """Denoise a decoded image; alpha passes through.

        A grey image is given to the network as three equal channels, and the mean of its output's
        channels is kept.

        Args:
            pixels: (H, W, C), integers or floating-point, C from 1 to 4 as in
                :class:`~scratchnet.io.imagefile.ImageData`.
            on_pixels: called after each tile with the number of pixels it was.
            scale: which values the network sees as 0 and 1; by default those of
                :meth:`Scale.of <scratchnet.denoise.scale.Scale.of>`. The images of a stack share
                one. What lies outside is added again afterwards.

        Returns:
            A new array of the same shape and dtype, in the same range.

        Raises:
            DataError: there is NaN or infinity in the image, or in the network's output.
        """
        height, width, channels = pixels.shape
        colours = 1 if channels <= 2 else 3
        scale = scale or Scale.of(pixels[..., :colours])
        out = pixels.copy()
        m = self.form.multiple
        # Mirrored, so that the added rim looks like more of the image; "symmetric" does a single
        # pixel too.
        padded = np.pad(
            pixels[..., :colours], ((0, -height % m), (0, -width % m), (0, 0)), mode="symmetric"
        )

        def read(rows: slice, columns: slice) -> Tensor:
            unit, _ = scale.to_unit(padded[rows, columns])
            x = torch.from_numpy(unit).to(self.dtype).permute(2, 0, 1)[None]
            return x.expand(-1, 3, -1, -1).contiguous() if colours == 1 else x.contiguous()

        def write(rows: slice, columns: slice, y: Tensor) -> None:
            if not y.isfinite().all():
                raise DataError(
                    "the network's output is not finite here: use other weights, or --backend "
                    "reference --verify to see whether a kernel is to blame"
                )
            if colours == 1:
                y = y.mean(dim=1, keepdim=True)
            region = out[rows, columns, :colours]  # ends where the image does, without the rim
            unit = y[0].permute(1, 2, 0).numpy()[: region.shape[0], : region.shape[1]]
            _, outside = scale.to_unit(pixels[rows, columns, :colours])
            region[...] = scale.from_unit(unit, outside, pixels.dtype)

        for done in tiled(
            self._apply, read, write, padded.shape[:2], form=self.form, tile=self.tile
        ):
            on_pixels(done)
        return out

    def tensor(self, x: Tensor) -> Tensor:
        """Denoise a batch of images in tiles.

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
                f"expected images (N, 3, H, W) with H and W multiples of {m}, got {tuple(x.shape)}"
            )
        out = torch.empty_like(x, memory_format=torch.contiguous_format)

        def write(rows: slice, columns: slice, y: Tensor) -> None:
            out[:, :, rows, columns] = y

        size = (x.shape[2], x.shape[3])
        for _ in tiled(
            self._apply,
            lambda r, c: x[:, :, r, c],
            write,
            size,
            form=self.form,
            tile=self.tile,
        ):
            pass
        return out


def denoise_file(
    denoiser: Denoiser,
    job: Job,
    *,
    compare: bool = False,
    on_share: Callable[[float], None] = lambda share: None,
) -> None:
    """Denoise an image file, or a TIFF stack image by image.

    Args:
        denoiser: the network.
        job: which file, and where to.
        compare: also write :func:`compare_path` of the target, before and after side by side.
        on_share: called now and then with the share of the work, from 0 to 1, done since the last
            call.

    Raises:
        DataError: if the file cannot be read, or the target's format cannot hold the image.
    """
    with open_stack(job.source) as stack:
        if stack is not None:
            before, after = _denoise_stack(denoiser, job, stack, on_share)
        else:
            noisy = read_image(job.source)
            total = noisy.pixels.shape[0] * noisy.pixels.shape[1]
            before = noisy.pixels
            after = denoiser.pixels(before, lambda done: on_share(done / total))
            write_image(job.target, ImageData(after, noisy.info))
    if compare:
        before_after(compare_path(job.target), before, after)


def _denoise_stack(
    denoiser: Denoiser, job: Job, stack: Stack, on_share: Callable[[float], None]
) -> tuple[Values, Values]:
    """Denoise a stack image by image, on one scale for all; return one of them before and after,
    with 8 bits.
    """
    scale = Scale.of_all(stack)
    total = stack.images * stack.shape[0] * stack.shape[1]
    shown: list[Values] = []

    def images() -> Iterator[Values]:
        for number, before in enumerate(stack):
            after = denoiser.pixels(before, lambda done: on_share(done / total), scale=scale)
            if number == stack.images // 2:
                shown.extend((scale.shown(before), scale.shown(after)))
            yield after

    stack.write(job.target, images())
    return shown[0], shown[1]
