"""Convolution, and its two gradients as operations of their own: each is the adjoint of the others.

In the formulas a convolution is the linear map A_W: y = A_W x + b. Source: Dumoulin and Visin, "A
guide to convolution arithmetic for deep learning" (2016), chapters 2 and 4.

One alphabet: N batch, C in-channels, O out-channels, G groups, H W input size, Kh Kw kernel size, K
= C/G·Kh·Kw the length of one receptive field, L = H_out·W_out the number of places where the kernel
is applied. Stride, padding and dilation are (vertical, horizontal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import fold, unfold

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.convolution_cases import conv2d_cases, input_grad_cases, weight_grad_cases
from scratchnet.ops.op import Gradients, Needs, Op, Shape, check_rank
from scratchnet.ops.window import Pair, output_size, sides

_ONE, _NONE = (1, 1), (0, 0)

# -- y = A_W x + b ---------------------------------------------------------------------------------


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = _ONE,
    padding: Pair = _NONE,
    dilation: Pair = _ONE,
    groups: int = 1,
) -> tuple[Tensor, None]:
    """Unfold x so that each receptive field is a column; then y = W · columns + b, a matrix
    product.
    """
    conv = (stride, padding, dilation, groups)
    turned = _turned(weight, *conv)
    if turned is None:
        y = _products(x, weight, *conv)
    else:
        size = output_size("conv2d", sides(x), sides(weight), stride, padding, dilation)
        y = _folded_products(x, turned.weight, size, *turned.conv)
    return y if bias is None else y.add_(bias.view(-1, 1, 1)), None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    """∂L/∂x = A_Wᵀ ∂L/∂y;  ∂L/∂W = Σ_n ∂L/∂y · columns(x)ᵀ;  ∂L/∂b = Σ_{n,l} ∂L/∂y.

    y is linear in each of x, W and b, so each gradient is the adjoint of that linear map.
    """
    return (
        _input_grad(grad_y, weight, input_size=sides(x), **conv)[0] if needs[0] else None,
        _weight_grad(grad_y, x, kernel_size=sides(weight), **conv)[0] if needs[1] else None,
        grad_y.sum((0, 2, 3)) if needs[2] else None,
    )


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **steps: Pair) -> Shape:
    check_rank("conv2d", "x", x, "N, C, H, W")
    check_rank("conv2d", "weight", weight, "O, C/G, Kh, Kw")
    check_groups("conv2d", x.shape[1], weight, groups)
    check_bias("conv2d", weight, bias)
    size = output_size("conv2d", sides(x), kernel_size=sides(weight), **steps)
    return x.shape[0], weight.shape[0], *size


def check_groups(op: str, channels: int, weight: Tensor, groups: int) -> None:
    """Raise ArgumentError or ShapeError unless the groups divide the channels as weight says."""
    o, c_per_group = weight.shape[:2]
    if groups < 1:
        raise ArgumentError(f"{op} expects at least 1 group, got groups={groups}")
    if channels != c_per_group * groups or o % groups:
        raise ShapeError(
            f"{op}: {channels} channels do not fit the weight {tuple(weight.shape)} with "
            f"{groups} groups: expected groups · weight.shape[1] of them, and weight.shape[0] "
            "divisible by groups"
        )


def check_bias(op: str, weight: Tensor, bias: Tensor | None) -> None:
    """Raise ShapeError unless there is a bias for each out-channel, or none at all."""
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"{op} expects a bias of {weight.shape[0]} numbers, got {tuple(bias.shape)}"
        )


def _terms(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **conv: Pair) -> int:
    n, _, h_out, w_out = _check(x, weight, bias, groups=groups, **conv)
    return max(weight[0].numel() + 1, weight[:, 0].numel(), n * h_out * w_out)


# -- x = A_Wᵀ y ------------------------------------------------------------------------------------


def _input_grad(
    grad_y: Tensor,
    weight: Tensor,
    *,
    input_size: Pair,
    stride: Pair = _ONE,
    padding: Pair = _NONE,
    dilation: Pair = _ONE,
    groups: int = 1,
) -> tuple[Tensor, None]:
    """A_Wᵀ grad_y, of height and width ``input_size``: a transposed convolution.

    It is fold(Wᵀ · grad_y), fold being the adjoint of unfold: it sums where fields overlap.
    """
    conv = (stride, padding, dilation, groups)
    turned = _turned(weight, *conv)
    if turned is None:
        return _folded_products(grad_y, weight, input_size, *conv), None
    return _products(grad_y, turned.weight, *turned.conv), None


def _input_grad_backward(
    grad_x: Tensor, kept: None, grad_y: Tensor, weight: Tensor, *, input_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    """Of grad_y: A_W grad_x;  of W: that of the convolution with the input grad_x."""
    return (
        _forward(grad_x, weight, **conv)[0] if needs[0] else None,
        _weight_grad(grad_y, grad_x, kernel_size=sides(weight), **conv)[0] if needs[1] else None,
    )


def _input_grad_check(
    grad_y: Tensor, weight: Tensor, *, input_size: Pair, groups: int, **steps: Pair
) -> Shape:
    check_rank("conv2d_input_grad", "grad_y", grad_y, "N, O, H_out, W_out")
    check_rank("conv2d_input_grad", "weight", weight, "O, C/G, Kh, Kw")
    channels = weight.shape[1] * max(groups, 1)
    check_groups("conv2d_input_grad", channels, weight, groups)
    size = output_size("conv2d_input_grad", input_size, kernel_size=sides(weight), **steps)
    if grad_y.shape[1:] != (weight.shape[0], *size):
        raise ShapeError(
            f"conv2d_input_grad expects grad_y (N, {weight.shape[0]}, {size[0]}, {size[1]}) for "
            f"input_size={input_size}, got {tuple(grad_y.shape)}"
        )
    return grad_y.shape[0], channels, *input_size


def _input_grad_terms(grad_y: Tensor, weight: Tensor, **conv: object) -> int:
    return max(weight[:, 0].numel(), weight[0].numel(), grad_y[:, 0].numel())


# -- the gradient of W -----------------------------------------------------------------------------


def _weight_grad(
    grad_y: Tensor,
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair = _ONE,
    padding: Pair = _NONE,
    dilation: Pair = _ONE,
    groups: int = 1,
) -> tuple[Tensor, None]:
    """∂L/∂W[o,c,u,v] = Σ_{n,i,j} grad_y[n,o,i,j] · x[n, c, i·stride − padding + u·dilation, …].

    It is Σ_n grad_y · columns(x)ᵀ.
    """
    conv = (stride, padding, dilation, groups)
    o, c = grad_y.shape[1], x.shape[1] // groups
    turned = _turned(grad_y.new_empty(()).expand(o, c, *kernel_size), *conv)
    if turned is None:
        return _summed_products(grad_y, x, kernel_size, *conv), None
    return _turn(_summed_products(x, grad_y, kernel_size, *turned.conv), groups), None


def _weight_grad_backward(
    grad_w: Tensor, kept: None, grad_y: Tensor, x: Tensor, *, kernel_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    """With V = grad_w as a weight – of grad_y: A_V x;  of x: A_Vᵀ grad_y."""
    return (
        _forward(x, grad_w, **conv)[0] if needs[0] else None,
        _input_grad(grad_y, grad_w, input_size=sides(x), **conv)[0] if needs[1] else None,
    )


def _weight_grad_check(
    grad_y: Tensor, x: Tensor, *, kernel_size: Pair, groups: int, **steps: Pair
) -> Shape:
    check_rank("conv2d_weight_grad", "grad_y", grad_y, "N, O, H_out, W_out")
    check_rank("conv2d_weight_grad", "x", x, "N, C, H, W")
    size = output_size("conv2d_weight_grad", sides(x), kernel_size=kernel_size, **steps)
    if groups < 1 or x.shape[1] % groups or grad_y.shape[1] % groups:
        raise ShapeError(
            f"conv2d_weight_grad expects groups that divide the channels of grad_y and x, "
            f"{grad_y.shape[1]} and {x.shape[1]}; got groups={groups}"
        )
    if (grad_y.shape[0], *grad_y.shape[2:]) != (x.shape[0], *size):
        raise ShapeError(
            f"conv2d_weight_grad expects grad_y ({x.shape[0]}, O, {size[0]}, {size[1]}), "
            f"got {tuple(grad_y.shape)}"
        )
    return grad_y.shape[1], x.shape[1] // groups, *kernel_size


def _weight_grad_terms(
    grad_y: Tensor, x: Tensor, *, kernel_size: Pair, groups: int, **steps: object
) -> int:
    taps = kernel_size[0] * kernel_size[1]
    return max(grad_y[:, 0].numel(), taps * max(x.shape[1], grad_y.shape[1]) // groups)


# -- as matrix products ----------------------------------------------------------------------------


def _products(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Return W · columns(x), as images."""
    n, o, kernel = x.shape[0], weight.shape[0], sides(weight)
    h_out, w_out = output_size("conv2d", sides(x), kernel, stride, padding, dilation)

    columns = _unfold(x, kernel, stride, padding, dilation, groups)  # (N, G, K, L)
    rows = _weight_rows(weight, groups)  # (G, O/G, K)
    return (rows @ columns).view(n, o, h_out, w_out)  # (N, G, O/G, L) -> (N, O, H_out, W_out)


