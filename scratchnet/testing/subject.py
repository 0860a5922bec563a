"""What a layer's checks work on: fresh layers, example inputs, and one forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
Grads = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Step:
    """What one forward and one backward of a layer gave.

    Attributes:
        outputs: what forward returned.
        grad_outputs: the random gradients that went in.
        grads: of the inputs, None for integers; a loss returns fewer than it has inputs.
    """

    outputs: Example
    grad_outputs: Example
    grads: Grads


class Subject:
    """A layer to be checked.

    Args:
        factory: makes a fresh layer each time it is called.
        inputs: example inputs, one forward each: tensors, or tuples of them for a layer with
            several inputs; of integers only for a layer that says integer_inputs. Square images and
            batches of one are joined by rectangles and batches of two, where the layer takes them.
        twin: a torch.nn module, or a torch function of the inputs and then the parameters.

    Raises:
        ArgumentError: inputs are not tensors of such a dtype.
    """

    def __init__(
        self,
        factory: Callable[[], Module],
        inputs: Tensor | Sequence[Tensor | Example],
        twin: Twin | None,
    ) -> None:
        self.factory, self.twin = factory, twin
        self._traits: dict[str, bool] = {}
        given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        self.given = [tuple(x) if isinstance(x, tuple | list) else (x,) for x in given]
        integers = self.has("integer_inputs")
        for example in self.given:
            for x in example:
                if not (isinstance(x, Tensor) and (integers or x.is_floating_point())):
                    raise ArgumentError(
                        "inputs is expected to be a list of floating-point tensors, or of tuples "
                        f"of them; it holds {x.dtype if isinstance(x, Tensor) else repr(x)} (a "
                        "layer that takes integers says integer_inputs = True)"
                    )
        self.given = [tuple(x.detach().clone() for x in example) for example in self.given]
        if not self.given:
            raise ArgumentError("inputs is expected to hold at least one example tensor")
        self._examples: list[Example] | None = None

    def has(self, trait: str) -> bool:
        """Whether the layer, or a module in it, has this trait, such as ``"stochastic"``."""
        if trait not in self._traits:
            layer = self.factory()
            modules = layer.named_modules() if isinstance(layer, Module) else ()
            self._traits[trait] = any(getattr(module, trait, False) for _, module in modules)
        return self._traits[trait]

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
        """Return a fresh layer with the parameters, buffers and dtype of ``layer``."""
        fresh = self.make(dtype_of(layer))
        for own, wanted in (
            (fresh.parameters(), layer.parameters()),
            (fresh.buffers(), layer.buffers()),
        ):
            for value, other in zip(own, wanted, strict=True):
                value.copy_(other)
        return fresh

    # -- inputs ------------------------------------------------------------------------------------

    @property
    def examples(self) -> list[Example]:
        """The inputs given, in the layers' dtype, and those made from them: new copies each time,
        for a faulty layer may write to them.
        """
        if self._examples is None:
            dtype = dtype_of(self.make())
            found = [converted(example, dtype) for example in self.given]
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
            if x.is_floating_point()
            else x
            for i, x in enumerate(example)
        )

    # -- running -----------------------------------------------------------------------------------

    def forward(self, layer: Module, example: Example, noise: int = 0) -> Example:
        """Return the outputs, with the layer's random numbers decided by ``noise``."""
        with fixed_noise(layer, noise):
            y: Any = layer.forward(*example)
        outputs = y if isinstance(y, tuple) else (y,)
        for y in outputs:
            if not (isinstance(y, Tensor) and y.is_floating_point()):
                kind = y.dtype if isinstance(y, Tensor) else _kind(y)
                raise ConformanceError(
                    f"forward is expected to return a floating-point tensor, or a tuple of them; "
                    f"got {kind}"
                )
        return outputs

    def step(self, layer: Module, example: Example, seed: int = 0) -> Step:
        """Run one forward and one backward with a random gradient."""
        outputs = self.forward(layer, example, seed)
        grad_outputs = cotangents(outputs, seed + 17)
        return Step(outputs, grad_outputs, self.backward(layer, grad_outputs))

    def backward(self, layer: Module, grad_outputs: Example) -> Grads:
        """Return the gradients of the inputs."""
        given: Any = layer.backward(*grad_outputs)
        grads: Grads = given if isinstance(given, tuple) else (given,)
        if not grads or not all(g is None or isinstance(g, Tensor) for g in grads):
            raise ConformanceError(
                f"backward is expected to return the input's gradient, got {_kind(grads[0])}"
            )
        return grads


