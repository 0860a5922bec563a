"""Checks of a layer's numbers: gradients, precision, and what they must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scratchnet.module import Module
from scratchnet.testing.cases import LAYOUTS
from scratchnet.testing.closeness import ConformanceError, assert_close, assert_same_bits
from scratchnet.testing.gradients import check_input_gradients, check_parameter_gradients
from scratchnet.testing.subject import Example, Step, Subject
from scratchnet.testing.tensors import laid_out, normal
from scratchnet.testing.twins import autograd

DTYPES = (torch.float32, torch.float64)


def rounding(dtype: torch.dtype) -> float:
    """Return what two right results may differ by, relative to the largest element."""
    return 256 * torch.finfo(dtype).eps


def input_gradient(s: Subject) -> str:
    """The gradient that backward returns equals finite differences, in float64."""
    return _differences(s, check_input_gradients)


def parameter_gradients(s: Subject) -> str:
    """The gradients that backward adds equal finite differences, in float64."""
    return _differences(s, check_parameter_gradients)


def _differences(s: Subject, check: Callable[..., float]) -> str:
    worst = 0.0
    for example in s.examples:
        for seed in (0, 1):
            worst = max(worst, check(s.make(torch.float64), s.wide(example), seed=seed))
    return f"largest difference {worst:.1e}" if worst else ""


def twin_output(s: Subject) -> str:
    """The output equals the twin's, in float32 and float64."""
    return _against_twin(s, gradients=False)


def twin_gradients(s: Subject) -> str:
    """All gradients equal autograd's of the twin, in float32 and float64."""
    return _against_twin(s, gradients=True)


def _against_twin(s: Subject, *, gradients: bool) -> str:
    assert s.twin is not None
    worst = 0.0
    for dtype in DTYPES:
        for example in s.examples:
            inputs = tuple(x.to(dtype) for x in example)
            layer = s.make(dtype)
            step = s.step(layer, inputs)
            y, of_inputs, of_parameters = autograd(s.twin, inputs, layer, step.grad_y)
            if not gradients:
                pairs = [(f"output for {_shapes(inputs)}", step.y, y)]
            else:
                pairs = [
                    (f"gradient of input {i} of {_shapes(inputs)}", own, theirs)
                    for i, (own, theirs) in enumerate(zip(step.grads, of_inputs, strict=False))
                ] + [
                    (f"gradient of {name} for {_shapes(inputs)}", grad, of_parameters[name])
                    for name, _, grad in layer.named_param()
                ]
            for what, actual, expected in pairs:
                error = assert_close(
                    actual, expected, f"{what} (expected: the twin's)", rtol=rounding(dtype)
                )
                worst = max(worst, error / torch.finfo(dtype).eps)
    return f"largest error {worst:.2g} ε"


def float64(s: Subject) -> str:
    """float64 comes out as float64, computed in float64; and float32 agrees with it."""
    for example in s.examples:
        layer = s.make(torch.float64)
        for i, (value, _) in enumerate(layer.param()):  # off the float32 numbers they were made as
            value.add_(1e-3 * normal(value.shape, torch.float64, 60 + i))
        for what, tensor in _results(layer, s.step(layer, s.wide(example))):
            if tensor.dtype != torch.float64:
                raise ConformanceError(f"{what} of float64 inputs is {tensor.dtype}")
            fractions = tensor != tensor.round()
            if fractions.any() and torch.equal(tensor, tensor.float().double()):
                raise ConformanceError(
                    f"{what} of float64 inputs holds nothing but float32 numbers: it is computed "
                    "in float32 somewhere (.float(), a float32 constant, a default dtype)"
                )
        single = s.make(torch.float32)
        double = s.like(single).to(dtype=torch.float64)
        y = single.forward(*(x.float() for x in example))
        if y.dtype != torch.float32:
            raise ConformanceError(f"the output of float32 inputs is {y.dtype}")
        wide = double.forward(*(x.float().double() for x in example))
        assert_close(y.double(), wide, "float32 output against float64", rtol=1e-4)
    return ""


def batch_independence(s: Subject) -> str:
    """Each picture's output and gradient are what they are without the others."""
    for example in s.examples:
        n = example[0].shape[0] if example[0].dim() >= 2 else 0
        whole_layer = s.make()
        step = s.step(whole_layer, example)
        if n < 2 or step.y.dim() < 1 or step.y.shape[0] != n:
            continue
        for i in range(min(n, 3)):
            layer = s.like(whole_layer)
            y = layer.forward(*(x[i : i + 1] for x in example))
            grads = s.backward(layer, step.grad_y[i : i + 1])
            rtol = rounding(y.dtype)
            assert_close(y, step.y[i : i + 1], f"output of picture {i} alone", rtol=rtol)
            for alone, together in zip(grads, step.grads, strict=True):
                what = f"input gradient of picture {i} alone"
                assert_close(alone, together[i : i + 1], what, rtol=rtol)
    return ""


