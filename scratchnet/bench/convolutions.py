"""The cases of single convolutions: shapes that networks are made of, and a few odd ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from scratchnet import backends as registry
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name, plural, short
from scratchnet.compare import rivals
from scratchnet.testing.tensors import normal

TORCH, TORCH_LAST = "torch", "torch channels_last"


class Shape(NamedTuple):
    """Of a convolution, with square images unless ``width`` is given."""

    batch: int
    in_channels: int
    out_channels: int
    kernel: int
    height: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    width: int | None = None

    @property
    def geometry(self) -> dict[str, Any]:
        """The arguments of a backend's convolution besides its tensors."""
        return {
            "stride": (self.stride,) * 2,
            "padding": (self.padding,) * 2,
            "dilation": (self.dilation,) * 2,
            "groups": self.groups,
        }


SHAPES = {
    "64->64 3x3, 56x56": Shape(8, 64, 64, 3, 56, padding=1),
    "64->64 1x1, 56x56": Shape(8, 64, 64, 1, 56),
    "64->128 3x3 stride 2, 56x56": Shape(8, 64, 128, 3, 56, stride=2, padding=1),
    "32->32 5x5, 28x28": Shape(8, 32, 32, 5, 28, padding=2),
    "64->64 3x3 dilation 2, 28x28": Shape(8, 64, 64, 3, 28, padding=2, dilation=2),
    "16->16 3x3, 32x32, batch 40": Shape(40, 16, 16, 3, 32, padding=1),
    "3->64 7x7 stride 2, 112x112, batch 4": Shape(4, 3, 64, 7, 112, stride=2, padding=3),
    "8->24 3x3, 64x64": Shape(8, 8, 24, 3, 64, padding=1),
    "24->3 3x3, 64x64": Shape(8, 24, 3, 3, 64, padding=1),
    "128->512 1x1, 14x14": Shape(8, 128, 512, 1, 14),
    "256->256 3x3, 14x14": Shape(8, 256, 256, 3, 14, padding=1),
    "512->512 3x3, 7x7": Shape(8, 512, 512, 3, 7, padding=1),
    "32->32 3x3 depthwise, 56x56": Shape(8, 32, 32, 3, 56, padding=1, groups=32),
    "7->13 3x3, 31x45": Shape(8, 7, 13, 3, 31, padding=1, width=45),
}


class Tensors:
    """Input, parameters, and the gradient of the output; the same each time.

    Args:
        shape: of the convolution.
        dtype: of all.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        n, c, o, k = shape[:4]
        self.x = normal((n, c, shape.height, shape.width or shape.height), dtype, 0)
        self.weight = normal((o, c // shape.groups, k, k), dtype, 1)
        self.bias = normal((o,), dtype, 2)
        sizes = (
            (size + 2 * shape.padding - shape.dilation * (k - 1) - 1) // shape.stride + 1
            for size in self.x.shape[2:]
        )
        self.grad_y = normal((n, o, *sizes), dtype, 3)


class OurConvolution:
    """Forward and backward by a backend, on tensors in channels_last memory format.

    Args:
        shape: of the convolution.
        dtype: of all tensors.
        backend: to compute with.

    Raises:
        BackendError: it does not support this convolution.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, backend: str) -> None:
        given, self.geometry = Tensors(shape, dtype), shape.geometry
        self.x, self.grad_y = (rivals.laid_out(t, True) for t in (given.x, given.grad_y))
        self.weight, self.bias = given.weight, given.bias
        self.backend: Backend = dispatch.resolve(
            "conv2d_forward",
            self.x,
            self.weight,
            self.bias,
            backend=None if backend == dispatch.AUTO else backend,
            **self.geometry,
        )

    def run(self) -> None:
        """Forward, and the gradients of all three."""
        self.backend.conv2d_forward(self.x, self.weight, self.bias, **self.geometry)
        self.backend.conv2d_backward(self.grad_y, self.x, self.weight, **self.geometry)

    def outcome(self) -> Outcome:
        """Return output and gradients."""
        y = self.backend.conv2d_forward(self.x, self.weight, self.bias, **self.geometry)
        return _named(y, self.backend.conv2d_backward(
            self.grad_y, self.x, self.weight, **self.geometry
        ))  # fmt: skip


def case(
    name: str,
    shape: Shape,
    threads: int,
    dtype: torch.dtype,
    *,
    backends: Sequence[str],
    section: str = "convolutions",
) -> Case:
    """One convolution, forward and backward, against torch's own in both memory formats."""

    def theirs(channels_last: bool) -> Contestant:
        t = Tensors(shape, dtype)
        return rivals.TorchConvolution(
            t.x, t.weight, t.bias, t.grad_y, shape.geometry, channels_last=channels_last
        )

    make: dict[str, Callable[[], Contestant]] = {
        our_name(backend): partial(OurConvolution, shape, dtype, backend) for backend in backends
    }
    make[TORCH], make[TORCH_LAST] = partial(theirs, False), partial(theirs, True)
    return Case(
        section,
        name,
        threads,
        dtype,
        make,
        partial(_exact, shape, dtype),
        images=shape.batch,
        work=30 / threads,
    )


def cases(
    threads: int,
    dtype: torch.dtype,
    *,
    backends: Sequence[str],
    only: str = "",
    section: str = "convolutions",
) -> list[Case]:
    """The shapes whose name contains ``only``."""
    return [
        case(name, shape, threads, dtype, backends=backends, section=section)
        for name, shape in SHAPES.items()
        if only in name
    ]


def title(threads: int, dtype: torch.dtype) -> str:
    """What they have in common, in words."""
    return f"single convolutions, forward and backward, {plural(threads, 'thread')}, {short(dtype)}"


def _exact(shape: Shape, dtype: torch.dtype) -> Outcome:
    """By `reference`, in float64, from the very numbers that all the others get."""
    t = Tensors(shape, dtype)
    x, weight, bias, grad_y = (u.double() for u in (t.x, t.weight, t.bias, t.grad_y))
    reference = registry.get("reference")
    y = reference.conv2d_forward(x, weight, bias, **shape.geometry)
    return _named(y, reference.conv2d_backward(grad_y, x, weight, **shape.geometry))


def _named(y: torch.Tensor, grads: Sequence[torch.Tensor | None]) -> Outcome:
    found = dict(zip(("grad_x", "grad_weight", "grad_bias"), grads, strict=True))
    return {"y": y, **{name: grad for name, grad in found.items() if grad is not None}}