@contextmanager
def fixed_noise(layer: Module, seed: int) -> Iterator[None]:
    """Let a stochastic layer draw the numbers of this seed, from torch's generator and its own."""
    modules = [module for _, module in layer.named_modules()]
    if not any(module.stochastic for module in modules):
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8000 + seed)
        for own in {id(v): v for m in modules for v in vars(m).values()}.values():
            if isinstance(own, torch.Generator):
                own.manual_seed(9000 + seed)
        yield


def cotangents(outputs: Example, seed: int) -> Example:
    """Return a random gradient for each output."""
    return tuple(normal(y.shape, y.dtype, seed + 1000 * i) for i, y in enumerate(outputs))


def dtype_of(layer: Module) -> torch.dtype | None:
    """Return the dtype of the layer's parameters and buffers; None if it has none."""
    tensors = (*layer.parameters(), *layer.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), None)


def converted(example: Example, dtype: torch.dtype | None) -> Example:
    """Return the example with its floating-point tensors in ``dtype``, if one is given."""
    return tuple(x.to(dtype) if dtype and x.is_floating_point() else x for x in example)


def results(layer: Module, step: Step) -> list[tuple[str, Tensor]]:
    """Return (what, tensor) for the outputs and every gradient."""
    number = [""] if len(step.outputs) == 1 else [f" {i}" for i in range(len(step.outputs))]
    outputs = [(f"output{i}", y) for i, y in zip(number, step.outputs, strict=True)]
    return [*outputs, *gradients(layer, step.grads)]


def gradients(layer: Module, grads: Grads) -> list[tuple[str, Tensor]]:
    """Return (what, copy) for the inputs' gradients and the parameters'."""
    named = [(f"gradient of input {i}", g) for i, g in enumerate(grads) if g is not None]
    named += [(f"gradient of {name}", grad) for name, _, grad in layer.named_param()]
    return [(what, grad.clone()) for what, grad in named]


def altered(example: Example) -> Example:
    """Return another example of the same kind."""
    return tuple(0.5 * x.flip(-1) if x.is_floating_point() else x.flip(0) for x in example)


def batch_size(example: Example, outputs: Example) -> int:
    """Return N, if all that goes in and comes out is a batch of N; else 0."""
    sizes = {x.shape[0] if x.dim() else 0 for x in (*example, *outputs)}
    return sizes.pop() if len(sizes) == 1 and example[0].dim() >= 2 else 0


def shapes(example: Example) -> str:
    """Return the shapes of an example's tensors, for messages."""
    return ", ".join(str(tuple(x.shape)) for x in example)


def _kind(value: object) -> str:
    return type(value).__name__


def _rectangular(example: Example) -> Example | None:
    """Cut a square image: what exchanges height and width would otherwise pass."""
    if all(_is_image(x) and x.shape[2] == x.shape[3] > 2 for x in example):
        return tuple(x[..., :-1].contiguous() for x in example)
    return None


def _doubled(example: Example) -> Example | None:
    """Make a batch of two: what forgets to sum over the batch would otherwise pass."""
    if all(_is_image(x) and x.shape[0] == 1 for x in example):
        return tuple(torch.cat([x, x.flip(1, 2, 3) * 0.75]) for x in example)
    return None


def _is_image(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_floating_point()
