"""fold_batch_norm: for inference, a batch norm becomes part of the convolution before it."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor

from scratchnet.errors import TypeMismatch
from scratchnet.layers.batch_norm import BatchNorm2d
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import Upsampling

M = TypeVar("M", bound=Module)


def fold_batch_norm(model: M) -> M:
    """Return a copy of the model, in eval mode, that computes the same with fewer layers: each
    BatchNorm2d that follows a Conv2d or Upsampling in a Sequential, at any depth, is gone.

    In eval mode a batch norm is y = s·x + t for each channel, with s = weight/√(running_var + ε)
    and t = bias − running_mean·s. Behind a convolution that is the convolution with the weight
    s·W and the bias s·b + t. Source: Jacob et al., "Quantization and Training of Neural Networks"
    (2017), section 3.2.

    Layers behind a batch norm move up by one place, and so do their keys in ``state_dict()``. Batch
    norms elsewhere, or without running statistics, stay. The model given is not changed.

    Raises:
        TypeMismatch: not a Module.
    """
    if not isinstance(model, Module):
        raise TypeMismatch(f"fold_batch_norm expects a Module, got {type(model).__name__}")
    folded = deepcopy(model).eval()
    seen: set[int] = set()
    for _, module in list(folded.named_modules()):
        if type(module) is Sequential and id(module) not in seen:
            seen.add(id(module))
            module.modules = _folded(module.modules)
    return folded


def _folded(modules: list[Module]) -> list[Module]:
    found: list[Module] = []
    for module in modules:
        before = found[-1] if found else None
        if isinstance(before, Conv2d | Upsampling) and _follows(module, before):
            assert isinstance(module, BatchNorm2d)
            found[-1] = _merged(before, module.scale, module.shift)
        else:
            found.append(module)
    return found


def _follows(module: Module, before: Conv2d | Upsampling) -> bool:
    """Whether it is a batch norm of what the convolution gives, with fixed statistics."""
    return (
        type(module) is BatchNorm2d
        and module.fixed
        and module.num_features == before.out_channels
        and type(before) in (Conv2d, Upsampling)
    )


def _merged(conv: Conv2d | Upsampling, scale: Tensor, shift: Tensor) -> Module:
    """Return scale · conv + shift as one convolution; its numbers are computed in float64."""
    weight = conv.weight.double() * scale.double().view(-1, 1, 1, 1)
    bias = shift.double()
    if conv.bias is not None:
        bias = bias + conv.bias.double() * scale.double()
    # other initial values are not drawn from torch's generator
    made = type(conv)(
        **{**conv.config(), "bias": True},
        backend=conv.backend,
        generator=torch.Generator(conv.weight.device),
        dtype=conv.weight.dtype,
        device=conv.weight.device,
    )
    made.weight.copy_(weight)
    assert made.bias is not None
    made.bias.copy_(bias)
    return made.eval()
