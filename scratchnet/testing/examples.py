"""A small layer of each kind with an input for it: what ``scratchnet check NAME`` checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchnet import layers
from scratchnet.errors import ArgumentError
from scratchnet.layers.module import Module
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import Twin, torch_twin

DEFAULT_SHAPE = (2, 4, 7, 5)


@dataclass(frozen=True)
class Example:
    """How to make a layer, inputs for it, and what it should equal.

    Attributes:
        factory: makes a fresh layer.
        inputs: example inputs; a tuple for a layer with several.
        twin: of torch.nn, or None.
    """

    factory: Callable[[], Module]
    inputs: list[Tensor | tuple[Tensor, ...]]
    twin: Twin | None


def example(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    shapes: Sequence[Sequence[int]] = (),
) -> Example:
    """Return what to check the layer called ``name`` on.

    Your own layer says it in a classmethod ``example()`` that returns a small layer and an input
    for it (a tuple of several); without one, and without arguments, it is made without
    arguments and given images (2, 4, 7, 5).

    Args:
        name: of the layer, or ``"package.module:Class"``.
        arguments: of its constructor; the example's own if None.
        shapes: of the inputs; the example's own if empty.

    Raises:
        ArgumentError: the layer needs arguments, and none are known; or it does not take these.
        PluginError: there is no such layer, or it cannot be loaded.
    """
    kind = layers.get(name)
    inputs: list[Tensor | tuple[Tensor, ...]] = [
        normal(shape, torch.float32, i) for i, shape in enumerate(shapes)
    ]
    own = getattr(kind, "example", None)
    factory: Callable[[], Module]
    if arguments is not None:
        given = dict(arguments)
        try:
            inspect.signature(kind).bind(**given)
        except TypeError as error:
            raise ArgumentError(f"layer {name!r}: {error}") from error
        factory = lambda: kind(**given)  # noqa: E731
    elif own is not None:
        factory = lambda: own()[0]  # noqa: E731
        inputs = inputs or [own()[1]]
    elif missing := _required(kind):
        raise ArgumentError(
            f"layer {name!r} needs {', '.join(missing)}: give them with --arg {missing[0]}=VALUE "
            "(and shapes with --input N,C,H,W), or give the class a classmethod example() that "
            "returns a small layer and an input for it"
        )
    else:
        factory = kind
    return Example(
        factory, inputs or [normal(DEFAULT_SHAPE, torch.float32, 0)], torch_twin(factory())
    )


def _required(kind: Callable[..., Module]) -> list[str]:
    """Return the constructor's arguments that have no default."""
    return [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
