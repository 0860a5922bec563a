"""Checks of a layer's numbers: gradients against finite differences and a twin, and precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scratchnet.testing.closeness import ConformanceError, assert_close, rounding
from scratchnet.testing.gradients import check_input_gradients, check_parameter_gradients
from scratchnet.testing.subject import Subject, results, shapes
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import autograd

DTYPES = (torch.float32, torch.float64)


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
