"""3-D convolution, by 2-D ones, and the gradient of its input as an operation of its own.

The frames of x that a frame of y sees, side by side as channels, make it a 2-D convolution: y[h] =
A_W [x[h·stride − padding], x[h·stride − padding + dilation], …] + b, for all h and the whole batch
at once. So an implementation of conv2d makes one of conv3d.

Names are those of scratchnet.ops.conv, and D depth; stride, padding and dilation are (depth,
vertical, horizontal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.ops.conv import check_bias, check_groups, conv2d
from scratchnet.ops.convolution_cases import conv3d_cases, conv3d_input_grad_cases
from scratchnet.ops.op import Gradients, Implementation, Needs, Op, Shape, check_rank
from scratchnet.ops.window import output_sizes

Triple = tuple[int, int, int]
_ONE, _NONE = (1, 1, 1), (0, 0, 0)


def by_frames(conv2d: Implementation) -> tuple[Implementation, Implementation]:
    """Return conv3d and conv3d_input_grad, computed by this implementation of conv2d."""

    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Triple = _ONE,
        padding: Triple = _NONE,
        dilation: Triple = _ONE,
        groups: int = 1,
    ) -> tuple[Tensor, None]:
        """y = A_W frames(x) + b."""
        depth, flat = _split(x, weight, stride, padding, dilation, groups)
        y, _ = conv2d.forward(depth.frames(x), _flat(weight), bias, **flat)
        return depth.volume(y), None

    def backward(
        grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *,
        stride: Triple, padding: Triple, dilation: Triple, groups: int, needs: Needs,
    ) -> Gradients:  # fmt: skip
        """∂L/∂x = framesᵀ(A_Wᵀ ∂L/∂y);  ∂L/∂W and ∂L/∂b as the 2-D convolution's of frames(x)."""
        depth, flat = _split(x, weight, stride, padding, dilation, groups)
        frames = depth.frames(x) if needs[1] else depth.of_frames(x)
        grads = conv2d.backward(
            depth.flat(grad_y), None, frames, _flat(weight), bias, **flat, needs=needs
        )
        grad_frames, grad_weight, grad_bias = grads
        return (
            None if grad_frames is None else depth.frames_adjoint(grad_frames),
            None if grad_weight is None else _unflat(grad_weight, weight),
            grad_bias,
        )

    def input_grad(
        grad_y: Tensor,
        weight: Tensor,
        *,
        input_size: Triple,
        stride: Triple = _ONE,
        padding: Triple = _NONE,
        dilation: Triple = _ONE,
        groups: int = 1,
    ) -> tuple[Tensor, None]:
        """A_Wᵀ grad_y, of depth, height and width ``input_size``: a transposed convolution."""
        x = _volume(grad_y, weight, input_size, groups)
        conv: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        grad_x, *_ = backward(
            grad_y, None, x, weight, None, **conv, groups=groups, needs=(True, False, False)
        )
        assert grad_x is not None
        return grad_x, None

    def input_grad_backward(
        grad_x: Tensor, kept: None, grad_y: Tensor, weight: Tensor, *, input_size: Triple,
        needs: Needs, **conv: Any,
    ) -> Gradients:  # fmt: skip
        """Of grad_y: A_W grad_x;  of W: that of the convolution with the input grad_x."""
        of_weight = (False, needs[1], False)
        return (
            forward(grad_x, weight, **conv)[0] if needs[0] else None,
            backward(grad_y, None, grad_x, weight, None, **conv, needs=of_weight)[1],
        )

    return Implementation(forward, backward), Implementation(input_grad, input_grad_backward)


