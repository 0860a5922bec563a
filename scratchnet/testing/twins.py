"""torch.nn's counterparts of the layers, for comparison with autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet.errors import ArgumentError
from scratchnet.interop import to_torch
from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError, shape_hint

Twin = nn.Module | Callable[..., Any]


def torch_twin(layer: Module) -> Twin | None:
    """Return torch's counterpart of a layer, or None.

    For your own layer that is what its method ``twin()`` returns: a torch.nn module, or a function
    of the input and the parameters; for a built-in layer it is torch.nn's, with its parameters.
    """
    own = getattr(layer, "twin", None)
    if own is not None:
        twin: Twin = own()
        return twin
    try:
        return to_torch(layer)
    except ArgumentError:
        return None


def module_twin(layer: Module) -> nn.Module | None:
    """Return ``torch_twin`` as a torch.nn module with copies of the layer's parameters, or None."""
    twin = torch_twin(layer)
    if twin is not None and not isinstance(twin, nn.Module):
        return _Function(twin, [value for _, value, _ in layer.named_param()])
    if twin is not None:
        share_parameters(layer, twin)
    return twin


class _Function(nn.Module):
    """A function of the inputs and the parameters, as a module."""

    def __init__(self, function: Callable[..., Tensor], values: Sequence[Tensor]) -> None:
        super().__init__()
        self.function = function
        self.values = nn.ParameterList([nn.Parameter(v.detach().clone()) for v in values])

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, *self.values)


def share_parameters(layer: Module, twin: nn.Module) -> None:
    """Copy the layer's parameters into ``twin``, by name, or in order where the names differ; and
    the buffers of the same names.

    Raises:
        ConformanceError: number or shapes of the parameters differ.
    """
    own: dict[str, Tensor] = dict(layer.named_parameters())
    theirs: dict[str, Tensor] = dict(twin.named_parameters())
    shapes = [tuple(t.shape) for t in own.values()]
    if own.keys() != theirs.keys() and shapes == [tuple(t.shape) for t in theirs.values()]:
        own = dict(zip(theirs, own.values(), strict=True))
    if {k: t.shape for k, t in own.items()} != {k: t.shape for k, t in theirs.items()}:
        raise ConformanceError(
            "the twin is expected to have the layer's parameters: the layer has "
            f"{ {k: tuple(t.shape) for k, t in own.items()} }, the twin "
            f"{ {k: tuple(t.shape) for k, t in theirs.items()} }"
        )
    own |= dict(layer.named_buffers())
    dtype = next((t.dtype for t in own.values() if t.is_floating_point()), None)
    if dtype is not None:
        twin.to(dtype)
    with torch.no_grad():
        for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
            if name in own:
                tensor.copy_(own[name].detach())


@dataclass(frozen=True)
class Autograd:
    """What a twin gave: outputs, gradients of the inputs (None for integers) and of the parameters
    by the layer's names, and its buffers afterwards.
    """

    outputs: tuple[Tensor, ...]
    inputs: list[Tensor | None]
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]


def autograd(
    twin: Twin, inputs: Sequence[Tensor], layer: Module, grad_outputs: Sequence[Tensor]
) -> Autograd:
    """Run ``twin`` under autograd with the layer's parameters, in the layer's mode.

    Args:
        twin: a module, whose parameters are overwritten with the layer's; or a function that is
            called with the inputs and then the layer's parameters, in order.
        inputs: as the layer's forward takes them.
        layer: whose parameters to use.
        grad_outputs: the gradients of the outputs.

    Raises:
        ConformanceError: the twin's output has another shape than the layer's.
    """
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    names = [name for name, _ in layer.named_parameters()]
    with torch.enable_grad():
        if isinstance(twin, nn.Module):
            share_parameters(layer, twin.train(layer.training))
            parameters = list(twin.parameters())
            named = dict(twin.named_parameters())
            if set(named) == set(names):
                parameters = [named[name] for name in names]
            y = twin(*leaves)
        else:
            parameters = [nn.Parameter(value.detach().clone()) for value in layer.parameters()]
            y = twin(*leaves, *parameters)
        outputs = y if isinstance(y, tuple) else (y,)
        for y, grad_y in zip(outputs, grad_outputs, strict=True):
            if y.shape != grad_y.shape:
                raise ConformanceError(
                    f"output: expected the shape {tuple(y.shape)} of the twin's, "
                    f"got {tuple(grad_y.shape)}" + shape_hint(grad_y.shape, y.shape)
                )
        # a scalar, because autograd spends seconds on imports before it takes a gradient in
        total = sum((y * g).sum() for y, g in zip(outputs, grad_outputs, strict=True))
        wanted = [t for t in (*leaves, *parameters) if t.requires_grad]
        grads = iter(
            torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
            if total.requires_grad
            else [torch.zeros_like(t) for t in wanted]
        )
    return Autograd(
        tuple(y.detach() for y in outputs),
        [next(grads) if x.requires_grad else None for x in leaves],
        {name: next(grads) for name in names},
        dict(twin.named_buffers()) if isinstance(twin, nn.Module) else {},
    )
