"""What a layer's checks work on: fresh layers, example inputs, and one forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import Twin

Example = tuple[Tensor, ...]


@dataclass(frozen=True)
class Step:
    """What one forward and one backward of a layer gave.

    Attributes:
        y: the output.
        grad_y: the random gradient that went in.
        grads: of the inputs; a layer may return fewer than it has inputs.
    """

    y: Tensor
    grad_y: Tensor
    grads: Example


class Subject:
    """A layer to be checked.

    Args:
        factory: makes a fresh layer each time it is called.
        inputs: example inputs, one forward each: tensors, or tuples of them for a layer with
            several inputs. Square images and batches of one are joined by rectangles and batches
            of two, where the layer takes them.
        twin: a torch.nn module, or a torch function of the inputs and then the parameters.

    Raises:
        ArgumentError: inputs are not tensors of a floating-point dtype.
    """

    def __init__(
        self,
        factory: Callable[[], Module],
        inputs: Tensor | Sequence[Tensor | Example],
        twin: Twin | None,
    ) -> None:
        given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        self.given = [tuple(x) if isinstance(x, tuple | list) else (x,) for x in given]
        for example in self.given:
            for x in example:
                if not (isinstance(x, Tensor) and x.is_floating_point()):
                    raise ArgumentError(
                        "inputs is expected to be a list of floating-point tensors, or of tuples "
                        f"of them; it holds {x.dtype if isinstance(x, Tensor) else repr(x)}"
                    )
        self.given = [tuple(x.detach().clone() for x in example) for example in self.given]
        if not self.given:
            raise ArgumentError("inputs is expected to hold at least one example tensor")
        self.factory, self.twin = factory, twin
        self._examples: list[Example] | None = None

    # -- layers ------------------------------------------------------------------------------------

    def make(self, dtype: torch.dtype | None = None) -> Module:
        """Return a fresh layer, converted to ``dtype`` if it is given."""
        layer = self.factory()
        if not isinstance(layer, Module):
            raise ConformanceError(
                f"the factory is expected to return a scratchnet.Module, got {type(layer).__name__}"
            )
        return layer if dtype is None else layer.to(dtype=dtype)

    def like(self, layer: Module) -> Module:
        """Return a fresh layer with the parameters' values and the dtype of ``layer``."""
        pairs = layer.param()
        fresh = self.make(pairs[0][0].dtype if pairs else None)
        for (value, _), (wanted, _) in zip(fresh.param(), pairs, strict=True):
            value.copy_(wanted)
        return fresh

    # -- inputs ------------------------------------------------------------------------------------

    @property
    def examples(self) -> list[Example]:
        """The inputs given, in the layers' dtype, and those made from them: new copies each time,
        for a faulty layer may write to them.
        """
        if self._examples is None:
            params = self.make().param()
            dtype = params[0][0].dtype if params else None
            found = [tuple(x.to(dtype or x.dtype) for x in e) for e in self.given]
            for change in (_rectangular, _doubled):
                found += [e for e in map(change, list(found)) if e is not None and self._takes(e)]
            self._examples = found
        return [tuple(x.clone() for x in example) for example in self._examples]

    def _takes(self, example: Example) -> bool:
        try:
            self.make().forward(*(x.clone() for x in example))
        except Exception:
            return False
        return True

    def wide(self, example: Example) -> Example:
        """Return the example in float64, moved off the kinks that whole numbers lie on."""
        return tuple(
            x.double() + 1e-3 * normal(x.shape, torch.float64, 40 + i)
            for i, x in enumerate(example)
        )

    # -- running -----------------------------------------------------------------------------------

    def step(self, layer: Module, example: Example, seed: int = 0) -> Step:
        """Run one forward and one backward with a random gradient."""
        y = layer.forward(*example)
        if not isinstance(y, Tensor):
            raise ConformanceError(f"forward is expected to return a tensor, got {_kind(y)}")
        grad_y = normal(y.shape, y.dtype, seed + 17)
        return Step(y, grad_y, self.backward(layer, grad_y))

    def backward(self, layer: Module, grad_y: Tensor) -> Example:
        """Return the gradients of the inputs."""
        grads: Any = layer.backward(grad_y)
        grads = (grads,) if isinstance(grads, Tensor) else grads
        if not isinstance(grads, tuple) or not all(isinstance(g, Tensor) for g in grads):
            raise ConformanceError(
                f"backward is expected to return the input's gradient, got {_kind(grads)}"
            )
        return grads


def results(layer: Module, step: Step) -> list[tuple[str, Tensor]]:
    """Return (what, tensor) for the output and every gradient."""
    of_inputs = [(f"gradient of input {i}", grad) for i, grad in enumerate(step.grads)]
    of_parameters = [(f"gradient of {name}", grad) for name, _, grad in layer.named_param()]
    return [("output", step.y), *of_inputs, *of_parameters]


def shapes(example: Example) -> str:
    """Return the shapes of an example's tensors, for messages."""
    return ", ".join(str(tuple(x.shape)) for x in example)


def _kind(value: object) -> str:
    return type(value).__name__


def _rectangular(example: Example) -> Example | None:
    """Cut a square image: what exchanges height and width would otherwise pass."""
    if all(x.dim() == 4 and x.shape[2] == x.shape[3] > 2 for x in example):
        return tuple(x[..., :-1].contiguous() for x in example)
    return None


def _doubled(example: Example) -> Example | None:
    """Make a batch of two: what forgets to sum over the batch would otherwise pass."""
    if all(x.dim() == 4 and x.shape[0] == 1 for x in example):
        return tuple(torch.cat([x, x.flip(1, 2, 3) * 0.75]) for x in example)
    return None
