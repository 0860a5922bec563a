"""The C++ backend: what the compiled extension ``scratchnet._C`` implements.

Float32 and float64 on the CPU. Any strides are accepted; results are in channels_last memory format
and are the same bits whatever the number of threads. Operations that an extension's kernel serves
as it stands are registered beside their specification, in scratchnet/ops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.backends.base import Backend
from scratchnet.ops.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from scratchnet.ops.conv3d import by_frames, conv3d, conv3d_input_grad
from scratchnet.ops.extension import channels_last, extension, how, new_images, supports
from scratchnet.ops.graph import Stage, Stages, graph
from scratchnet.ops.op import Gradients, Needs, Verdict
from scratchnet.ops.upsample import upsample_conv2d, upsample_nearest, upsampled
from scratchnet.ops.window import Pair

backend = Backend("cpp", priority=100, available=extension.available)

aten = torch.ops.aten


# -- convolution -----------------------------------------------------------------------------------

# Where torch's own convolution is faster; benchmarks/handover.py measures it.
_MANY_GROUPS, _FEWEST_PER_GROUP = 8, 8  # more of fewer channels leave most of a vector empty
_MANY_WEIGHTS, _FEW_PIXELS = 2**19, 1024  # take longer to bring into order than to use
_FEW_TAPS, _MANY_PIXELS = 9, 4096  # of a depthwise convolution: memory decides, not arithmetic


def _better_at_torch(
    dtype: torch.dtype, groups: int, of_group: Pair, weights: int, pixels: int, winograd: bool
) -> str | None:
    """Return why torch's own convolution is faster here; None where ours is.

    Args:
        dtype: of all tensors; torch is never much faster in float64.
        groups: of the convolution.
        of_group: in- and out-channels of a group.
        weights: their number.
        pixels: of the output, in the whole batch, about.
        winograd: whether ours would be by Winograd's algorithm.
    """
    if dtype != torch.float32:
        return None
    if groups > _MANY_GROUPS and of_group == (1, 1):
        if weights <= _FEW_TAPS * groups and pixels >= _MANY_PIXELS:
            return f"few taps of depthwise weights for {pixels} pixels are mostly traffic of memory"
        return None
    if groups > _MANY_GROUPS and min(of_group) < _FEWEST_PER_GROUP:
        return (
            f"{groups} groups of {min(of_group)} channels do not fill the vectors of these kernels"
        )
    if weights >= _MANY_WEIGHTS and 0 < pixels < _FEW_PIXELS and not winograd:
        return f"{weights} weights for {pixels} pixels are not worth packing for these kernels"
    return None


# Where a 3x3 kernel is done by Winograd's F(2x2, 3x3): docs/walk/6-winograd.md.
_FEWEST_CHANNELS = 12  # with fewer in or out most of a vector is empty at the points
# In multiplications that take as long: what a tile's transforms cost for each channel in or out,
# and the weights' for each pair of channels.
_TILE_TRANSFORMS, _WEIGHT_TRANSFORMS = 90, 60


@lru_cache(maxsize=256)
def _winograd_gain(
    size: Pair, weight: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> float:
    """Return how many times as fast Winograd's algorithm is as sums over the taps; 0 where it does
    not apply. It depends on the size of an image and not on their number, so that an image has the
    same result in any batch.
    """
    o, c, *kernel = weight
    if (*kernel, *stride, *dilation, groups) != (3, 3, 1, 1, 1, 1, 1):
        return 0.0
    if min(o, c) < _FEWEST_CHANNELS:
        return 0.0
    seen = tiles = 1  # pixels by taps, without those that lie in the padding; tiles of 2x2 results
    for side, pad in zip(size, padding, strict=True):
        results = side + 2 * pad - 2
        taps = ((max(0, pad - t), min(results, side + pad - t)) for t in range(3))
        seen *= sum(max(0, end - begin) for begin, end in taps)
        tiles *= (results + 1) // 2
    transforms = tiles * _TILE_TRANSFORMS * (o + c) + _WEIGHT_TRANSFORMS * o * c
    return seen * o * c / (tiles * 16 * o * c + transforms)


def _by_winograd(
    x: Tensor, weight: Tensor, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> bool:
    size, shape = (x.shape[2], x.shape[3]), tuple(weight.shape)
    return _winograd_gain(size, shape, stride, padding, dilation, groups) > 1


def _conv2d_reason(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Pair, groups: int, **conv: Any
) -> str | None:
    """Return why a convolution is left to torch; x and weight may be shapes alone."""
    n, _, h, w = x.shape
    o, c, kh, kw = weight.shape
    pixels = n * (h // stride[0]) * (w // stride[1])
    winograd = _by_winograd(x, weight, stride=stride, groups=groups, **conv)
    weights = o * c * kh * kw
    return _better_at_torch(x.dtype, groups, (c, o // groups), weights, pixels, winograd)


def _conv2d_how(x: Tensor, weight: Tensor, bias: Tensor | None = None, **conv: Any) -> str:
    reason = _conv2d_reason(x, weight, **conv)
    if reason:
        return f"runs, by torch's own convolution: {reason}"
    if not _by_winograd(x, weight, **conv):
        return how()
    return f"{how()}, by Winograd's F(2x2, 3x3): 16 multiplications where sums over taps take 36"


def _conv2d_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, **conv: Any
) -> tuple[Tensor, None]:
    if _conv2d_reason(x, weight, **conv):
        y: Tensor = aten.convolution(x, weight, bias, *_steps(**conv))
        return channels_last(y), None
    y = new_images(x, conv2d.check(x, weight, bias, **conv))
    bias = None if bias is None else bias.contiguous()
    conv["winograd"] = _by_winograd(x, weight, **conv)
    extension().conv2d_forward(channels_last(x), weight.contiguous(), bias, y, **conv)
    return y, None


def _conv2d_backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    grad_x = grad_weight = grad_bias = None
    if _conv2d_reason(x, weight, **conv):
        sizes = [weight.shape[0]]
        grad_x, grad_weight, grad_bias = aten.convolution_backward(
            grad_y, x, weight, sizes, *_steps(**conv), needs
        )
        return channels_last(grad_x) if needs[0] else None, grad_weight, grad_bias
    conv["winograd"] = _by_winograd(x, weight, **conv)
    grad_y = channels_last(grad_y)
    if needs[0]:
        grad_x = new_images(grad_y, tuple(x.shape))
        extension().conv2d_input_grad(grad_y, weight.contiguous(), grad_x, **conv)
    if needs[1] or needs[2]:
        grad_weight = grad_y.new_empty(weight.shape) if needs[1] else None
        grad_bias = grad_y.new_empty(weight.shape[0]) if needs[2] else None
        image = channels_last(x) if needs[1] else None
        extension().conv2d_weight_grad(grad_y, image, grad_weight, grad_bias, **conv)
    return grad_x, grad_weight, grad_bias


def _steps(*, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> tuple[Any, ...]:
    """Return the options as aten takes them: not transposed, without output padding."""
    return stride, padding, dilation, False, (0, 0), groups


conv2d.implement(
    "cpp", forward=_conv2d_forward, backward=_conv2d_backward, supports=supports, how=_conv2d_how
)

# The gradients of a convolution as operations: the other two are those of each.


def _image(grad_y: Tensor, weight: Tensor, input_size: Pair, groups: int) -> Tensor:
    """Return something of the shape and dtype of the convolution's input."""
    return grad_y.new_empty(()).expand(grad_y.shape[0], weight.shape[1] * groups, *input_size)