def _folded_products(
    grad_y: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return fold(Wᵀ · grad_y), images of this size."""
    grad_rows = _channel_rows(grad_y, groups)  # (N, G, O/G, L)
    grad_columns = _weight_rows(weight, groups).transpose(1, 2) @ grad_rows  # (N, G, K, L)
    images: Tensor = fold(
        grad_columns.flatten(1, 2), size, sides(weight), dilation, padding, stride
    )  # (N, G·K, L) -> (N, C, H, W)
    return images


def _summed_products(
    grad_y: Tensor,
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return Σ_n grad_y · columns(x)ᵀ, in the shape of W."""
    grad_rows = _channel_rows(grad_y, groups)  # (N, G, O/G, L)
    columns = _unfold(x, kernel, stride, padding, dilation, groups)  # (N, G, K, L)
    products = grad_rows @ columns.transpose(2, 3)  # (N, G, O/G, K)
    return products.sum(0).view(grad_y.shape[1], x.shape[1] // groups, *kernel)


@dataclass(frozen=True)
class _Turned:
    """A convolution as the gradient of another: that one's kernel, and its stride, padding,
    dilation and groups.
    """

    weight: Tensor
    conv: tuple[Pair, Pair, Pair, int]


def _turned(
    weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> _Turned | None:
    """Turn a convolution around, if that makes for fewer columns; None if not, or not possible.

    At stride 1 what a pixel of y gets from x is what a pixel of x gets from y, with the kernel
    turned by 180°: y[q] = Σ_t w[t] · x[q + d·t − p] = Σ_t w[k − 1 − t] · x[q − d·t + p′], with
    p′ = d·(k − 1) − p. So y is the grad_x of the convolution with the turned kernel, in- and
    out-channels exchanged and padding p′, whose grad_y is x. It has a column entry for each
    out-channel, where the convolution itself has one for each in-channel.
    """
    (kh, kw) = sides(weight)
    other = (dilation[0] * (kh - 1) - padding[0], dilation[1] * (kw - 1) - padding[1])
    fewer = weight.shape[0] < weight.shape[1] * groups
    if not fewer or stride != (1, 1) or min(other) < 0:
        return None
    return _Turned(_turn(weight, groups), (stride, other, dilation, groups))


def _turn(weight: Tensor, groups: int) -> Tensor:
    """Turn kernels by 180° and exchange channels: (O, C/G, Kh, Kw) -> (C, O/G, Kh, Kw)."""
    o, c, *kernel = weight.shape
    exchanged = weight.view(groups, o // groups, c, *kernel).transpose(1, 2)
    return exchanged.flip(-2, -1).reshape(groups * c, o // groups, *kernel)


def _unfold(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Return the receptive fields as columns: (N, C, H, W) -> (N, C·Kh·Kw, L) -> (N, G, K, L)."""
    columns: Tensor = unfold(x, kernel, dilation, padding, stride)
    n, rows, places = columns.shape
    return columns.view(n, groups, rows // groups, places)


def _channel_rows(images: Tensor, groups: int) -> Tensor:
    """Return each channel as a row: (N, O, H, W) -> (N, G, O/G, L)."""
    n, o, h, w = images.shape
    return images.reshape(n, groups, o // groups, h * w)


def _weight_rows(weight: Tensor, groups: int) -> Tensor:
    """Return each output channel's kernel as a row: (O, C/G, Kh, Kw) -> (G, O/G, K)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _tiled(
    a: Tensor, b: Tensor, *rest: Tensor | None, stride: Pair, dilation: Pair, **conv: Any
) -> bool:
    """Whether Winograd's algorithm applies: to a 3x3 kernel without stride or dilation."""
    kernel = conv.get("kernel_size", tuple(b.shape[2:]))
    return (*kernel, *stride, *dilation) == (3, 3, 1, 1, 1, 1)


conv2d = Op(
    "conv2d", forward=_forward, backward=_backward, check=_check, cases=conv2d_cases, exact=True,
    multilinear=_terms, tiled=_tiled, reads=("x", "weight"), twin="torch.nn.functional.conv2d",
)  # fmt: skip
conv2d_input_grad = Op(
    "conv2d_input_grad", forward=_input_grad, backward=_input_grad_backward,
    check=_input_grad_check, cases=input_grad_cases, exact=True, multilinear=_input_grad_terms,
    tiled=_tiled,
    twin="scratchnet.testing.oracle.conv2d_input_grad",
)  # fmt: skip
conv2d_weight_grad = Op(
    "conv2d_weight_grad", forward=_weight_grad, backward=_weight_grad_backward,
    check=_weight_grad_check, cases=weight_grad_cases, exact=True, multilinear=_weight_grad_terms,
    tiled=_tiled,
    twin="scratchnet.testing.oracle.conv2d_weight_grad",
)  # fmt: skip
