"""One of scratchnet's layers inside an autograd model."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet.errors import ArgumentError, TypeMismatch
from scratchnet.interop import compiled
from scratchnet.layers import kept
from scratchnet.layers.loss import Loss
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter


def as_autograd(layer: Module) -> nn.Module:
    """Return a torch.nn.Module that runs ``layer`` with its hand-written backward inside autograd.

    The parameters are shared, not copied: torch.optim changes the layer's. Gradients go where
    autograd puts them, into the parameters' ``.grad``; the layer's own buffers stay untouched. The
    state dict has the layer's keys. Gradients are there in eval mode, too, for a saliency map, say;
    there are no second derivatives, which is an error. Under autocast the layer computes in the
    dtype of its parameters. Inside torch.compile it is one opaque operation, which goes through its
    forward once more for the backward.

    Args:
        layer: any layer or network; what it does not support, the wrapped one does not either.

    Raises:
        TypeMismatch: not a scratchnet.Module, or a loss.
    """
    if not isinstance(layer, Module):
        raise TypeMismatch(f"as_autograd expects a scratchnet.Module, got {type(layer).__name__}")
    if isinstance(layer, Loss):
        raise TypeMismatch(
            "as_autograd expects a layer, not a loss: use torch.nn's, such as nn.MSELoss"
        )
    return _Autograd(layer)


class _Autograd(nn.Module):
    def __init__(self, layer: Module) -> None:
        super().__init__()
        self.layer = layer
        self._number, self._names = compiled.number(layer), []
        for name, value in layer.named_parameters():
            place, leaf = self._place(name)
            place.register_parameter(leaf, nn.Parameter(value.detach(), value.requires_grad))
            self._names.append((name.rpartition(".")[0], leaf))
        for name, buffer in layer.named_buffers():
            place, leaf = self._place(name)
            place.register_buffer(leaf, buffer)
        self.train(layer.training)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """Return the module at the dots of ``name``, made if there is none, and what is left."""
        *folders, leaf = name.split(".")
        place: nn.Module = self
        for folder in folders:
            if folder not in place._modules:
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        return place, leaf

    def forward(self, *inputs: Tensor) -> Any:
        # by attribute: torch.func.functional_call puts tensors there that are no Parameters
        own = [getattr(self.get_submodule(path), leaf) for path, leaf in self._names]
        if torch.compiler.is_compiling():
            return compiled.call(self._number, self.training, inputs, own, list(self.buffers()))
        inputs = tuple(_in_dtype_of(x, own) for x in inputs)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return _Call.apply(self.layer, len(inputs), *inputs, *own)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> _Autograd:
        self.layer.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Autograd:
        """Share again: to(), double(), ... give the parameters other memory."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self.layer.named_parameters():
            value.data = self.get_parameter(name).data
            value.buffer.data = torch.zeros_like(value)
        for name, buffer in self.layer.named_buffers():
            buffer.data = self.get_buffer(name).data
        return self

    def extra_repr(self) -> str:
        return re.sub(r"\n\s*", " ", repr(self.layer))


def _in_dtype_of(x: Any, parameters: list[Tensor]) -> Any:
    """Return an input as autocast has it: in the dtype of the parameters."""
    if not (isinstance(x, Tensor) and x.is_floating_point() and parameters):
        return x
    return x.to(parameters[0].dtype) if torch.is_autocast_enabled(x.device.type) else x


def with_tensors(layer: Module, parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> Module:
    """Return a copy of the layer around these parameters and buffers.

    Autograd decides which calls get a backward, and when: so each call gets a layer of its own.
    """
    shared: dict[int, Any] = {}
    for value, tensor in zip(layer.parameters(), parameters, strict=True):
        own = Parameter(tensor)
        shared |= {id(value): own, id(value.buffer): own.buffer}
    shared |= {id(b): given for b, given in zip(layer.buffers(), buffers, strict=True)}
    return copy.deepcopy(layer, shared)


class _Call(torch.autograd.Function):
    """One call of a layer in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, layer: Module, count: int, *tensors: Tensor) -> Any:
        inputs, parameters = tensors[:count], tensors[count:]
        call = with_tensors(layer, parameters, list(layer.buffers()))
        with kept.keeping() if any(ctx.needs_input_grad) else nullcontext():
            y = call.forward(*inputs)
        for buffer, now in zip(layer.buffers(), call.buffers(), strict=True):
            if now is not buffer:
                buffer.copy_(now)
        ctx.call = call
        # Not read again: kept so that torch notices if they are changed before backward.
        ctx.save_for_backward(*tensors)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        call, tensors = ctx.call, ctx.saved_tensors
        with torch.no_grad(), torch.autocast(grad_outputs[0].device.type, enabled=False):
            grads = gradients(call, grad_outputs)
        if torch.is_grad_enabled():
            name = type(call).__name__
            grads = [
                _Once.apply(name, grad, *grad_outputs, *tensors) if grad is not None else None  # type: ignore[no-untyped-call]
                for grad in grads
            ]
        return None, None, *grads


def gradients(call: Module, grad_outputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of a layer's inputs and parameters."""
    call.zero_grad()
    grads = call.backward(*grad_outputs)
    grads = grads if isinstance(grads, tuple) else (grads,)
    return [*grads, *(value.buffer.clone() for value in call.parameters())]


class _Once(torch.autograd.Function):
    """A gradient that has none itself."""

    @staticmethod
    def forward(ctx: Any, name: str, grad: Tensor, *others: Tensor) -> Tensor:
        ctx.name = name
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        raise ArgumentError(
            f"the backward of {ctx.name} is written by hand and has no gradient itself, so there "
            "are no second derivatives: use to_torch(layer) instead of as_autograd(layer) for them"
        )
