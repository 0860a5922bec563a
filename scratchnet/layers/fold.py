"""Folding: a network for inference, with batch norms inside the linear maps before them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from scratchnet.errors import TypeMismatch
from scratchnet.layers.batch_norm import BatchNorm1d, BatchNorm2d
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv1d, Conv2d, Conv3d
from scratchnet.layers.conv_transposed import TransposeConv2d
from scratchnet.layers.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d
from scratchnet.layers.graph import Graph
from scratchnet.layers.linear import Linear
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter
from scratchnet.layers.upsampling import Upsampling
from scratchnet.layers.value import Network, Ref, leaves, mapped

M = TypeVar("M", bound=Module)

_OUT_AXIS: dict[type[Module], int] = {
    Linear: 0, Conv1d: 0, Conv2d: 0, Conv3d: 0, Upsampling: 0, TransposeConv2d: 1
}  # fmt: skip
"""The axis of the weight that the out-channels lie along."""


def fold_batch_norm(model: M) -> M:
    """Return a copy in eval mode for inference: fewer layers, equal outputs up to rounding.

    A batch norm that follows a linear map (a convolution, a Linear) is an affine map of each of its
    channels, and becomes part of it: W' = W·γ/√(σ²+ε), b' = (b − μ)·γ/√(σ²+ε) + β.
    Dropout, which does nothing in eval mode, is left out. Layers behind what is left out of a
    Sequential move up. Source: Jacob et al., "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference" (2017), section 3.2.

    Args:
        model: any network, which is not changed. A layer that stands in several places is left as
            it is, and so is a batch norm elsewhere or without running statistics.

    Raises:
        TypeMismatch: not a Module.
    """
    if not isinstance(model, Module):
        raise TypeMismatch(f"fold_batch_norm expects a Module, got {type(model).__name__}")
    model = copy.deepcopy(model).eval()
    owners = {id(module): module for _, module in model.named_modules()}.values()
    uses = Counter(id(child) for owner in owners for _, child in owner.named_children())
    _fold(model, {key for key, count in uses.items() if count == 1})
    return model


def _fold(model: Module, once: set[int]) -> None:
    for _, child in list(model.named_children()):
        _fold(child, once)
    if isinstance(model, Sequential):
        row: list[Module] = []
        for module in model:
            if _does_nothing(module):
                continue
            if row and {id(row[-1]), id(module)} <= once and _foldable(row[-1], module):
                _absorb(row[-1], module)
            else:
                row.append(module)
        model.modules = row
    elif isinstance(model, Graph) and len(model.networks) == 1:
        model._networks = {n: _shorter(model, net, once) for n, net in model.networks.items()}
        model._forget()


def _shorter(model: Graph, network: Network, once: set[int]) -> Network:
    """Fold what can be, and return the steps that are left."""
    readers = Counter(n for s in network.steps for n in _numbers((s.arguments, s.options)))
    readers.update(_numbers(network.output))
    calls = Counter(step.module for step in network.steps)
    unused: set[str] = set()
    gone: dict[int, int] = {}  # {number of a value: that of the one which takes its place}
    for number, step in enumerate(network.steps, start=network.inputs):
        (given,) = step.arguments if len(step.arguments) == 1 else (None,)
        if not step.module or not isinstance(given, Ref) or not isinstance(given.of, int):
            continue
        module = model.get_submodule(step.module)
        if _does_nothing(module):
            gone[number] = given.of
            unused.add(step.module)
            continue
        if given.of < network.inputs or given.of in gone or readers[given.of] > 1:
            continue
        before = network.steps[given.of - network.inputs]
        if not before.module:
            continue
        layer = model.get_submodule(before.module)
        alone = calls[before.module] == calls[step.module] == 1 and {id(layer), id(module)} <= once
        if alone and _foldable(layer, module):
            _absorb(layer, module)
            gone[number] = given.of
            unused.add(step.module)
    for path in unused:
        _remove(model, path)
    return _without(network, gone)


def _without(network: Network, gone: dict[int, int]) -> Network:
    left = [i for i in range(network.inputs + len(network.steps)) if i not in gone]
    place = {number: i for i, number in enumerate(left)}

    def moved(leaf: object) -> object:
        if not isinstance(leaf, Ref) or not isinstance(leaf.of, int):
            return leaf
        number = leaf.of
        while number in gone:
            number = gone[number]
        return Ref(place[number])

    steps = (
        step._replace(arguments=mapped(moved, step.arguments), options=mapped(moved, step.options))
        for number, step in enumerate(network.steps, start=network.inputs)
        if number not in gone
    )
    return Network(network.inputs, tuple(steps), mapped(moved, network.output))


def _numbers(arguments: object) -> Iterator[int]:
    return (x.of for x in leaves(arguments) if isinstance(x, Ref) and isinstance(x.of, int))


def _remove(model: Graph, path: str) -> None:
    """Take a module out of its place, if nothing else calls it by that name."""
    home, _, name = path.rpartition(".")
    vars(model.get_submodule(home)).pop(name, None)


def _does_nothing(module: Module) -> bool:
    """Whether it does nothing in eval mode."""
    return type(module) in (AlphaDropout, Dropout, Dropout1d, Dropout2d)


def _foldable(layer: Module, norm: Module) -> bool:
    axis = _OUT_AXIS.get(type(layer))
    grouped = axis == 1 and getattr(layer, "groups", 1) > 1
    return (
        axis is not None
        and not grouped
        and type(norm) in (BatchNorm1d, BatchNorm2d)
        and norm.running_mean is not None  # type: ignore[attr-defined]
        and norm.num_features == layer.weight.shape[axis]  # type: ignore[attr-defined]
    )


def _absorb(layer: Module, norm: Module) -> None:
    """Make one layer compute what the two did."""

    def wide(owner: Module, name: str, otherwise: float) -> Tensor:
        value = getattr(owner, name)
        return torch.tensor(otherwise, dtype=torch.float64) if value is None else value.double()

    weight: Tensor = layer.weight  # type: ignore[attr-defined]
    scale = wide(norm, "weight", 1.0) * (wide(norm, "running_var", 1.0) + norm.eps).rsqrt()  # type: ignore[attr-defined]
    bias = (wide(layer, "bias", 0.0) - wide(norm, "running_mean", 0.0)) * scale
    bias = (bias + wide(norm, "bias", 0.0)).to(weight.dtype)
    along = [1] * weight.dim()
    along[_OUT_AXIS[type(layer)]] = -1
    # new parameters: another layer may share the old ones
    for name, value in (("weight", (weight.double() * scale.view(along)).to(weight.dtype)),
                        ("bias", bias)):  # fmt: skip
        made = Parameter(value)
        setattr(layer, name, made)
        setattr(layer, f"grad_{name}", made.buffer)
