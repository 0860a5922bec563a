"""One of scratchnet's layers inside an autograd model."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scratchnet.errors import TypeMismatch
from scratchnet.layers.loss import Loss
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter


def as_autograd(layer: Module) -> nn.Module:
    """Return a torch.nn.Module that runs ``layer`` with its hand-written backward inside autograd.

    The parameters are shared, not copied: torch.optim changes the layer's. Gradients go where
    autograd puts them, into the parameters' ``.grad``; the layer's own buffers stay untouched. The
    state dict has the layer's keys. In eval mode the layer keeps nothing, so ``backward`` through
    it is an error, as for the layer itself.

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
        for name, value in layer.named_parameters():
            place, leaf = self._place(name)
            place.register_parameter(leaf, nn.Parameter(value.detach(), value.requires_grad))
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
        names = [name.rpartition(".") for name, _ in self.layer.named_parameters()]
        # by attribute: torch.func.functional_call puts tensors there that are no Parameters
        own = [getattr(self.get_submodule(path), leaf) for path, _, leaf in names]
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


class _Call(torch.autograd.Function):
    """One call of a layer in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, layer: Module, count: int, *tensors: Tensor) -> Any:
        # Autograd decides which calls get a backward, and when: so each call gets a layer of its
        # own, around the parameters that it is given and the layer's buffers.
        inputs, parameters = tensors[:count], tensors[count:]
        shared: dict[int, Any] = {id(buffer): buffer for buffer in layer.buffers()}
        for value, tensor in zip(layer.parameters(), parameters, strict=True):
            own = Parameter(tensor)
            shared |= {id(value): own, id(value.buffer): own.buffer}
        call = copy.deepcopy(layer, shared)
        y = call.forward(*inputs)
        for buffer, now in zip(layer.buffers(), call.buffers(), strict=True):
            if now is not buffer:
                buffer.copy_(now)
        ctx.call = call
        # Not read again: kept so that torch notices if they are changed before backward.
        ctx.save_for_backward(*tensors)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        call: Module = ctx.call
        call.zero_grad()
        grads = call.backward(*grad_outputs)
        grads = grads if isinstance(grads, tuple) else (grads,)
        return None, None, *grads, *(value.buffer.clone() for value in call.parameters())
