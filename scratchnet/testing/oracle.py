"""What the reference is compared with: counterparts, by torch, of operations whose arguments differ
from torch's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scratchnet.ops.window import Pair


def conv2d_input_grad(
    grad_y: Tensor, weight: Tensor, *, input_size: tuple[int, ...], **conv: Any
) -> Tensor:
    """A transposed convolution, with the output padding that gives this size."""
    stride, padding, dilation = conv["stride"], conv["padding"], conv["dilation"]
    plain = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(
            grad_y.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    # with zeros behind the last row and column where torch takes no such output padding
    more = [max(0, want - have) for want, have in zip(input_size, plain, strict=True)]
    transposed = getattr(functional, f"conv_transpose{len(plain)}d")
    y = transposed(grad_y, weight, None, stride, 0, 0, conv["groups"], dilation)
    around = zip(reversed(padding), reversed(more), strict=True)
    y = functional.pad(y, [n for p, extra in around for n in (0, p + extra)])
    for axis, (first, size) in enumerate(zip(padding, input_size, strict=True), start=2):
        y = y.narrow(axis, first, size)
    return y


conv3d_input_grad = conv2d_input_grad


def conv2d_weight_grad(grad_y: Tensor, x: Tensor, *, kernel_size: Pair, **conv: Any) -> Tensor:
    """The gradient of sum(conv2d(x, W) * grad_y), which is linear in W, by autograd."""
    shape = (grad_y.shape[1], x.shape[1] // conv["groups"], *kernel_size)
    weight = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
    y = functional.conv2d(x, weight, None, **conv)
    (grad,) = torch.autograd.grad((y * grad_y).sum(), weight, create_graph=True)
    return grad


def upsample_nearest(x: Tensor, *, scale: Pair) -> Tensor:
    """By repeat_interleave."""
    return x.repeat_interleave(scale[0], 2).repeat_interleave(scale[1], 3)


def upsample_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any
) -> Tensor:
    """One after the other."""
    return functional.conv2d(upsample_nearest(x, scale=scale), weight, bias, **conv)


def concat(a: Tensor, b: Tensor) -> Tensor:
    """By torch.cat along the channels."""
    return torch.cat([a, b], 1)


def pad(x: Tensor, *, padding: tuple[int, ...], mode: str, value: float) -> Tensor:
    """By torch.nn.functional.pad, which wants a batch and channels before the padded axes."""
    before, axes = x.shape[: -len(padding) // 2], x.shape[-len(padding) // 2 :]
    images = x.reshape(math.prod(before), 1, *axes)
    y = functional.pad(images, padding, mode, value if mode == "constant" else None)
    return y.reshape(*before, *y.shape[2:])


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """By torch.nn.functional.batch_norm in training, and means."""
    axes = (0, *range(2, x.dim()))
    mean = x.mean(axes)
    var = (x.movedim(1, -1) - mean).square().movedim(-1, 1).mean(axes)
    return functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps), mean, var


def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, eps: float
) -> Tensor:
    """By torch.nn.functional.group_norm."""
    return functional.group_norm(x, groups, weight, bias, eps)


def layer_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, normalized_shape: tuple[int, ...],
    eps: float,
) -> Tensor:  # fmt: skip
    """By torch.nn.functional.layer_norm."""
    return functional.layer_norm(x, normalized_shape, weight, bias, eps)


def rms_norm(
    x: Tensor, weight: Tensor | None, *, normalized_shape: tuple[int, ...], eps: float | None
) -> Tensor:
    """By torch.nn.functional.rms_norm."""
    return functional.rms_norm(x, normalized_shape, weight, eps)


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """By the batch norm of torch.nn.functional in eval mode, with mean 0 and variance 1."""
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
    return functional.batch_norm(x, zeros, ones, scale, shift, False, 0.0, 0.0)


def dropout(x: Tensor, *, scale: float, shift: float, fill: float, **places: Any) -> Tensor:
    """By multiplying with the mask that all-ones show."""
    from scratchnet.ops import dropout as own

    ones, _ = own.dropout.reference.forward(torch.ones_like(x), **places, scale=1.0)
    kept: Tensor = ones
    return (x * scale + shift) * kept + fill * (1 - kept)


def charbonnier_loss(x: Tensor, target: Tensor, *, reduction: str, eps: float) -> Tensor:
    """By the length of (x − y, eps)."""
    losses = torch.hypot(x - target, torch.full_like(x, eps))
    return losses if reduction == "none" else getattr(losses, reduction)()


def binary_cross_entropy_with_logits(
    x: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, *, reduction: str
) -> Tensor:
    """By torch.nn.functional, which takes the second weight by name."""
    return functional.binary_cross_entropy_with_logits(
        x, target, weight, reduction=reduction, pos_weight=pos_weight
    )


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
    """What torch's attention makes of the unit vectors for values."""
    eye = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-1], k.shape[-2])
    return attention(q, k, eye, mask, **options)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool, scale: Any,
    p: float, seed: int,
) -> Tensor:  # fmt: skip
    """By torch's attention; with dropout, and without its own, from the weights that gives."""
    from scratchnet.ops.dropout import kept_places

    if causal:
        later = torch.full((q.shape[-2], k.shape[-2]), -torch.inf, dtype=q.dtype).triu(1)
        mask = later if mask is None else mask + later
    if not p:
        return functional.scaled_dot_product_attention(q, k, v, mask, scale=scale)
    weights = attention_weights(q, k, mask, causal=False, scale=scale, p=0.0, seed=0)
    kept = kept_places(weights.numel(), p, seed).view(weights.shape)
    y: Tensor = (weights * kept / (1 - p)) @ v
    return y


