"""A layer inside torch.compile: two opaque operations, its forward and its backward.

The compiler knows nothing of what a forward keeps, so the backward runs the forward once more, with
the random numbers of the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from scratchnet.layers import kept
from scratchnet.layers.module import Module

_layers: WeakValueDictionary[int, Module] = WeakValueDictionary()
_numbers = count()


def number(layer: Module) -> int:
    """Return what the operations call this layer."""
    found = next(_numbers)
    _layers[found] = layer
    return found


def call(
    number: int,
    training: bool,
    inputs: Sequence[Tensor],
    parameters: list[Tensor],
    buffers: list[Tensor],
) -> Any:
    """Return the outputs of the layer; its buffers are set to what they are afterwards."""
    found = torch.ops.scratchnet.layer(number, training, list(inputs), parameters, buffers)
    outputs, after = found[: len(found) - 1 - len(buffers)], found[len(found) - 1 - len(buffers) :]
    for buffer, now in zip(buffers, after, strict=False):
        buffer.copy_(now.detach())
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _ready(
    number: int, training: bool, parameters: Sequence[Tensor], buffers: Sequence[Tensor]
) -> Module:
    from scratchnet.interop.autograd import with_tensors

    copies = [buffer.clone() for buffer in buffers]
    return with_tensors(_layers[number], parameters, copies).train(training)


def _generators(layer: Module) -> list[torch.Generator]:
    """The sources of its random numbers: torch's, and its own."""
    own = {id(v): v for _, m in layer.named_modules() for v in vars(m).values()}
    found = [v for v in own.values() if isinstance(v, torch.Generator)]
    return [torch.default_generator, *found]


def _run(layer: Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs, and the buffers and the state of the random numbers."""
    source = _generators(layer)
    before = torch.cat([generator.get_state() for generator in source])
    y = layer.forward(*inputs)
    outputs = list(y) if isinstance(y, tuple) else [y]
    return [*outputs, *(b.clone() for b in layer.buffers()), before]


@torch.library.custom_op("scratchnet::layer", mutates_args=())
def _forward(
    number: int,
    training: bool,
    inputs: list[Tensor],
    parameters: list[Tensor],
    buffers: list[Tensor],
) -> list[Tensor]:
    return _run(_ready(number, training, parameters, buffers), inputs)


@_forward.register_fake
def _(
    number: int,
    training: bool,
    inputs: list[Tensor],
    parameters: list[Tensor],
    buffers: list[Tensor],
) -> list[Tensor]:
    # the shapes are those of a run on ones, of whole numbers on zeros
    with unset_fake_temporarily(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        real = [
            [torch.full(tuple(map(int, t.shape)), t.is_floating_point(), dtype=t.dtype) for t in ts]
            for ts in (inputs, parameters, buffers)
        ]
        found = _run(_ready(number, training, real[1], real[2]), real[0])
    return [inputs[0].new_empty(y.shape, dtype=y.dtype) for y in found]


@torch.library.custom_op("scratchnet::layer_backward", mutates_args=())
def _backward(
    number: int,
    training: bool,
    grads: list[Tensor],
    noise: Tensor,
    inputs: list[Tensor],
    parameters: list[Tensor],
    buffers: list[Tensor],
) -> list[Tensor]:
    from scratchnet.interop.autograd import gradients

    layer = _ready(number, training, parameters, buffers)
    source = _generators(layer)
    now = [generator.get_state() for generator in source]
    for generator, state in zip(source, torch.split(noise, [len(s) for s in now]), strict=True):
        generator.set_state(state.clone())
    with kept.keeping():
        layer.forward(*inputs)
    for generator, state in zip(source, now, strict=True):
        generator.set_state(state)
    found = gradients(layer, grads)
    given = [*inputs, *parameters]
    return [
        torch.zeros_like(x) if grad is None else grad.contiguous()
        for x, grad in zip(given, found, strict=True)
    ]


@_backward.register_fake
def _(
    number: int,
    training: bool,
    grads: list[Tensor],
    noise: Tensor,
    inputs: list[Tensor],
    parameters: list[Tensor],
    buffers: list[Tensor],
) -> list[Tensor]:
    plain = torch.contiguous_format
    return [torch.empty_like(x, memory_format=plain) for x in (*inputs, *parameters)]


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.number, ctx.training, given, parameters, buffers = inputs
    ctx.counts = len(given), len(parameters), len(buffers)
    ctx.save_for_backward(output[-1], *given, *parameters, *(b.clone() for b in buffers))
    ctx.mark_non_differentiable(*output[len(output) - 1 - len(buffers) :])


def _differentiate(ctx: Any, grads: list[Tensor]) -> Any:
    noise, *tensors = ctx.saved_tensors
    inputs, parameters, buffers = _parts(tensors, ctx.counts)
    outputs = grads[: len(grads) - 1 - len(buffers)]
    found = torch.ops.scratchnet.layer_backward(
        ctx.number, ctx.training, list(outputs), noise, inputs, parameters, buffers
    )
    given = [
        grad if x.is_floating_point() else None
        for x, grad in zip((*inputs, *parameters), found, strict=True)
    ]
    count = len(inputs)
    return None, None, given[:count], given[count:], [None] * len(buffers)


def _parts(tensors: list[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    found = []
    for size in counts:
        found.append(tensors[:size])
        tensors = tensors[size:]
    return found


_forward.register_autograd(_differentiate, setup_context=_keep)
