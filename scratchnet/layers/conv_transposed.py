"""Transposed convolutions: convolutions with forward and backward exchanged.

In the formulas a convolution is the linear map A_W: y = A_W x. Source: Dumoulin and Visin, "A guide
to convolution arithmetic for deep learning" (2016), chapter 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init
from scratchnet.layers.conv import Convolution, IntOrPair, Ints
from scratchnet.ops.conv import conv2d_input_grad
from scratchnet.ops.conv3d import conv3d_input_grad
from scratchnet.ops.op import Op


class _Transposed(Convolution):
    """The transposed convolutions: one constructor, one forward."""

    op: ClassVar[Op] = conv2d_input_grad

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        padding_mode: str = "zeros",
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ArgumentError(f"{name} expects padding_mode='zeros', got {padding_mode!r}")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            transposed=True,
            backend=backend,
            generator=generator,
            dtype=dtype,
            device=device,
        )
        self.output_padding = self._sizes("output_padding", output_padding, least=0)
        limits = [max(s, d) for s, d in zip(self.stride, self.dilation, strict=True)]
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ArgumentError(
                f"{name} expects output_padding smaller than stride or dilation, got "
                f"output_padding={self.output_padding}, stride={self.stride}, "
                f"dilation={self.dilation}"
            )

    def config(self) -> dict[str, object]:
        """Return the constructor's arguments that define the layer."""
        return {**super().config(), "output_padding": self.output_padding}

    def forward_images(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """y = A_Wᵀ x + b: the input gradient of the convolution with this weight.

        Args:
            x: the input.
            output_size: of the output's images, instead of what output_padding says; each at most
                stride − 1 larger than without output_padding. Batch and channels may stand before.

        Raises:
            ShapeError: it is not one of the possible sizes, or would be below 1.
        """
        plain = self._plain_size(x)
        extra = self.output_padding if output_size is None else self._extra(plain, output_size)
        size = tuple(n + more for n, more in zip(plain, extra, strict=True))
        if min(size) < 1:
            raise ShapeError(
                f"{type(self).__name__}: a {_x(x.shape[2:])} input would give a {_x(size)} output: "
                "use larger images or less padding"
            )
        # Where output_padding ≥ stride, A_W makes more of this size than x has: zeros are appended.
        missing = [more // s for more, s in zip(extra, self.stride, strict=True)]
        if any(missing):
            x = torch.constant_pad_nd(x, [n for m in reversed(missing) for n in (0, m)])
        y, back = dispatch.run(
            self.op,
            self._image(x),
            self._image(self.weight),
            backend=self.backend,
            input_size=self._pair(size, 1),
            **self.options,
        )
        self.save(back, missing)
        y = self._sequence(y)
        return y if self.bias is None else y + self.bias.view(-1, *[1] * len(size))

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x = A_W ∂L/∂y;  ∂L/∂W as the convolution's;  ∂L/∂b = Σ_{n,i,j} ∂L/∂y.

        In the convolution, of which this is the adjoint, ∂L/∂y here is the input and x the
        gradient of the output.
        """
        back, missing = self.saved
        grad_x, grad_weight = back(self._image(grad_y))
        axes = [0, *range(2, grad_y.dim())]
        grad_bias = None if self.bias is None else grad_y.sum(axes)
        self._accumulate(self._sequence(grad_weight), grad_bias)
        result: Tensor = self._sequence(grad_x)
        for axis, more in enumerate(missing, start=2):
            result = result.narrow(axis, 0, result.shape[axis] - more)
        return result

    def _plain_size(self, x: Tensor) -> Ints:
        """Return the output's size without output_padding."""
        steps = zip(
            x.shape[2:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
        )
        return tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in steps)

    def _extra(self, plain: Ints, output_size: Sequence[int]) -> Ints:
        """Return the output_padding that gives this output_size."""
        wanted = tuple(output_size)[-len(plain) :]
        extra = tuple(n - least for n, least in zip(wanted, plain, strict=False))
        fits = [0 <= more < s for more, s in zip(extra, self.stride, strict=False)]
        if len(output_size) not in (len(plain), len(plain) + 1, len(plain) + 2) or not all(fits):
            most = tuple(n + s - 1 for n, s in zip(plain, self.stride, strict=True))
            raise ShapeError(
                f"{type(self).__name__} expects an output_size between {plain} and {most} for this "
                f"input, got {tuple(output_size)}"
            )
        return extra


def _x(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


class TransposeConv2d(_Transposed):
    """Transposed 2-D convolution with a bias, as torch.nn.ConvTranspose2d: y = A_Wᵀ x + b.

    Input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, H_out, W_out),
    H_out = (H − 1)·stride − 2·padding + dilation·(kernel_size−1) + output_padding + 1. The weight
    is (in_channels, out_channels/groups, K_h, K_w): that of the convolution whose adjoint this is.
    ``forward(x, output_size)`` gives images of that size, if some output_padding would.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: an int, or a pair (vertical, horizontal), like the next three and dilation.
        stride: step, in the output, between the places where the kernel is added.
        padding: rows and columns cut off on every side of the output.
        output_padding: rows and columns added at the bottom and right; below stride or dilation.
        groups: G: output group g depends on input group g only; divides C and O.
        bias: whether to add b.
        dilation: step between the kernel's own elements.
        padding_mode: ``"zeros"``: there is no other, as in torch.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = groups / (O · K_h · K_w).
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    torch_names = ("torch.nn.ConvTranspose2d",)

    @classmethod
    def example(cls) -> tuple[TransposeConv2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (3, 2), (2, 1), (1, 2), (1, 0), groups=2), init.example_images()


ConvTranspose2d = TransposeConv2d


class ConvTranspose1d(_Transposed):
    """Transposed 1-D convolution with a bias: y = A_Wᵀ x + b, as that of images of one row.

    Input (N, in_channels, L) or (in_channels, L); output (N, out_channels, L_out) with L_out as
    ConvTranspose2d's H_out. The weight is (in_channels, out_channels/groups, K).

    Args: as ConvTranspose2d's, for one axis: an int, or a row of one.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    axes = "L"
    torch_names = ("torch.nn.ConvTranspose1d",)

    @classmethod
    def example(cls) -> tuple[ConvTranspose1d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, 3, 2, 1, 1, groups=2), init.example_images(cls.axes)


class ConvTranspose3d(_Transposed):
    """Transposed 3-D convolution with a bias: y = A_Wᵀ x + b.

    Input (N, in_channels, D, H, W) or (in_channels, D, H, W); output (N, out_channels, D_out,
    H_out, W_out), each size as ConvTranspose2d's H_out. The weight is
    (in_channels, out_channels/groups, K_d, K_h, K_w).

    Args: as ConvTranspose2d's, for three axes: an int, or three of them (depth, vertical,
        horizontal).

    Raises:
        ArgumentError: an argument is outside its range.
    """

    axes = "D, H, W"
    op = conv3d_input_grad
    torch_names = ("torch.nn.ConvTranspose3d",)

    @classmethod
    def example(cls) -> tuple[ConvTranspose3d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (2, 3, 2), (2, 1, 1), (1, 0, 2), (1, 0, 0), 2), init.example_images(
            cls.axes
        )
