"""What there is to say of each layer, loss and optimizer: for ``scratchnet zoo`` and docs/zoo."""

from __future__ import annotations

import copy
import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import scratchnet
from scratchnet import backends, layers, optim
from scratchnet.backends import dispatch
from scratchnet.errors import PluginError, ScratchnetError
from scratchnet.layers import loss
from scratchnet.layers.activation import Elementwise
from scratchnet.layers.module import Module
from scratchnet.ops.op import Op
from scratchnet.registry import Registry
from scratchnet.testing.examples import example

KINDS: dict[str, Registry[Any]] = {
    "layer": layers.registry,
    "loss": loss.registry,
    "optimizer": optim.registry,
}


@dataclass(frozen=True)
class Inhabitant:
    """One layer, loss or optimizer.

    Attributes:
        name: in its registry.
        kind: of KINDS.
        made: the class or function.
    """

    name: str
    kind: str
    made: Any

    @property
    def family(self) -> str:
        """The file that it stands in, such as "conv"; that of a plugin is its package."""
        module: str = self.made.__module__
        own = module.startswith("scratchnet.")
        return module.rpartition(".")[2] if own else module.partition(".")[0]

    @property
    def doc(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.made) or ""

    @property
    def formula(self) -> str:
        """What it computes: the first line of its docstring that is a formula, else the first."""
        first = self.doc.partition("\n\n")[0].replace("\n", " ")
        lines = [line.strip() for line in self.doc.splitlines()]
        formulas = [line for line in lines if re.match(r"\(?[\wŷ∂][\w\[\], ]*\)? = ", line)]
        return first if " = " in first or not formulas else formulas[0]

    @property
    def twin(self) -> str:
        """Torch's counterpart; "" if it has none."""
        if self.kind == "optimizer":
            return f"torch.optim.{self.made.__name__}" if _has(torch.optim, self.made) else ""
        names = vars(self.made).get("torch_names", ())
        return str(names[0]) if names else ""

    def specimen(self) -> tuple[Module, tuple[Tensor, ...]] | None:
        """A small one with inputs; None for an optimizer, and a layer that brings no example."""
        if self.kind != "layer":
            return None
        try:
            found = example(self.name)
        except ScratchnetError:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = found.factory()
        first = found.inputs[0]
        inputs = first if isinstance(first, tuple) else (first,)
        try:
            copy.deepcopy(layer).forward(*inputs)
        except ScratchnetError:
            return None
        return layer, inputs

    def operations(self) -> list[Op]:
        """Those that its example calls, in order."""
        made = self.specimen()
        calls: list[tuple[Any, ...]] = []
        if made is not None:
            token = dispatch.watched.set(calls)
            try:
                made[0].forward(*made[1])
            finally:
                dispatch.watched.reset(token)
        return list(dict.fromkeys(call[0] for call in calls))

    def backends(self) -> list[str]:
        """Those that implement all its operations."""
        found = self.operations()
        every = [backends.get(name) for name in backends.names()]
        return [b.name for b in every if all(b.implementation(op) is not None for op in found)]

    @property
    def curve(self) -> Elementwise | None:
        """The layer, if it is one function of one number."""
        made = self.specimen()
        return made[0] if made and isinstance(made[0], Elementwise) else None

    def code(self) -> str:
        """A program that uses it."""
        made = self.specimen()
        if made is None:
            return ""
        layer, inputs = made
        text = repr(layer)
        known = {*layers.names(), *scratchnet.__all__}
        names = sorted(set(re.findall(r"\b([A-Z]\w*)\(", text)) & known)
        given = [_literal(x) for x in inputs]
        variables = ", ".join("xyz"[: len(given)]) if len(given) > 1 else "x"
        several = isinstance(layer.forward(*inputs), tuple)
        ones = "*map(torch.ones_like, out)" if several else "torch.ones_like(out)"
        return "\n".join(
            [
                "import torch",
                f"from scratchnet import {', '.join(names)}",
                "",
                f"layer = {text}",
                f"{variables} = {', '.join(given)}",
                f"out = layer({variables})",
                f"grad = layer.backward({ones})",
            ]
        )


def _has(package: Any, made: Any) -> bool:
    return isinstance(made, type) and hasattr(package, made.__name__)


def _literal(x: Tensor) -> str:
    if x.is_floating_point():
        return f"torch.randn({', '.join(map(str, x.shape))})"
    return f"torch.zeros({', '.join(map(str, x.shape))}, dtype={x.dtype})"


def inhabitants() -> list[Inhabitant]:
    """Return all that can be loaded, by kind and name."""
    found = []
    for kind, registry in KINDS.items():
        for name in registry.names():
            try:
                found.append(Inhabitant(name, kind, registry.get(name)))
            except PluginError:  # `scratchnet info` says what is wrong with it
                continue
    return found


def find(name: str) -> Inhabitant:
    """Return the one of this name.

    Raises:
        PluginError: there is none.
    """
    for kind, registry in KINDS.items():
        if name in registry.names():
            return Inhabitant(name, kind, registry.get(name))
    by_lower = {i.name.lower(): i for i in inhabitants()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    layers.get(name)  # says so, with the nearest name
    raise PluginError(f"there is no {name!r}")


def samples(layer: Elementwise, low: float = -4, high: float = 4, count: int = 161) -> Tensor:
    """Return x, the function there, and its derivative: (3, count)."""
    x = torch.linspace(low, high, count)
    layer = layer.train()
    y = layer.forward(x)
    return torch.stack([x, y, layer.backward(torch.ones_like(y))])
