"""One comparison with autograd, for every layer that is linear in each of its tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from scratchnet.layers.module import Module
from scratchnet.ops.convolution_cases import Case
from scratchnet.testing.closeness import assert_close, tolerance
from scratchnet.testing.tensors import laid_out, normal
from scratchnet.testing.twins import autograd, torch_twin


def tensors(case: Case, dtype: torch.dtype, y_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the input and the gradient of the output, lying in memory as the case says."""
    x = laid_out(normal(case.x_shape, dtype, 1), case.layout)
    return x, laid_out(normal(y_shape, dtype, 2), case.layout)


def assert_equals_autograd(layer: Module, x: Tensor, grad_y: Tensor) -> None:
    """Output and all gradients are autograd's, up to the rounding of as many additions."""
    twin = torch_twin(layer)
    assert twin is not None
    y = layer.forward(x)
    grad_x = layer.backward(grad_y)
    expected = autograd(twin, [x], layer, [grad_y])
    absolute = copy.deepcopy(layer)
    for value, _ in absolute.param():
        value.abs_()
    scales = autograd(torch_twin(absolute), [x.abs()], absolute, [grad_y.abs()])

    # the longest sum: over an output's receptive field, or over a weight's places
    rtol = tolerance(x.dtype, max(x.numel(), y.numel(), 1))
    assert_close(y, expected.outputs[0], "output", rtol=rtol, scale=scales.outputs[0])
    assert_close(grad_x, expected.inputs[0], "gradient of x", rtol=rtol, scale=scales.inputs[0])
    for name, _, grad in layer.named_param():
        wanted, scale = expected.parameters[name], scales.parameters[name]
        assert_close(grad, wanted, f"grad {name}", rtol=rtol, scale=scale)
