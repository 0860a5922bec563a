"""Checks of a layer's numbers: gradients against finite differences and a twin, and precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError, assert_close, rounding
from scratchnet.testing.gradients import check_input_gradients, check_parameter_gradients
from scratchnet.testing.subject import Example, Subject, results, shapes
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import autograd

DTYPES = (torch.float32, torch.float64)


def linear_backward(s: Subject) -> str:
    """A gradient twice as large comes back twice as large: the chain rule is a product."""
    for example in s.examples:
        layer = s.make()
        y = layer.forward(*example)
        grad_y = normal(y.shape, y.dtype, 17)
        once = _named_gradients(layer, s.backward(layer, grad_y))
        layer.zero_grad()
        twice = _named_gradients(layer, s.backward(layer, 2 * grad_y))
        for (what, actual), (_, single) in zip(twice, once, strict=True):
            try:
                assert_close(actual, 2 * single, what, rtol=rounding(single.dtype))
            except ConformanceError as error:
                how = "the same" if torch.equal(actual, single) else "not twice as large"
                raise ConformanceError(
                    f"{what} is {how} when backward is given twice the gradient: multiply the "
                    "derivative, taken at the input, by that gradient"
                ) from error
    return ""


def _named_gradients(layer: Module, of_inputs: Example) -> list[tuple[str, Tensor]]:
    named = [(f"gradient of input {i}", grad.clone()) for i, grad in enumerate(of_inputs)]
    return named + [(f"gradient of {name}", grad.clone()) for name, _, grad in layer.named_param()]


def batch_sum(s: Subject) -> str:
    """A parameter's gradient for a batch is the sum of what its images give alone."""
    for example in s.examples:
        n = example[0].shape[0] if example[0].dim() >= 2 else 0
        together = s.make()
        step = s.step(together, example)
        if n < 2 or step.y.dim() < 1 or step.y.shape[0] != n:
            continue
        parts: dict[str, list[Tensor]] = {}
        for i in range(n):
            alone = s.like(together)
            alone.forward(*(x[i : i + 1] for x in example))
            s.backward(alone, step.grad_y[i : i + 1])
            for name, _, grad in alone.named_param():
                parts.setdefault(name, []).append(grad.clone())
        for name, _, grad in together.named_param():
            whole = torch.stack(parts[name]).sum(0)
            for i, part in enumerate(parts[name]):
                if torch.equal(grad, part) and not torch.equal(part, whole):
                    raise ConformanceError(
                        f"gradient of {name} for a batch of {n} is that of image {i} alone: sum "
                        "over the batch"
                    )
            what = f"gradient of {name} for a batch (expected: the sum of its {n} images')"
            assert_close(grad, whole, what, rtol=rounding(grad.dtype))
    return ""


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
                pairs = [(f"output for {shapes(inputs)}", step.y, y)]
            else:
                pairs = [
                    (f"gradient of input {i} of {shapes(inputs)}", own, theirs)
                    for i, (own, theirs) in enumerate(zip(step.grads, of_inputs, strict=False))
                ] + [
                    (f"gradient of {name} for {shapes(inputs)}", grad, of_parameters[name])
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
        for what, tensor in results(layer, s.step(layer, s.wide(example))):
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
