"""Checks of a layer made again: from its state, by a copy, from its configuration or its repr."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import torch

import scratchnet
from scratchnet.errors import ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError, assert_same_bits
from scratchnet.testing.subject import Subject, dtype_of
from scratchnet.testing.tensors import shares_memory


def state_dict(s: Subject) -> str:
    """A state goes from one layer into another, which then gives the same output."""
    first, second = s.make(), s.make()
    state = first.state_dict()
    wanted = {name for name, _ in (*first.named_parameters(), *first.named_buffers())}
    if not state.keys() <= wanted or not {n for n, _ in first.named_parameters()} <= state.keys():
        raise ConformanceError(
            f"state_dict() has the keys {list(state)}, not the parameters' and buffers' names "
            f"{sorted(wanted)}"
        )
    second.load_state_dict({name: value.clone() for name, value in state.items()})
    example = s.examples[0]
    what = "output after load_state_dict"
    for actual, expected in zip(s.forward(second, example), s.forward(first, example), strict=True):
        assert_same_bits(actual, expected, what)
    if state:
        try:
            second.load_state_dict({})
        except ScratchnetError:
            pass
        else:
            raise ConformanceError("load_state_dict({}) is expected to raise, and returned")
    return ""


def copies(s: Subject) -> str:
    """deepcopy and pickle give an equal layer that is independent of the first."""
    makers: dict[str, Callable[[Module], Module]] = {"deepcopy": copy.deepcopy}
    if "<locals>" not in type(s.make()).__qualname__:
        makers["pickle"] = lambda layer: pickle.loads(pickle.dumps(layer))
    example = s.examples[0]
    for how, make in makers.items():
        layer = s.make()
        s.step(layer, example)
        twin = make(layer)
        if twin is layer:
            raise ConformanceError(f"{how} returned the layer itself")
        expected = s.forward(layer, example)
        for actual, y in zip(s.forward(twin, example), expected, strict=True):
            assert_same_bits(actual, y, f"output of the {how}")
        for (name, value, grad), (_, other, other_grad) in zip(
            layer.named_param(), twin.named_param(), strict=True
        ):
            if shares_memory(value, other) or shares_memory(grad, other_grad):
                raise ConformanceError(f"the {how} shares the memory of {name} with its original")
        for (name, value), (_, other) in zip(
            layer.named_buffers(), twin.named_buffers(), strict=True
        ):
            if shares_memory(value, other):
                raise ConformanceError(f"the {how} shares the memory of {name} with its original")
        s.backward(twin, tuple(torch.ones_like(y) for y in expected))
    return ""


def config(s: Subject) -> str:
    """type(layer)(**layer.config()) is a layer of the same kind."""
    layer = s.make()
    arguments = layer.config()
    try:
        again = type(layer)(**arguments)
    except TypeError as error:
        raise ConformanceError(
            f"config() returned {arguments}, which the constructor does not take: {error}"
        ) from error
    if again.config().keys() != arguments.keys() or repr(again) != repr(layer):
        raise ConformanceError(f"{layer!r} became {again!r} through its config()")
    if (dtype := dtype_of(layer)) is not None:
        again.to(dtype=dtype)
    for (name, value, _), (_, other, _) in zip(
        layer.named_param(), again.named_param(), strict=True
    ):
        if value.shape != other.shape:
            raise ConformanceError(
                f"{name} has the shape {tuple(value.shape)}, and {tuple(other.shape)} in a layer "
                "made from config(): an argument is missing there"
            )
        other.copy_(value)
    if s.has("stochastic"):  # the generator is no part of the configuration
        layer.eval(), again.eval()
    what = "output of a layer made from config() (expected: the layer's)"
    for example in s.examples:
        for actual, y in zip(s.forward(again, example), s.forward(layer, example), strict=True):
            assert_same_bits(actual, y, what)
    return ""


def representation(s: Subject) -> str:
    """repr shows the configuration and evaluates back."""
    layer = s.make()
    name, text = type(layer).__name__, repr(layer)
    if not text.startswith(f"{name}("):
        raise ConformanceError(f"repr is expected to start with {name}(, got {text!r}")
    try:
        again = eval(text, {}, _Names({name: type(layer)}))
    except Exception as error:
        raise ConformanceError(f"{text!r} does not evaluate: {error}") from error
    if repr(again) != text:
        raise ConformanceError(f"{text!r} evaluates to {again!r}")
    return ""


class _Names(dict[str, Any]):
    """scratchnet's public names, for eval."""

    def __missing__(self, name: str) -> Any:
        if name in scratchnet.__all__:
            return getattr(scratchnet, name)
        raise KeyError(name)