def graph(x: Tensor, *parameters: Tensor | None, stages: Any, keep: bool) -> Tensor:
    """Each stage by its own twin."""
    from importlib import import_module

    from scratchnet import ops

    values = [x]
    for stage, own in stages.with_parameters(parameters):
        module, _, name = str(ops.get(stage.op).twin).rpartition(".")
        function = getattr(import_module(module), name)
        values.append(function(*(values[i] for i in stage.reads), *own, **stage.arguments))
    return values[-1]


def interpolate(
    x: Tensor, *, size: tuple[int, ...], mode: str, align_corners: bool, scale: Any
) -> Tensor:
    """By what functional.interpolate calls for this mode; itself it takes no size with scale."""
    kind = mode.replace("nearest-exact", "nearest_exact")
    hidden = "_" if mode == "nearest-exact" else ""
    upsample = getattr(torch.ops.aten, f"{hidden}upsample_{kind}{len(size)}d")
    aligned = () if mode.startswith("nearest") else (align_corners,)
    y: Tensor = upsample(x, size, *aligned, *(scale or (None,) * len(size)))
    return y


def pixel_shuffle(x: Tensor, *, upscale_factor: int) -> Tensor:
    """By torch.nn.functional.pixel_shuffle, whose backward takes no empty batch."""
    if x.numel():
        return functional.pixel_shuffle(x, upscale_factor)
    n, c, h, w = x.shape
    return x.reshape(n, c // upscale_factor**2, h * upscale_factor, w * upscale_factor)


def pixel_unshuffle(x: Tensor, *, downscale_factor: int) -> Tensor:
    """By torch.nn.functional.pixel_unshuffle, which takes no empty batch."""
    if x.numel():
        return functional.pixel_unshuffle(x, downscale_factor)
    n, c, h, w = x.shape
    return x.reshape(n, c * downscale_factor**2, h // downscale_factor, w // downscale_factor)


def hardsigmoid(x: Tensor) -> Tensor:
    """From relu6: the derivative of torch.nn.functional.hardsigmoid is 1/6 in float32 always."""
    return functional.relu6(x + 3) / 6


def celu(x: Tensor, *, alpha: float) -> Tensor:
    """By its formula: torch.nn.functional.celu rounds 1/alpha to float32."""
    return torch.where(x > 0, x, alpha * torch.expm1(x / alpha))


def gelu_tanh(x: Tensor) -> Tensor:
    """By torch.nn.functional.gelu."""
    return functional.gelu(x, approximate="tanh")


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """By torch.nn.functional.prelu, which takes no slope for each element."""
    if weight.shape != x.shape:
        return functional.prelu(x, weight)
    return functional.prelu(x.reshape(1, -1), weight.reshape(-1)).reshape(x.shape)


def swiglu(x: Tensor, *, dim: int) -> Tensor:
    """By torch.nn.functional.silu of the first half."""
    a, b = x.chunk(2, dim)
    return functional.silu(a) * b