def _weight(grad_y: Tensor, x: Tensor, kernel_size: Pair, groups: int) -> Tensor:
    """Return something of the shape and dtype of the convolution's weight."""
    return x.new_empty(()).expand(grad_y.shape[1], x.shape[1] // groups, *kernel_size)


def _one_gradient(i: int, grad_y: Tensor, x: Tensor, weight: Tensor, **conv: Any) -> Tensor:
    needs = (i == 0, i == 1, False)
    grad = _conv2d_backward(grad_y, None, x, weight, None, needs=needs, **conv)[i]
    assert grad is not None
    return grad


def _input_grad_forward(
    grad_y: Tensor, weight: Tensor, *, input_size: Pair, **conv: Any
) -> tuple[Tensor, None]:
    x = _image(grad_y, weight, input_size, conv["groups"])
    return _one_gradient(0, grad_y, x, weight, **conv), None


def _input_grad_backward(
    grad_x: Tensor, kept: None, grad_y: Tensor, weight: Tensor, *, input_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    return (
        _conv2d_forward(grad_x, weight, **conv)[0] if needs[0] else None,
        _one_gradient(1, grad_y, grad_x, weight, **conv) if needs[1] else None,
    )


def _input_grad_how(grad_y: Tensor, weight: Tensor, *, input_size: Pair, **conv: Any) -> str:
    return _conv2d_how(_image(grad_y, weight, input_size, conv["groups"]), weight, **conv)


conv2d_input_grad.implement(
    "cpp", forward=_input_grad_forward, backward=_input_grad_backward, supports=supports,
    how=_input_grad_how,
)  # fmt: skip


def _weight_grad_forward(
    grad_y: Tensor, x: Tensor, *, kernel_size: Pair, **conv: Any
) -> tuple[Tensor, None]:
    weight = _weight(grad_y, x, kernel_size, conv["groups"])
    return _one_gradient(1, grad_y, x, weight, **conv), None


def _weight_grad_backward(
    grad_w: Tensor, kept: None, grad_y: Tensor, x: Tensor, *, kernel_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    return (
        _conv2d_forward(x, grad_w, **conv)[0] if needs[0] else None,
        _one_gradient(0, grad_y, x, grad_w, **conv) if needs[1] else None,
    )


def _weight_grad_how(grad_y: Tensor, x: Tensor, *, kernel_size: Pair, **conv: Any) -> str:
    return _conv2d_how(x, _weight(grad_y, x, kernel_size, conv["groups"]), **conv)


conv2d_weight_grad.implement(
    "cpp", forward=_weight_grad_forward, backward=_weight_grad_backward, supports=supports,
    how=_weight_grad_how,
)  # fmt: skip

# -- 3-D, by 2-D convolutions of frames ------------------------------------------------------------

for _op, _by_frames in zip(
    (conv3d, conv3d_input_grad), by_frames(conv2d.implementations["cpp"]), strict=True
):
    _op.implement(
        "cpp", forward=_by_frames.forward, backward=_by_frames.backward, supports=supports, how=how
    )

# -- upsampling ------------------------------------------------------------------------------------


def _upsample_forward(x: Tensor, *, scale: Pair) -> tuple[Tensor, None]:
    y = new_images(x, upsample_nearest.check(x, scale=scale))
    extension().upsample_nearest_forward(channels_last(x), y, scale)
    return y, None


def _upsample_backward(
    grad_y: Tensor, kept: None, x: Tensor, *, scale: Pair, needs: Needs
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = new_images(grad_y, tuple(x.shape))
    extension().upsample_nearest_backward(channels_last(grad_y), grad_x, scale)
    return (grad_x,)


upsample_nearest.implement(
    "cpp", forward=_upsample_forward, backward=_upsample_backward, supports=supports, how=how
)


def _one_stage(scale: Pair, conv: dict[str, Any]) -> Stages:
    return Stages([("upsample_conv2d", (0,), tuple({"scale": scale, **conv}.items()))])


def _by_parts(x: Tensor, weight: Tensor, scale: Pair, conv: dict[str, Any]) -> bool:
    """Whether to upsample first, and then to convolve."""
    return conv["stride"] != (1, 1) or bool(_conv2d_reason(upsampled(x, scale), weight, **conv))


def _upsample_conv_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any
) -> tuple[Tensor, Any]:
    """Without stride the upsampled image is never made: docs/adr/0007-upsampling-algebra.md."""
    if _by_parts(x, weight, scale, conv):
        return _conv2d_forward(_upsample_forward(x, scale=scale)[0], weight, bias, **conv)
    return _graph_forward(x, weight, bias, stages=_one_stage(scale, conv), keep=True)


def _upsample_conv_backward(
    grad_y: Tensor, kept: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair,
    needs: Needs, **conv: Any,
) -> Gradients:  # fmt: skip
    if not _by_parts(x, weight, scale, conv):
        stages = _one_stage(scale, conv)
        return _graph_backward(grad_y, kept, x, weight, bias, stages=stages, keep=True, needs=needs)
    large = _upsample_forward(x, scale=scale)[0] if needs[1] else upsampled(x, scale)
    grad_large, *others = _conv2d_backward(grad_y, None, large, weight, bias, needs=needs, **conv)
    if grad_large is None:
        return None, *others
    return *_upsample_backward(grad_large, None, x, scale=scale, needs=(True,)), *others


upsample_conv2d.implement(
    "cpp",
    forward=_upsample_conv_forward,
    backward=_upsample_conv_backward,
    supports=supports,
    how=how,
)

# -- networks --------------------------------------------------------------------------------------


# Planning takes about as long as a small image; 64 plans cover a network on several sizes.
@lru_cache(maxsize=64)
def _plan(stages: Stages, size: tuple[int, ...], shapes: tuple[Any, ...], is_double: bool) -> Any:
    """Return the C++ graph for inputs (C, H, W) and parameters of these shapes."""
    described = []
    for stage, read, own in _shapes(stages, (1, *size), shapes):
        options = stage.arguments
        if own:  # a convolution: what its weight's shape says
            weight = own[0]
            assert weight is not None
            if stage.op == "conv2d":
                options["winograd"] = _by_winograd(read[0], weight, **options)
            options |= {"out_channels": weight.shape[0], "kernel_size": weight.shape[2:]}
        described.append((stage.op, stage.reads, options))
    return extension().Graph(described, size, is_double)


def _shapes(
    stages: Stages,
    x: tuple[int, ...],
    parameters: tuple[Any, ...],
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[Stage, list[Tensor], tuple[Tensor | None, ...]]]:
    """Yield each stage with what it reads and its parameters, of which there is but the shape."""
    nothing = torch.empty((), dtype=dtype)
    values = [nothing.expand(x)]
    given = [None if p is None else nothing.expand(p) for p in parameters]
    for stage, own in stages.with_parameters(given):
        read = [values[i] for i in stage.reads]
        yield stage, read, own
        shape = ops.get(stage.op).check(*read, *own, **stage.arguments)
        values.append(nothing.expand(shape))


def _graph_plan(x: Tensor, parameters: tuple[Tensor | None, ...], stages: Stages) -> Any:
    shapes = tuple(None if p is None else tuple(p.shape) for p in parameters)
    return _plan(stages, tuple(x.shape[1:]), shapes, x.dtype == torch.float64)


_FUSED = {
    *("add", "avg_pool2d", "concat", "conv2d", "max_pool2d", "upsample_conv2d"),
    *("celu", "elu", "gelu", "gelu_tanh", "hardshrink", "hardsigmoid", "hardswish", "hardtanh"),
    *("leaky_relu", "logsigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus"),
    *("softshrink", "softsign", "tanh", "tanhshrink", "threshold"),
}


def _graph_supports(x: Tensor, *parameters: Tensor | None, stages: Stages, keep: bool) -> Verdict:
    verdict = supports(x, *parameters)
    if verdict is not True:
        return verdict
    shapes = tuple(None if p is None else tuple(p.shape) for p in parameters)
    return _fuses(stages, tuple(x.shape), shapes, x.dtype)


@lru_cache(maxsize=256)
def _fuses(
    stages: Stages, x: tuple[int, ...], parameters: tuple[Any, ...], dtype: torch.dtype
) -> Verdict:
    """True if all stages run as one, and faster so; else which one does not, and why."""
    for stage, read, own in _shapes(stages, x, parameters, dtype):
        options = stage.arguments
        if stage.op not in _FUSED:
            return f"{stage.op} is no stage of a C++ graph"
        if stage.op.endswith("conv2d"):
            conv = {name: value for name, value in options.items() if name != "scale"}
            if stage.op == "upsample_conv2d" and options["stride"] != (1, 1):
                return "upsample_conv2d with a stride is done in two parts"
            large = upsampled(read[0], options["scale"]) if "scale" in options else read[0]
            weight = own[0]
            assert weight is not None
            reason = _conv2d_reason(large, weight, **conv)
            if reason:
                return f"a convolution is left to torch: {reason}"
    return True


def _graph_forward(
    x: Tensor, *parameters: Tensor | None, stages: Stages, keep: bool
) -> tuple[Tensor, Any]:
    plan = _graph_plan(x, parameters, stages)
    shape = (x.shape[0], *plan.output_size)
    y = torch.empty(shape, dtype=x.dtype, memory_format=_format_of(x))
    kept = plan.forward(x, _dense(parameters), y, keep)
    return y, (kept, y, plan) if keep else None


def _graph_backward(
    grad_y: Tensor, kept: Any, x: Tensor, *parameters: Tensor | None, stages: Stages, keep: bool,
    needs: Needs, into: Sequence[Tensor | None] | None = None,
) -> Gradients:  # fmt: skip
    inner, y, plan = kept
    grad_x = torch.empty(x.shape, dtype=x.dtype, memory_format=_format_of(x)) if needs[0] else None
    if into is not None:
        plan.backward(x, y, grad_y, inner, _dense(parameters), list(into[1:]), grad_x)
        return grad_x, *(None for _ in parameters)
    grads = [
        torch.zeros_like(p, memory_format=torch.contiguous_format)
        if p is not None and needed
        else None
        for p, needed in zip(parameters, needs[1:], strict=True)
    ]
    plan.backward(x, y, grad_y, inner, _dense(parameters), grads, grad_x)
    return grad_x, *grads


def _format_of(x: Tensor) -> torch.memory_format:
    """Return the memory format for results: that of the input."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not x.is_contiguous() else torch.contiguous_format


def _dense(parameters: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    return [None if p is None else p.contiguous() for p in parameters]


graph.implement(
    "cpp",
    forward=_graph_forward,
    backward=_graph_backward,
    supports=_graph_supports,
    how=how,
    accumulates=True,
)
