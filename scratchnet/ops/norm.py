"""Normalisation: numbers moved and stretched to mean 0 and variance 1, set by set.

What differs is the set: a channel in the whole batch (Ioffe and Szegedy, "Batch Normalization",
2015), the channels of a group in one element of the batch (Wu and He, "Group Normalization", 2018),
or the last axes (Ba et al., "Layer Normalization", 2016; without the mean Zhang and Sennrich, "Root
Mean Square Layer Normalization", 2019). The backward of all of them is ``_through``.

Means are taken twice, the second time of what is left after subtracting the first: numbers of a
mean that is large against their spread lose nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops import norm_kernels
from scratchnet.ops.extension import how, supports
from scratchnet.ops.norm_cases import (
    batch_cases,
    channel_cases,
    group_cases,
    response_cases,
    rms_cases,
    row_cases,
)
from scratchnet.ops.op import Gradients, Needs, Op, Shape

Axes = tuple[int, ...]
_Kept = tuple[Tensor, Tensor]


def _standardised(x: Tensor, axes: Axes, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return n = (x − mean)·r with r = 1/√(var + ε), and r, mean and var over these axes."""
    first = x.mean(axes, keepdim=True)
    rest = (x - first).mean(axes, keepdim=True)
    centred = x - first - rest
    var = centred.square().mean(axes, keepdim=True)
    r = (var + eps).rsqrt()
    return centred * r, r, first + rest, var


def _through(grad_n: Tensor, n: Tensor, r: Tensor, axes: Axes) -> Tensor:
    """∂L/∂x = r · (g − mean(g) − n · mean(g·n)), with g = ∂L/∂n and means over the set.

    x reaches n directly, through the mean, which takes away mean(g), and through r, which takes
    away n · mean(g·n). Source: Ioffe and Szegedy (2015), section 3, put together.
    """
    along = (grad_n * n).mean(axes, keepdim=True)
    return r * (grad_n - grad_n.mean(axes, keepdim=True) - n * along)


def _of_channels(parameter: Tensor, x: Tensor) -> Tensor:
    """Return one number for each channel (C,) so that it goes with (N, C, ...)."""
    return parameter.view(-1, *[1] * (x.dim() - 2))


