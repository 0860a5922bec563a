"""Checks of a layer's state: that it is complete, and that each use has its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.ops.loss import REDUCTIONS
from scratchnet.testing.closeness import ConformanceError, assert_close, rounding
from scratchnet.testing.subject import (
    Subject,
    altered,
    fixed_noise,
    gradients,
    shapes,
)


def complete_state(s: Subject) -> str:
    """What a fresh layer gives in eval mode after loading the state of a used one is the same."""
    used = s.make()
    for _ in range(3):
        for example in s.examples:
            s.step(used, example)
    fresh = s.make()
    fresh.load_state_dict({name: value.clone() for name, value in used.state_dict().items()})
    used.eval(), fresh.eval()
    for example in s.examples:
        for actual, expected in zip(
            s.forward(fresh, example), s.forward(used, example), strict=True
        ):
            if actual.shape != expected.shape or not torch.equal(actual, expected):
                lost = ", ".join(_differing(used, fresh)) or "something that training changes"
                raise ConformanceError(
                    "after state_dict() and load_state_dict() a layer gives another output in eval "
                    f"mode: {lost} is lost; register it with add_buffer(), and change it in place "
                    "or set the attribute"
                )
    return ""


def _differing(used: Module, fresh: Module) -> Iterator[str]:
    """Yield the names of attributes, tensors or numbers, that the state did not bring along."""
    for (path, a), (_, b) in zip(used.named_modules(), fresh.named_modules(), strict=True):
        for name, value in vars(a).items():
            other = vars(b).get(name)
            if name.startswith("grad_") or not isinstance(value, Tensor | float | int):
                continue
            same = (
                isinstance(other, Tensor)
                and value.shape == other.shape
                and torch.equal(value, other)
                if isinstance(value, Tensor)
                else value == other
            )
            if not same:
                yield path + name


class _Twice(Module):
    """A layer used twice in one pass, on two inputs."""

    def __init__(self, subject: Subject, layer: Module) -> None:
        self.subject, self.layer, self.counts = subject, layer, (0, 0)

    def forward(self, *inputs: Any) -> Any:
        first, second = inputs
        a = self.subject.forward(self.layer, first, noise=0)
        b = self.subject.forward(self.layer, second, noise=1)
        return a, b

    def backward(self, *grad_outputs: Any) -> Any:
        first, second = grad_outputs
        b = self.subject.backward(self.layer, second)
        return self.subject.backward(self.layer, first), b


def used_twice(s: Subject) -> str:
    """Used twice in one pass, as shared weights are, a layer goes back last in, first out."""
    for example in s.examples:
        layer = s.make()
        alone = s.like(layer)
        both = (example, altered(example))
        steps = [s.step(alone, each, seed=i) for i, each in enumerate(both)]
        twice = _Twice(s, layer)
        twice.forward(*both)
        found = twice.backward(*(step.grad_outputs for step in steps))
        for which, own, step in zip(("first", "second"), found, steps, strict=True):
            for i, (actual, expected) in enumerate(zip(own, step.grads, strict=True)):
                if actual is not None and expected is not None:
                    what = (
                        f"gradient of input {i} of the {which} of two uses in one pass (expected: "
                        "as alone; keep what backward needs with save(), which keeps it for each)"
                    )
                    assert_close(actual, expected, what, rtol=rounding(expected.dtype))
        for (name, _, actual), (_, _, expected) in zip(
            layer.named_param(), alone.named_param(), strict=True
        ):
            what = f"gradient of {name} after two uses in one pass (expected: the sum)"
            assert_close(actual, expected, what, rtol=rounding(expected.dtype))
    return ""


def changed_in_between(s: Subject) -> str:
    """If an input or output is changed after forward, backward says so or is right nevertheless."""
    example = s.examples[0]
    usual = s.make()
    step = s.step(usual, example)
    expected = gradients(usual, step.grads)
    count = sum(x.is_floating_point() for x in example) + len(step.outputs)
    for i in range(count):
        layer = s.like(usual)
        inputs = tuple(x.clone() for x in example)
        outputs = s.forward(layer, inputs)
        floating = [x for x in inputs if x.is_floating_point()]
        (floating + list(outputs))[i].mul_(-3).add_(1)
        try:
            grads = s.backward(layer, step.grad_outputs)
        except (ScratchnetError, RuntimeError):
            continue
        changed = f"input {i}" if i < len(floating) else "the output"
        for (what, actual), (_, right) in zip(gradients(layer, grads), expected, strict=True):
            what = (
                f"{what} after {changed} was changed in place between forward and backward (keep "
                "tensors with save(), which notices)"
            )
            assert_close(actual, right, what, rtol=rounding(right.dtype))
    return ""


def noise(s: Subject) -> str:
    """A stochastic layer draws anew at each forward in training mode."""
    layer = s.make()
    for example in s.examples:
        with fixed_noise(layer, 0):
            first, *others = [layer.forward(*example) for _ in range(8)]
        if any(not _same(first, other) for other in others):
            return ""
    raise ConformanceError(
        "eight forwards in training mode gave the same output: a stochastic layer draws at each "
        "(one that does not is not stochastic)"
    )


def _same(a: Any, b: Any) -> bool:
    a, b = (x if isinstance(x, tuple) else (x,) for x in (a, b))
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def reductions(s: Subject) -> str:
    """A loss's "mean" and "sum" are those of its "none", forward and back; a ``weighted_mean`` is
    some share of the sum, and its gradient the same share.
    """
    for example in s.examples:
        layers = {}
        for reduction in REDUCTIONS:
            layer = s.make()
            layers[reduction] = type(layer)(**{**layer.config(), "reduction": reduction})
        (losses,) = s.forward(layers["none"], example)
        of_each = s.backward(layers["none"], (torch.ones_like(losses),))
        for reduction, share in (("sum", 1.0), ("mean", 1 / max(losses.numel(), 1))):
            (value,) = s.forward(layers[reduction], example)
            if reduction == "mean" and s.has("weighted_mean"):
                share = float(value.double() / losses.double().sum())
            of = f"with reduction={reduction!r} for {shapes(example)} (expected: that of 'none')"
            rtol = rounding(value.dtype)
            assert_close(value, losses.sum() * share, f"loss {of}", rtol=rtol)
            for grad, grad_each in zip(s.backward(layers[reduction], ()), of_each, strict=True):
                if grad is not None and grad_each is not None:
                    assert_close(grad, grad_each * share, f"gradient {of}", rtol=rtol)
    return ""
