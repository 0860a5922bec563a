"""From torch.nn to scratchnet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from scratchnet.errors import ArgumentError, TypeMismatch
from scratchnet.interop.containers import complain, counterparts
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import NearestUpsampling, Upsampling

T = TypeVar("T", bound=Module)
_Known = dict[type[nn.Module], type[Module]]


def from_torch(module: nn.Module) -> Module:
    """Return the scratchnet counterpart of a torch.nn network, with a copy of its weights.

    A nearest upsampling directly before an ungrouped nn.Conv2d becomes one Upsampling, which the
    kernels run without building the enlarged image; the layers behind it move up by one place.
    dtype, device, mode (train or eval) and ``requires_grad`` are kept.

    Args:
        module: one that a layer or loss names (``torch_names``), with arguments that have a
            counterpart; nn.Identity; or an nn.Sequential, TorchResidual or TorchConcat of such.

    Raises:
        ArgumentError: modules or arguments without a counterpart; the message names them all.
        TypeMismatch: not an nn.Module.
    """
    if not isinstance(module, nn.Module):
        raise TypeMismatch(f"from_torch expects a torch.nn.Module, got {type(module).__name__}")
    problems = [f"{name} (a parameter that several modules share)" for name in _shared(module)]
    known = counterparts()
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and written over
        converted = _from_torch(module, "", problems, known)
    names = ", ".join(kind.__name__ for kind in (*known, nn.Identity))
    complain("from_torch", problems, f"known are {names}, in nn.Sequential; replace the rest")
    return converted.train(module.training)


def _from_torch(module: nn.Module, path: str, problems: list[str], known: _Known) -> Module:
    def child(name: str, value: nn.Module) -> Module:
        return _from_torch(value, f"{path}.{name}" if path else name, problems, known)

    try:
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise ArgumentError("it has hooks")
        if type(module) is nn.Sequential:  # named_children() leaves out repeated modules
            return _chain([child(n, m) for n, m in module._modules.items() if m is not None])
        if type(module) is nn.Identity:
            return Sequential()
        if type(module) not in known:  # a subclass may compute something else
            raise ArgumentError("")
        kind = known[type(module)]
        config = kind.from_torch_config(module)
        nested = {k: child(k, v) for k, v in config.items() if isinstance(v, nn.Module)}
        made = kind(**config | nested)
        return made if nested else _filled(made, module)
    except ArgumentError as reason:
        what = f"{path or 'the module itself'} ({type(module).__name__})"
        problems.append(f"{what}: {reason}" if str(reason) else what)
        return Sequential()


def _chain(layers: list[Module]) -> Module:
    """Return layers in a row, each nearest upsampling merged with the convolution behind it."""
    row: list[Module] = []
    for layer in layers:
        if row and type(row[-1]) is NearestUpsampling and type(layer) is Conv2d:
            merged = _merged(row[-1], layer)
            row[-1:] = [merged] if merged else [row[-1], layer]
        else:
            row.append(layer)
    # The pair that to_torch makes of an Upsampling is the Upsampling again, not a row of one.
    return row[0] if len(layers) == 2 and type(row[0]) is Upsampling else Sequential(*row)


def _merged(nearest: NearestUpsampling, conv: Conv2d) -> Upsampling | None:
    arguments = conv.config()
    if arguments.pop("groups") != 1:
        return None
    return _filled(Upsampling(**arguments, scale_factor=nearest.scale_factor), conv)


def _filled(layer: T, source: nn.Module | Module) -> T:
    given = dict(source.named_parameters())
    example = next(iter(given.values()), None)
    if example is not None:
        layer.to(dtype=example.dtype, device=example.device)
    layer.load_state_dict(source.state_dict())
    for name, value in layer.named_parameters():
        value.requires_grad = given[name].requires_grad
    return layer


def _shared(module: nn.Module) -> Iterator[str]:
    """Yield the names of parameters that were met under another name before."""
    seen: set[int] = set()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            yield name
        seen.add(id(parameter))
