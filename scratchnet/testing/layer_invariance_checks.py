"""Checks of what a layer's numbers must not depend on: other batches, memory layout, threads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from scratchnet.ops.op import LAYOUTS
from scratchnet.testing.closeness import (
    ConformanceError,
    assert_close,
    assert_same_bits,
    rounding,
)
from scratchnet.testing.subject import (
    Example,
    Step,
    Subject,
    altered,
    batch_size,
    results,
    shapes,
)
from scratchnet.testing.tensors import laid_out
from scratchnet.testing.threads import torch_threads


def run_to_run(s: Subject) -> str:
    """The same inputs give the same bits."""
    for example in s.examples:
        first = s.make()
        second = s.like(first)
        for (what, actual), (_, expected) in zip(
            results(second, s.step(second, example)),
            results(first, s.step(first, example)),
            strict=True,
        ):
            assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def fresh_each_batch(s: Subject) -> str:
    """A batch gives what a fresh layer gives for it, whatever came before."""
    for before, after in _successions(s.examples, s.has("couples_batch")):
        used = s.make()
        s.step(used, before, seed=1)
        used.zero_grad()
        fresh = s.like(used)
        actual_ones = results(used, s.step(used, after))
        expected_ones = results(fresh, s.step(fresh, after))
        for (what, actual), (_, expected) in zip(actual_ones, expected_ones, strict=True):
            what = f"{what} after a batch of {shapes(before)} (expected: a fresh layer's)"
            assert_close(actual, expected, what, rtol=rounding(expected.dtype))
    return ""


def _successions(examples: list[Example], couples_batch: bool) -> Iterator[tuple[Example, Example]]:
    for i, example in enumerate(examples):
        yield examples[i - 1], example
        yield altered(example), example
        if not couples_batch and example[0].dim() >= 2 and example[0].shape[0] >= 2:
            yield example, tuple(x[1:] for x in example)
            yield tuple(x[1:] for x in example), example


def batch_independence(s: Subject) -> str:
    """Each image's output and gradient are what they are without the others."""
    for example in s.examples:
        whole_layer = s.make()
        step = s.step(whole_layer, example)
        n = batch_size(example, step.outputs)
        for i in range(min(n, 3) if n > 1 else 0):
            layer = s.like(whole_layer)
            hint = f"of image {i} alone (it may depend on others if couples_batch = True)"
            outputs = s.forward(layer, tuple(x[i : i + 1] for x in example))
            grads = s.backward(layer, tuple(g[i : i + 1] for g in step.grad_outputs))
            for what, alone_ones, together_ones in (
                ("output", outputs, step.outputs),
                ("input gradient", grads, step.grads),
            ):
                for alone, together in zip(alone_ones, together_ones, strict=True):
                    if alone is not None and together is not None:
                        whole = together[i : i + 1]
                        assert_close(alone, whole, f"{what} {hint}", rtol=rounding(whole.dtype))
    return ""


def empty_batch(s: Subject) -> str:
    """A batch of none gives outputs and gradients of size 0, and adds nothing."""
    for example in s.examples:
        if example[0].dim() < 2:
            continue
        layer = s.make()
        usual = s.forward(layer, example)
        if not batch_size(example, usual):
            continue
        step = s.step(layer, tuple(x[:0] for x in example))
        for y, before in zip(step.outputs, usual, strict=True):
            wanted = (0, *before.shape[1:])
            if y.shape != wanted:
                raise ConformanceError(f"expected the output {wanted}, got {tuple(y.shape)}")
        for x, grad in zip(example, step.grads, strict=False):
            if grad is not None and grad.shape != x[:0].shape:
                raise ConformanceError(
                    f"expected the gradient {tuple(x[:0].shape)}, got {tuple(grad.shape)}"
                )
        for name, _, grad in layer.named_param():
            if not bool((grad == 0).all()):
                raise ConformanceError(
                    f"gradient of {name}: expected 0 from no images, got {grad.flatten()[:3]}"
                )
    return ""


def memory_layouts(s: Subject) -> str:
    """channels_last, sliced and transposed inputs and gradients give the same."""
    for example in s.examples:
        plain = s.make()
        expected = s.step(plain, example)
        for layout in LAYOUTS:
            if layout == "expanded":
                continue
            layer = s.like(plain)
            outputs = s.forward(layer, tuple(_relaid(x, layout) for x in example))
            grads = s.backward(layer, tuple(_relaid(g, layout) for g in expected.grad_outputs))
            step = Step(outputs, expected.grad_outputs, grads)
            for (what, actual), (_, same) in zip(
                results(layer, step), results(plain, expected), strict=True
            ):
                what = f"{what} for {layout} memory"
                assert_close(actual, same, what, rtol=rounding(same.dtype))
    return ""


def _relaid(x: Tensor, layout: str) -> Tensor:
    if x.dim() == 4:
        return laid_out(x, layout)
    hole = float("nan") if x.is_floating_point() else -1
    return torch.stack([x, torch.full_like(x, hole)], -1)[..., 0]


def threads(s: Subject) -> str:
    """One of torch's threads or several give the same."""
    for example in s.examples:
        with torch_threads(1):
            single = s.make()
            expected = results(single, s.step(single, example))
        for count in (2, 3):
            with torch_threads(count):
                layer = s.like(single)
                actual = results(layer, s.step(layer, example))
            for (what, a), (_, e) in zip(actual, expected, strict=True):
                what = f"{what}, {count} threads against 1"
                assert_close(a, e, what, rtol=rounding(e.dtype))
    return ""