@dataclass(frozen=True)
class _Depth:
    """The first of the three axes: which frames each frame of the output sees.

    Attributes:
        size: number of the input's frames, D.
        taps, stride, padding, dilation: the convolution's along this axis.
        groups: in which the frames' channels stay together.
    """

    size: int
    taps: int
    stride: int
    padding: int
    dilation: int
    groups: int

    @property
    def out(self) -> int:
        """Number of the output's frames."""
        return (self.size + 2 * self.padding - self._span) // self.stride + 1

    @property
    def _span(self) -> int:
        return self.dilation * (self.taps - 1) + 1

    def frames(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N·D_out, G·K_d·C/G, H, W), the channels of a pixel side by side."""
        n, c, _, h, w = x.shape
        padded = torch.constant_pad_nd(x, (0, 0, 0, 0, self.padding, self.padding))
        seen = padded.unfold(2, self._span, self.stride)[..., :: self.dilation]
        seen = seen.reshape(n, self.groups, c // self.groups, *seen.shape[2:])
        last = seen.permute(0, 3, 4, 5, 1, 6, 2)  # (N, D_out, H, W, G, K_d, C/G)
        return last.reshape(n * self.out, h, w, c * self.taps).movedim(3, 1)

    def of_frames(self, x: Tensor) -> Tensor:
        """Return something of the shape and dtype of ``frames(x)``."""
        n, c, _, h, w = x.shape
        return x.new_empty(()).expand(n * self.out, c * self.taps, h, w)

    def frames_adjoint(self, grad: Tensor) -> Tensor:
        """The adjoint of ``frames``: each frame sums what it got wherever it was seen."""
        n, c, h, w = grad.shape[0] // self.out, grad.shape[1] // self.taps, *grad.shape[2:]
        shape = (n, self.out, h, w, self.groups, self.taps, c // self.groups)
        seen = grad.movedim(1, 3).reshape(shape).permute(5, 0, 4, 6, 1, 2, 3).flatten(2, 3)
        padded = grad.new_zeros(n, c, self.size + 2 * self.padding, h, w)
        for tap, part in enumerate(seen):  # (N, C, D_out, H, W)
            first = tap * self.dilation
            padded[:, :, first : first + (self.out - 1) * self.stride + 1 : self.stride] += part
        return padded.narrow(2, self.padding, self.size)

    def flat(self, y: Tensor) -> Tensor:
        """(N, O, D_out, H, W) -> (N·D_out, O, H, W)."""
        return y.movedim(1, 4).flatten(0, 1).movedim(3, 1)

    def volume(self, flat: Tensor) -> Tensor:
        """(N·D_out, O, H, W) -> (N, O, D_out, H, W)."""
        return flat.view(-1, self.out, *flat.shape[1:]).movedim(2, 1)


def _split(
    x: Tensor, weight: Tensor, stride: Triple, padding: Triple, dilation: Triple, groups: int
) -> tuple[_Depth, dict[str, Any]]:
    """Return the first axis, and the options of the 2-D convolution over the other two."""
    depth = _Depth(x.shape[2], weight.shape[2], stride[0], padding[0], dilation[0], groups)
    flat = {"stride": stride[1:], "padding": padding[1:], "dilation": dilation[1:]}
    return depth, {**flat, "groups": groups}


def _flat(weight: Tensor) -> Tensor:
    """(O, C/G, K_d, K_h, K_w) -> (O, K_d·C/G, K_h, K_w)."""
    return weight.transpose(1, 2).flatten(1, 2)


def _unflat(flat: Tensor, weight: Tensor) -> Tensor:
    """(O, K_d·C/G, K_h, K_w) -> (O, C/G, K_d, K_h, K_w), the shape of ``weight``."""
    o, c, *kernel = weight.shape
    return flat.view(o, kernel[0], c, *kernel[1:]).transpose(1, 2)


def _volume(grad_y: Tensor, weight: Tensor, size: Triple, groups: int) -> Tensor:
    """Return something of the shape and dtype of the convolution's input."""
    return grad_y.new_empty(()).expand(grad_y.shape[0], weight.shape[1] * groups, *size)


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **steps: Triple
) -> Shape:
    check_rank("conv3d", "x", x, "N, C, D, H, W")
    check_rank("conv3d", "weight", weight, "O, C/G, Kd, Kh, Kw")
    check_groups("conv3d", x.shape[1], weight, groups)
    check_bias("conv3d", weight, bias)
    size = output_sizes("conv3d", x.shape[2:], kernel_size=weight.shape[2:], **steps)
    return x.shape[0], weight.shape[0], *size


def _terms(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **conv: Triple) -> int:
    n, _, *size = _check(x, weight, bias, groups=groups, **conv)
    return max(weight[0].numel() + 1, weight[:, 0].numel(), n * torch.Size(size).numel())


def _input_grad_check(
    grad_y: Tensor, weight: Tensor, *, input_size: Triple, groups: int, **steps: Triple
) -> Shape:
    check_rank("conv3d_input_grad", "grad_y", grad_y, "N, O, D_out, H_out, W_out")
    check_rank("conv3d_input_grad", "weight", weight, "O, C/G, Kd, Kh, Kw")
    channels = weight.shape[1] * max(groups, 1)
    check_groups("conv3d_input_grad", channels, weight, groups)
    size = output_sizes("conv3d_input_grad", input_size, kernel_size=weight.shape[2:], **steps)
    if grad_y.shape[1:] != (weight.shape[0], *size):
        raise ShapeError(
            f"conv3d_input_grad expects grad_y (N, {', '.join(map(str, (weight.shape[0], *size)))})"
            f" for input_size={input_size}, got {tuple(grad_y.shape)}"
        )
    return grad_y.shape[0], channels, *input_size


def _input_grad_terms(grad_y: Tensor, weight: Tensor, **conv: object) -> int:
    return max(weight[:, 0].numel(), weight[0].numel(), grad_y[:, 0].numel())


_conv3d, _conv3d_input_grad = by_frames(conv2d.reference)
conv3d = Op(
    "conv3d", forward=_conv3d.forward, backward=_conv3d.backward, check=_check,
    cases=conv3d_cases, exact=True, multilinear=_terms, reads=("x", "weight"),
    twin="torch.nn.functional.conv3d",
)  # fmt: skip
conv3d_input_grad = Op(
    "conv3d_input_grad", forward=_conv3d_input_grad.forward, backward=_conv3d_input_grad.backward,
    check=_input_grad_check, cases=conv3d_input_grad_cases, exact=True,
    multilinear=_input_grad_terms, twin="scratchnet.testing.oracle.conv3d_input_grad",
)  # fmt: skip
