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
from scratchnet.layers.loss import MSE
from scratchnet.layers.module import Module


def as_autograd(layer: Module) -> nn.Module:
    """Return a torch.nn.Module that runs ``layer`` with its hand-written backward inside autograd.

    The parameters are shared, not copied: torch.optim changes the layer's. Gradients go where
    autograd puts them, into the parameters' ``.grad``; the layer's own buffers stay untouched. The
    state dict has the layer's keys. In eval mode the layer keeps nothing, so ``backward`` through
    it is an error, as for the layer itself.

    Args:
        layer: any layer or network of one input; what it does not support, the wrapped one does
            not either.

    Raises:
        TypeMismatch: not a scratchnet.Module, or a loss.
    """
    if not isinstance(layer, Module):
        raise TypeMismatch(f"as_autograd expects a scratchnet.Module, got {type(layer).__name__}")
    if isinstance(layer, MSE):
        raise TypeMismatch(
            "as_autograd expects a layer of one input; in place of MSE use nn.MSELoss"
        )
    return _Autograd(layer)


class _Autograd(nn.Module):
    def __init__(self, layer: Module) -> None:
        super().__init__()
        self.layer = layer
        for name, value, _ in layer.named_param():
            *folders, leaf = name.split(".")
            place: nn.Module = self
            for folder in folders:
                if folder not in place._modules:
                    place.add_module(folder, nn.Module())
                place = place.get_submodule(folder)
            place.register_parameter(leaf, nn.Parameter(value))
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Call.apply(self.layer, x, *self._own())  # type: ignore[no-untyped-call]
        return y

    def train(self, mode: bool = True) -> _Autograd:
        self.layer.train(mode)
        return super().train(mode)

    def _own(self) -> list[Tensor]:
        """Return the parameters in the order of the layer's param()."""
        names = [name.rpartition(".") for name, _, _ in self.layer.named_param()]
        return [getattr(self.get_submodule(path), leaf) for path, _, leaf in names]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Autograd:
        """Share again: to(), double(), ... give the parameters other memory."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for own, (value, grad) in zip(self._own(), self.layer.param(), strict=True):
            value.data = own.data
            grad.data = torch.zeros_like(value)
        return self

    def extra_repr(self) -> str:
        return re.sub(r"\n\s*", " ", repr(self.layer))


class _Call(torch.autograd.Function):
    """One call of a layer in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, layer: Module, x: Tensor, *parameters: Tensor) -> Tensor:
        # A layer remembers its last call only, but autograd may run several before going back: each
        # call gets a layer of its own, around the parameters that it is given.
        given = zip(layer.param(), parameters, strict=True)
        call = copy.deepcopy(layer, {id(value): tensor.detach() for (value, _), tensor in given})
        y = call.forward(x)
        ctx.call = call
        # Not read again: kept so that torch notices if they are changed before backward.
        ctx.save_for_backward(x, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        call: Module = ctx.call
        call.zero_grad()
        grad_x = call.backward(grad_outputs[0])
        return None, grad_x, *(grad.clone() for _, grad in call.param())