def fresh_each_batch(s: Subject) -> str:
    """A batch gives what a fresh layer gives for it, whatever came before."""
    for before, after in _successions(s.examples):
        used = s.make()
        s.step(used, before)
        used.zero_grad()
        fresh = s.like(used)
        results = zip(
            _results(used, s.step(used, after)),
            _results(fresh, s.step(fresh, after)),
            strict=True,
        )
        for (what, actual), (_, expected) in results:
            what = f"{what} after a batch of {_shapes(before)} (expected: a fresh layer's)"
            assert_close(actual, expected, what, rtol=rounding(expected.dtype))
    return ""


def _successions(examples: list[Example]) -> Iterator[tuple[Example, Example]]:
    for i, example in enumerate(examples):
        yield examples[i - 1], example
        yield tuple(0.5 * x.flip(-1) for x in example), example
        if example[0].dim() >= 2 and example[0].shape[0] >= 2:
            yield example, tuple(x[1:] for x in example)
            yield tuple(x[1:] for x in example), example


def empty_batch(s: Subject) -> str:
    """A batch of none gives outputs and gradients of size 0, and adds nothing."""
    for example in s.examples:
        if example[0].dim() < 2:
            continue
        layer = s.make()
        usual = layer.forward(*example)
        if usual.dim() < 1 or usual.shape[0] != example[0].shape[0]:
            continue
        step = s.step(layer, tuple(x[:0] for x in example))
        wanted = (0, *usual.shape[1:])
        if step.y.shape != wanted:
            raise ConformanceError(f"expected the output {wanted}, got {tuple(step.y.shape)}")
        for x, grad in zip(example, step.grads, strict=False):
            if grad.shape != x[:0].shape:
                raise ConformanceError(
                    f"expected the gradient {tuple(x[:0].shape)}, got {tuple(grad.shape)}"
                )
        for name, _, grad in layer.named_param():
            if not bool((grad == 0).all()):
                raise ConformanceError(
                    f"gradient of {name}: expected 0 from no pictures, got {grad.flatten()[:3]}"
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
            y = layer.forward(*(_relaid(x, layout) for x in example))
            grads = s.backward(layer, _relaid(expected.grad_y, layout))
            step = Step(y, expected.grad_y, grads)
            for (what, actual), (_, same) in zip(
                _results(layer, step), _results(plain, expected), strict=True
            ):
                what = f"{what} for {layout} memory"
                assert_close(actual, same, what, rtol=rounding(same.dtype))
    return ""


def _relaid(x: Tensor, layout: str) -> Tensor:
    if x.dim() == 4:
        return laid_out(x, layout)
    return torch.stack([x, torch.full_like(x, float("nan"))], -1)[..., 0]


def run_to_run(s: Subject) -> str:
    """The same inputs give the same bits."""
    for example in s.examples:
        first = s.make()
        second = s.like(first)
        for (what, actual), (_, expected) in zip(
            _results(second, s.step(second, example)),
            _results(first, s.step(first, example)),
            strict=True,
        ):
            assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def threads(s: Subject) -> str:
    """One of torch's threads or several give the same."""
    before = torch.get_num_threads()
    try:
        for example in s.examples:
            torch.set_num_threads(1)
            single = s.make()
            expected = _results(single, s.step(single, example))
            for count in (2, 3):
                torch.set_num_threads(count)
                layer = s.like(single)
                actual = _results(layer, s.step(layer, example))
                for (what, a), (_, e) in zip(actual, expected, strict=True):
                    what = f"{what}, {count} threads against 1"
                    assert_close(a, e, what, rtol=rounding(e.dtype))
    finally:
        torch.set_num_threads(before)
    return ""


def _results(layer: Module, step: Step) -> list[tuple[str, Tensor]]:
    """Return (what, tensor) for the output and every gradient."""
    of_inputs = [(f"gradient of input {i}", grad) for i, grad in enumerate(step.grads)]
    of_parameters = [(f"gradient of {name}", grad) for name, _, grad in layer.named_param()]
    return [("output", step.y), *of_inputs, *of_parameters]


def _shapes(example: Example) -> str:
    return ", ".join(str(tuple(x.shape)) for x in example)
