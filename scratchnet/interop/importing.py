"""From torch.nn to scratchnet."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from scratchnet.errors import ArgumentError, TypeMismatch
from scratchnet.interop.containers import complain, counterparts
from scratchnet.interop.tracing import built_in, hooked, traced
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.fold import fold_batch_norm
from scratchnet.layers.module import Module
from scratchnet.layers.resampling import Upsample
from scratchnet.layers.upsampling import Upsampling

T = TypeVar("T", bound=Module)


def from_torch(module: nn.Module) -> Module:
    """Return the scratchnet counterpart of a torch.nn network, with a copy of its weights.

    A module with a forward of its own becomes a :class:`scratchnet.Graph`, by torch.fx: sums,
    concatenations, reshaping, slices and functional calls are steps of it, the modules inside keep
    their names, and so the state dict its keys. Arguments of that forward that have a default keep
    it. A nearest upsampling directly before an ungrouped nn.Conv2d becomes one Upsampling, which
    the kernels run without building the enlarged image; the layers behind it move up by one place.
    dtype, device, mode (train or eval), ``requires_grad`` and shared parameters are kept.

    In eval mode the result is for inference: batch norms are folded into the convolutions and
    linear maps before them, dropout is left out. To go on training, convert in training mode.

    Args:
        module: of modules that a layer or loss names (``torch_names``), with arguments that have a
            counterpart, in nn.Sequential or in a forward that torch.fx can trace.

    Raises:
        ArgumentError: modules, arguments or steps without a counterpart; the message names them
            all.
        TypeMismatch: not an nn.Module.
    """
    if not isinstance(module, nn.Module):
        raise TypeMismatch(f"from_torch expects a torch.nn.Module, got {type(module).__name__}")
    converter = _Converter()
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and written over
        converted = converter.convert(module, "")
    names = ", ".join(kind.__name__ for kind in converter.known)
    cure = f"known are {names}, and modules with a forward of their own; replace the rest"
    complain("from_torch", converter.problems, cure)
    _share(converted, module)
    return converted if module.training else fold_batch_norm(converted)


class _Converter:
    """Makes layers of torch's modules, one of each.

    Attributes:
        known: which layer a class becomes.
        problems: a line for each module or step without a counterpart.
    """

    def __init__(self) -> None:
        self.known = counterparts()
        self.problems: list[str] = []
        # By identity; with the module, for one that was made for a function and is gone leaves its
        # identity to the next.
        self._made: dict[int, tuple[nn.Module, Module]] = {}

    def converts(self, module: nn.Module) -> bool:
        """Whether a module has a counterpart by its class alone, or else will be refused."""
        if type(module) is nn.Sequential:
            return all(map(self.converts, module))
        return type(module) in self.known or built_in(module) or hooked(module)

    def convert(self, module: nn.Module, path: str) -> Module:
        """Return the counterpart of a module; ``path`` is its place, for messages."""
        if id(module) not in self._made:
            try:
                made = self._convert(module, path)
                made.training = module.training
            except ArgumentError as reason:
                what = f"{path or 'the module itself'} ({type(module).__name__})"
                self.problems.append(f"{what}: {reason}" if str(reason) else what)
                made = Sequential()
            self._made[id(module)] = module, made
        return self._made[id(module)][1]

    def _convert(self, module: nn.Module, path: str) -> Module:
        def child(name: str, value: nn.Module) -> Module:
            return self.convert(value, f"{path}.{name}" if path else name)

        if hooked(module):
            raise ArgumentError("it has hooks")
        if type(module) is nn.Sequential and self.converts(module):
            # named_children() leaves out repeated modules
            return _chain([child(n, m) for n, m in module._modules.items() if m is not None])
        if type(module) in self.known:  # a subclass may compute something else
            kind = self.known[type(module)]
            config = kind.from_torch_config(module)
            nested = {k: child(k, v) for k, v in config.items() if isinstance(v, nn.Module)}
            made = kind(**config | nested)
            return made if nested else _filled(made, module)
        if built_in(module):
            raise ArgumentError("")
        return traced(module, path, self.converts, self.convert, self.problems)


def _chain(layers: list[Module]) -> Module:
    """Return layers in a row, each nearest upsampling merged with the convolution behind it."""
    row: list[Module] = []
    for layer in layers:
        before = row[-1] if row else None
        if isinstance(before, Upsample) and type(layer) is Conv2d:
            merged = _merged(before.whole_factors, layer)
            row[-1:] = [merged] if merged else [before, layer]
        else:
            row.append(layer)
    # The pair that to_torch makes of an Upsampling is the Upsampling again, not a row of one.
    return row[0] if len(layers) == 2 and type(row[0]) is Upsampling else Sequential(*row)


def _merged(factors: tuple[int, ...] | None, conv: Conv2d) -> Upsampling | None:
    if factors is None or conv.groups != 1 or conv.pads_first:
        return None
    arguments = conv.config() | conv.options  # padding in numbers
    del arguments["groups"]
    return _filled(Upsampling(**arguments, scale_factor=factors), conv)


def _filled(layer: T, source: nn.Module | Module) -> T:
    given = dict(source.named_parameters())
    tensors = (*given.values(), *source.buffers())
    example = next((t for t in tensors if t.is_floating_point()), None)
    if example is not None:
        layer.to(dtype=example.dtype, device=example.device)
    layer.load_state_dict(source.state_dict())
    for name, value in layer.named_parameters():
        value.requires_grad = given[name].requires_grad
    return layer


def _share(converted: Module, module: nn.Module) -> None:
    """Let parameters be one where the module's are, as an embedding and a head often share one."""
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        before = first.setdefault(id(parameter), name)
        if before != name:
            own = {path: (m, n) for path, _, m, n in converted._tensors("_parameters")}
            if before in own and name in own:
                (source, there), (layer, here) = own[before], own[name]
                setattr(layer, here, getattr(source, there))
                setattr(layer, f"grad_{here}", getattr(source, f"grad_{there}"))
