"""The operations of norm.py by the kernels of csrc/ops/norm.cpp."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.ops.extension import extension
from scratchnet.ops.op import Gradients, Needs, Shape

# -- channels: images as the kernels read them, contiguous or channels_last ------------------------


def _images(x: Tensor) -> Tensor:
    """Return (N, C, ...) as images, a view where it lies so that the kernels can read it."""
    if x.dim() == 2:  # one image of N pixels, channels_last
        return x.contiguous().T[None, :, :, None]
    if x.dim() != 4:
        return x.contiguous().flatten(2).unsqueeze(3)
    return x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


def _like(images: Tensor, x: Tensor) -> Tensor:
    """Return x as images that lie as these do."""
    found = _images(x)
    return found if found.stride() == images.stride() else torch.empty_like(images).copy_(found)


def _shaped(images: Tensor, x: Tensor) -> Tensor:
    """Return the images in the shape of x."""
    return images[0, :, :, 0].T if x.dim() == 2 else images.view(x.shape)


def _dense(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.contiguous()


def _new(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _new_stats(sets: int) -> Tensor:
    return torch.empty((2, sets), dtype=torch.float64)


def batch(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Forward of batch_norm."""
    images, channels = _images(x), x.shape[1]
    y, stats = torch.empty_like(images), _new_stats(channels)
    mean, var = _new(x, channels), _new(x, channels)
    given = images, _dense(weight), _dense(bias), y, mean, var, stats, 0, eps
    extension().norm_forward(*given)
    return (_shaped(y, x), mean, var), stats


def batch_backward(
    grads: tuple[Tensor, Tensor, Tensor], stats: Tensor, x: Tensor, weight: Tensor | None,
    bias: Tensor | None, *, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """Backward of batch_norm."""
    grad_y, grad_mean, grad_var = grads
    return _backward(grad_y, stats, x, weight, needs, 0, grad_mean, grad_var)


def group(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, groups: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Forward of group_norm."""
    images = _images(x if x.dim() > 2 else x.unsqueeze(2))
    y, stats = torch.empty_like(images), _new_stats(x.shape[0] * groups)
    given = images, _dense(weight), _dense(bias), y, None, None, stats, groups, eps
    extension().norm_forward(*given)
    return y.view(x.shape), stats


def group_backward(
    grad_y: Tensor, stats: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, *,
    groups: int, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """Backward of group_norm."""
    if x.dim() == 2:
        given = grad_y.unsqueeze(2), stats, x.unsqueeze(2), weight, needs, groups
        grad_x, *others = _backward(*given)
        return None if grad_x is None else grad_x.squeeze(2), *others
    return _backward(grad_y, stats, x, weight, needs, groups)


def _backward(
    grad_y: Tensor, stats: Tensor, x: Tensor, weight: Tensor | None, needs: Needs, groups: int,
    grad_mean: Tensor | None = None, grad_var: Tensor | None = None,
) -> Gradients:  # fmt: skip
    images = _images(x)
    grad_x = torch.empty_like(images) if needs[0] else None
    grad_weight, grad_bias = (_new(x, x.shape[1]) if needed else None for needed in needs[1:])
    extension().norm_backward(
        *(_like(images, grad_y), images, _dense(weight), stats, _dense(grad_mean)),
        *(_dense(grad_var), grad_x, grad_weight, grad_bias, groups),
    )
    return None if grad_x is None else _shaped(grad_x, x), grad_weight, grad_bias


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, None]:
    """Forward of scale_shift."""
    images = _images(x)
    y = torch.empty_like(images)
    extension().scale_shift_forward(images, scale.contiguous(), shift.contiguous(), y)
    return _shaped(y, x), None


def scale_shift_backward(
    grad_y: Tensor, kept: None, x: Tensor, scale: Tensor, shift: Tensor, *, needs: Needs
) -> Gradients:
    """Backward of scale_shift: the parameters' as those of a norm with mean 0 and variance 1."""
    grad_x = scale_shift(grad_y, scale, torch.zeros_like(scale))[0] if needs[0] else None
    if not (needs[1] or needs[2]):
        return grad_x, None, None
    stats = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, x.shape[1])
    return grad_x, *_backward(grad_y, stats, x, None, (False, *needs[1:]), 0)[1:]


# -- rows ------------------------------------------------------------------------------------------


def layer(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *,
    normalized_shape: Shape, eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Forward of layer_norm."""
    return _rows(x, weight, bias, normalized_shape, True, eps)


def layer_backward(
    grad_y: Tensor, stats: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, *,
    normalized_shape: Shape, eps: float, needs: Needs,
) -> Gradients:  # fmt: skip
    """Backward of layer_norm."""
    return _rows_backward(grad_y, stats, x, weight, normalized_shape, True, needs)


def rms(
    x: Tensor, weight: Tensor | None = None, *, normalized_shape: Shape, eps: float | None
) -> tuple[Tensor, Tensor]:
    """Forward of rms_norm."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _rows(x, weight, None, normalized_shape, False, eps)


def rms_backward(
    grad_y: Tensor, stats: Tensor, x: Tensor, weight: Tensor | None, *, normalized_shape: Shape,
    eps: float | None, needs: Needs,
) -> Gradients:  # fmt: skip
    """Backward of rms_norm."""
    needs = (*needs, False)
    return _rows_backward(grad_y, stats, x, weight, normalized_shape, False, needs)[:2]


def _flat(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.contiguous().view(-1)


def _rows(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, normalized_shape: Shape, centre: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    size = math.prod(normalized_shape)
    rows = x.contiguous().view(x.numel() // size, size)
    y, stats = torch.empty_like(rows), _new_stats(len(rows))
    extension().row_norm_forward(rows, _flat(weight), _flat(bias), y, stats, centre, eps)
    return y.view(x.shape), stats


def _rows_backward(
    grad_y: Tensor, stats: Tensor, x: Tensor, weight: Tensor | None, normalized_shape: Shape,
    centre: bool, needs: Needs,
) -> Gradients:  # fmt: skip
    size = math.prod(normalized_shape)
    rows = x.contiguous().view(x.numel() // size, size)
    grad_x = torch.empty_like(rows) if needs[0] else None
    grad_weight, grad_bias = (_new(x, size) if needed else None for needed in needs[1:])
    grads = grad_y.contiguous().view(rows.shape), rows, _flat(weight), stats
    extension().row_norm_backward(*grads, grad_x, grad_weight, grad_bias, centre)
    return (
        None if grad_x is None else grad_x.view(x.shape),
        None if grad_weight is None else grad_weight.view(normalized_shape),
        None if grad_bias is None else grad_bias.view(normalized_shape),
    )