def _affine(n: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = n if weight is None else n * weight
    return y if bias is None else y + bias


def _others(x: Tensor) -> Axes:
    """All axes but that of the channels."""
    return (0, *range(2, x.dim()))


# -- over a channel --------------------------------------------------------------------------------


def _batch(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5
) -> tuple[tuple[Tensor, Tensor, Tensor], _Kept]:
    """y = (x − mean)/√(var + ε) · weight + bias, for each channel of (N, C, ...) over all the rest;
    also mean and var (divided by n), (C,), of which a layer keeps a running average.
    """
    n, r, mean, var = _standardised(x, _others(x), eps)
    own = (None if p is None else _of_channels(p, x) for p in (weight, bias))
    return (_affine(n, *own), mean.flatten(), var.flatten()), (n, r)


def _batch_backward(
    grads: tuple[Tensor, Tensor, Tensor], kept: _Kept, x: Tensor, weight: Tensor | None,
    bias: Tensor | None, *, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """As ``_through``, with g = ∂L/∂y · weight; mean and var add (∂L/∂mean + 2·(x − mean)·∂L/∂var)
    / n.
    """
    grad_y, grad_mean, grad_var = grads
    n, r = kept
    grad_x = None
    if needs[0]:
        grad_n = grad_y if weight is None else grad_y * _of_channels(weight, x)
        size = max(x.numel() // x.shape[1], 1)
        of_var = 2 * n / r * _of_channels(grad_var, x)
        grad_x = _through(grad_n, n, r, _others(x)) + (_of_channels(grad_mean, x) + of_var) / size
    return grad_x, *_of_parameters(grad_y, n, _others(x), needs)


def _of_parameters(grad_y: Tensor, n: Tensor, axes: Axes, needs: Needs) -> Gradients:
    """∂L/∂weight = Σ ∂L/∂y · n and ∂L/∂bias = Σ ∂L/∂y, over these axes."""
    grad_weight = _sum(grad_y * n, axes) if needs[1] else None
    return grad_weight, _sum(grad_y, axes) if needs[2] else None


def _sum(values: Tensor, axes: Axes) -> Tensor:
    """As ``values.sum(axes)``, which takes no axes for all of them."""
    return values.sum(axes) if axes else values.clone()


def _batch_check(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> tuple[Shape, Shape, Shape]:
    channels = _check_channels("batch_norm", x, weight=weight, bias=bias)
    if x.numel() == channels:
        raise ShapeError(
            f"batch_norm expects more than one value for each channel, got {tuple(x.shape)}: in a "
            "batch of one there is nothing to compare with"
        )
    return tuple(x.shape), (channels,), (channels,)


def _check_channels(op: str, x: Tensor, **parameters: Tensor | None) -> int:
    if x.dim() < 2 or 0 in x.shape[1:]:
        raise ShapeError(f"{op} expects (N, C, ...), only N may be 0; got {tuple(x.shape)}")
    for name, value in parameters.items():
        if value is not None and tuple(value.shape) != (x.shape[1],):
            raise ShapeError(
                f"{op} expects {name} ({x.shape[1]},), a number for each channel, got "
                f"{tuple(value.shape)}"
            )
    return x.shape[1]


# -- over a group of channels ----------------------------------------------------------------------


def _group(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, groups: int,
    eps: float = 1e-5,
) -> tuple[Tensor, _Kept]:  # fmt: skip
    """y = (x − mean)/√(var + ε) · weight + bias, for each element of the batch and each group of
    channels (C = groups: each channel, InstanceNorm; source Ulyanov et al., 2016).
    """
    sets = x.reshape(x.shape[0], groups, x[0:1].numel() // groups)
    n, r, _, _ = _standardised(sets, (2,), eps)
    own = (None if p is None else _of_channels(p, x) for p in (weight, bias))
    return _affine(n.view(x.shape), *own), (n, r)


def _group_backward(
    grad_y: Tensor, kept: _Kept, x: Tensor, weight: Tensor | None, bias: Tensor | None, *,
    groups: int, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """As ``_through``, with g = ∂L/∂y · weight and means over the group."""
    n, r = kept
    grad_x = None
    if needs[0]:
        grad_n = grad_y if weight is None else grad_y * _of_channels(weight, x)
        grad_x = _through(grad_n.reshape(n.shape), n, r, (2,)).view(x.shape)
    return grad_x, *_of_parameters(grad_y, n.view(x.shape), _others(x), needs)


def _group_check(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, eps: float
) -> Shape:
    channels = _check_channels("group_norm", x, weight=weight, bias=bias)
    if groups < 1 or channels % groups:
        raise ArgumentError(
            f"group_norm expects groups that divide the {channels} channels, got {groups}"
        )
    return tuple(x.shape)


# -- over the last axes ----------------------------------------------------------------------------


def _layer(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *,
    normalized_shape: Shape, eps: float = 1e-5,
) -> tuple[Tensor, _Kept]:  # fmt: skip
    """y = (x − mean)/√(var + ε) · weight + bias, over the last axes."""
    n, r, _, _ = _standardised(x, _last(normalized_shape), eps)
    return _affine(n, weight, bias), (n, r)


def _layer_backward(
    grad_y: Tensor, kept: _Kept, x: Tensor, weight: Tensor | None, bias: Tensor | None, *,
    normalized_shape: Shape, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """As ``_through``, with g = ∂L/∂y · weight and means over the last axes."""
    n, r = kept
    grad_x = None
    if needs[0]:
        grad_n = grad_y if weight is None else grad_y * weight
        grad_x = _through(grad_n, n, r, _last(normalized_shape))
    return grad_x, *_of_parameters(grad_y, n, _first(x, normalized_shape), needs)


def _rms(
    x: Tensor, weight: Tensor | None = None, *, normalized_shape: Shape, eps: float | None = None
) -> tuple[Tensor, _Kept]:
    """y = x · r · weight with r = 1/√(mean(x²) + ε), over the last axes; ε is the spacing of the
    dtype's numbers at 1 if None.
    """
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    r = (x.square().mean(_last(normalized_shape), keepdim=True) + eps).rsqrt()
    n = x * r
    return _affine(n, weight, None), (n, r)


def _rms_backward(
    grad_y: Tensor, kept: _Kept, x: Tensor, weight: Tensor | None, *, normalized_shape: Shape,
    eps: float | None, needs: Needs,
) -> Gradients:  # fmt: skip
    """∂L/∂x = r · (g − n · mean(g·n)), with n = x·r and g = ∂L/∂y · weight."""
    n, r = kept
    grad_x = None
    if needs[0]:
        grad_n = grad_y if weight is None else grad_y * weight
        grad_x = r * (grad_n - n * (grad_n * n).mean(_last(normalized_shape), keepdim=True))
    return grad_x, *_of_parameters(grad_y, n, _first(x, normalized_shape), (*needs, False))[:1]


def _last(normalized_shape: Shape) -> Axes:
    return tuple(range(-len(normalized_shape), 0))


def _first(x: Tensor, normalized_shape: Shape) -> Axes:
    return tuple(range(x.dim() - len(normalized_shape)))


def _rows_check(
    x: Tensor, weight: Tensor | None, bias: Tensor | None = None, *, normalized_shape: Shape,
    eps: float | None,
) -> Shape:  # fmt: skip
    count = len(normalized_shape)
    if count < 1 or min(normalized_shape) < 1 or tuple(x.shape[-count:]) != normalized_shape:
        raise ShapeError(
            f"expected normalized_shape to be the last axes of x, none of them empty; got "
            f"{normalized_shape} for {tuple(x.shape)}"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != normalized_shape:
            raise ShapeError(
                f"expected {name} to be {normalized_shape}, as normalized_shape is; got "
                f"{tuple(value.shape)}"
            )
    return tuple(x.shape)


# -- without statistics of x -----------------------------------------------------------------------


def _scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, None]:
    """y = x · scale + shift, with a number each for every channel of (N, C, ...): what a batch norm
    with fixed statistics is.
    """
    return x * _of_channels(scale, x) + _of_channels(shift, x), None


def _scale_shift_backward(
    grad_y: Tensor, kept: None, x: Tensor, scale: Tensor, shift: Tensor, *, needs: Needs
) -> Gradients:
    """∂L/∂x = ∂L/∂y · scale; ∂L/∂scale = Σ ∂L/∂y · x and ∂L/∂shift = Σ ∂L/∂y over the channel."""
    grad_x = grad_y * _of_channels(scale, x) if needs[0] else None
    return grad_x, *_of_parameters(grad_y, x, _others(x), needs)


def _scale_shift_check(x: Tensor, scale: Tensor, shift: Tensor) -> Shape:
    _check_channels("scale_shift", x, scale=scale, shift=shift)
    return tuple(x.shape)


def _scale_shift_terms(x: Tensor, scale: Tensor, shift: Tensor) -> int:
    return max(2, math.prod((x.shape[0], *x.shape[2:])))


def _local_response(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> tuple[Tensor, Tensor]:
    """y = x / d^β with d = k + α/size · Σ x² over ``size`` neighbouring channels, c − size//2 to
    c + (size − 1)//2. Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional
    Neural Networks" (2012), section 3.3; α divided by size as in torch.
    """
    d = k + alpha / size * _neighbours(x.square(), size // 2, (size - 1) // 2)
    return x * d.pow(-beta), d


def _local_response_backward(
    grad_y: Tensor, d: Tensor, x: Tensor, *, size: int, alpha: float, beta: float, k: float,
    needs: Needs,
) -> Gradients:  # fmt: skip
    """∂L/∂x = g·d^−β − 2αβ/size · x · Σ g·x·d^(−β−1) over the channels that have x among their
    neighbours, which is the neighbourhood mirrored; with g = ∂L/∂y.
    """
    if not needs[0]:
        return (None,)
    direct = grad_y * d.pow(-beta)
    through = _neighbours(direct * x / d, (size - 1) // 2, size // 2)
    return (direct - 2 * alpha * beta / size * x * through,)


def _neighbours(x: Tensor, before: int, after: int) -> Tensor:
    """Return for each channel the sum over it, those before and those after it."""
    total, channels = torch.zeros_like(x), x.shape[1]
    for i in range(-min(before, channels), min(after, channels) + 1):
        low, high = max(0, -i), min(channels, channels - i)
        total[:, low:high] += x[:, low + i : high + i]
    return total


def _local_response_check(x: Tensor, *, size: int, alpha: float, beta: float, k: float) -> Shape:
    _check_channels("local_response_norm", x)
    if size < 1:
        raise ArgumentError(f"local_response_norm expects a size of at least 1, got {size}")
    return tuple(x.shape)


batch_norm = Op(
    "batch_norm", forward=_batch, backward=_batch_backward, check=_batch_check, cases=batch_cases,
    reads=("x", "weight"), twin="scratchnet.testing.oracle.batch_norm",
)  # fmt: skip
group_norm = Op(
    "group_norm", forward=_group, backward=_group_backward, check=_group_check, cases=group_cases,
    reads=("x", "weight"), twin="scratchnet.testing.oracle.group_norm",
)  # fmt: skip
layer_norm = Op(
    "layer_norm", forward=_layer, backward=_layer_backward, check=_rows_check, cases=row_cases,
    reads=("x", "weight"), twin="scratchnet.testing.oracle.layer_norm",
)  # fmt: skip
rms_norm = Op(
    "rms_norm", forward=_rms, backward=_rms_backward, check=_rows_check, cases=rms_cases,
    reads=("x", "weight"), twin="scratchnet.testing.oracle.rms_norm",
)  # fmt: skip
scale_shift = Op(
    "scale_shift", forward=_scale_shift, backward=_scale_shift_backward, check=_scale_shift_check,
    cases=channel_cases, exact=True, multilinear=_scale_shift_terms, reads=("x", "scale"),
    twin="scratchnet.testing.oracle.scale_shift",
)  # fmt: skip
local_response_norm = Op(
    "local_response_norm", forward=_local_response, backward=_local_response_backward,
    check=_local_response_check, cases=response_cases,
    twin="torch.nn.functional.local_response_norm",
)  # fmt: skip

for _op, _name in (
    (batch_norm, "batch"),
    (group_norm, "group"),
    (layer_norm, "layer"),
    (rms_norm, "rms"),
    (scale_shift, "scale_shift"),
):
    _op.implement(
        "cpp",
        forward=getattr(norm_kernels, _name),
        backward=getattr(norm_kernels, f"{_name}_backward"),
        supports=supports,
        how=how,
    )
