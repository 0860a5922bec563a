"""Checks of a layer's numbers: gradients against finite differences and a twin, and precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scratchnet.testing.closeness import ConformanceError, assert_close, rounding
from scratchnet.testing.gradients import check_input_gradients, check_parameter_gradients
from scratchnet.testing.subject import (
    Step,
    Subject,
    batch_size,
    converted,
    cotangents,
    gradients,
    results,
    shapes,
)
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import autograd

DTYPES = (torch.float32, torch.float64)


def linear_backward(s: Subject) -> str:
    """A gradient twice as large comes back twice as large: the chain rule is a product."""
    for example in s.examples:
        layer = s.make()
        step = s.step(layer, example)
        once = gradients(layer, step.grads)
        layer.zero_grad()
        twice = gradients(layer, s.backward(layer, tuple(2 * g for g in step.grad_outputs)))
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


def batch_sum(s: Subject) -> str:
    """A parameter's gradient for a batch is the sum of what its images give alone."""
    for example in s.examples:
        together = s.make()
        step = s.step(together, example)
        n = batch_size(example, step.outputs)
        if n < 2:
            continue
        parts: dict[str, list[Tensor]] = {}
        for i in range(n):
            alone = s.like(together)
            s.forward(alone, tuple(x[i : i + 1] for x in example))
            s.backward(alone, tuple(g[i : i + 1] for g in step.grad_outputs))
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
    """The output equals the twin's, in float32 and float64, and so do buffers of the same names
    afterwards. A stochastic layer is compared in eval mode.
    """
    return _against_twin(s, gradients=False)


def twin_gradients(s: Subject) -> str:
    """All gradients equal autograd's of the twin, in float32 and float64."""
    return _against_twin(s, gradients=True)


def _against_twin(s: Subject, *, gradients: bool) -> str:
    assert s.twin is not None
    worst = 0.0
    for dtype in DTYPES:
        for example in s.examples:
            inputs = converted(example, dtype)
            layer = s.make(dtype)
            before = s.like(layer)
            if s.has("stochastic"):
                outputs = s.forward(layer.eval(), inputs)
                step = Step(outputs, cotangents(outputs, 17), ())
            else:
                step = s.step(layer, inputs)
            theirs = autograd(s.twin, inputs, before.train(layer.training), step.grad_outputs)
            if not gradients:
                pairs = [
                    (f"{what} for {shapes(inputs)}", own, other)
                    for (what, own), other in zip(
                        results(layer, step), theirs.outputs, strict=False
                    )
                ] + [
                    (
                        f"buffer {name} after a forward of {shapes(inputs)}",
                        own,
                        theirs.buffers[name],
                    )
                    for name, own in layer.named_buffers()
                    if name in theirs.buffers
                ]
            else:
                pairs = [
                    (f"gradient of input {i} of {shapes(inputs)}", own, other)
                    for i, (own, other) in enumerate(zip(step.grads, theirs.inputs, strict=False))
                    if own is not None and other is not None
                ] + [
                    (f"gradient of {name} for {shapes(inputs)}", grad, theirs.parameters[name])
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
        if s.has("stochastic"):  # the two would draw other numbers
            single.eval(), double.eval()
        narrow = converted(example, torch.float32)
        wide = s.forward(double, converted(narrow, torch.float64))
        for y, expected in zip(s.forward(single, narrow), wide, strict=True):
            if y.dtype != torch.float32:
                raise ConformanceError(f"the output of float32 inputs is {y.dtype}")
            assert_close(y.double(), expected, "float32 output against float64", rtol=1e-4)
    return ""
