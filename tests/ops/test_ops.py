"""Every operation is what its declaration says: its shapes, refusals, cases and dtypes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from drawn import drawn
from hypothesis import given

from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, PluginError, ScratchnetError, TypeMismatch
from scratchnet.ops.convolution_cases import Case as ConvolutionCase
from scratchnet.ops.op import LAYOUTS, Case, Op, check_rank, shape_only
from scratchnet.testing import strategies
from scratchnet.testing.calls import call
from scratchnet.testing.tensors import normal, whole

OWN = [name for name in ops.names() if ops.info(name).builtin]


def well_formed(op: Op) -> list[Case]:
    return [case for case in op.cases() if not case.error]


def several(shapes: Any) -> list[tuple[int, ...]]:
    """Of every output, however many there are."""
    return list(shapes) if shapes and isinstance(shapes[0], tuple) else [tuple(shapes)]


def test_the_registry() -> None:
    assert {"conv2d", "upsample_nearest", "relu", "sigmoid", "add", "concat", "graph"} <= set(OWN)
    for name in OWN:
        assert ops.get(name).name == name
        assert repr(ops.get(name)) == f"Op({name!r})"
    with pytest.raises(PluginError, match="no op 'rellu': did you mean 'relu'"):
        ops.get("rellu")
    with pytest.raises(PluginError, match="'relu' exists"):
        ops.register("relu", ops.get("sigmoid"))


@pytest.mark.parametrize("name", OWN)
def test_check_returns_the_shape_that_forward_gives(name: str) -> None:
    op = ops.get(name)
    for case in well_formed(op):
        one = call(op, case, torch.float32, whole)
        y, _ = op.reference.forward(*one.tensors, **one.options)
        shapes = several(op.check(*one.tensors, **one.options))
        outputs = y if isinstance(y, tuple) else (y,)
        assert [tuple(y.shape) for y in outputs] == [tuple(shape) for shape in shapes], str(one)
        assert all(type(size) is int for shape in shapes for size in shape)
        # of the shapes alone it says the same: it reads no values
        alone = (None if t is None else shape_only(t) for t in one.tensors)
        assert several(op.check(*alone, **one.options)) == shapes


@pytest.mark.parametrize("name", OWN)
def test_malformed_calls_get_their_one_line(name: str, backend: str) -> None:
    op = ops.get(name)
    malformed = [case for case in op.cases() if case.error]
    assert malformed, "an operation says what it refuses"
    for case in malformed:
        one = call(op, case, torch.float32, whole)
        for attempt in (
            lambda one=one: op.check(*one.tensors, **one.options),
            lambda one=one: dispatch.run(op, *one.tensors, **one.options),
        ):
            with pytest.raises(ScratchnetError) as error:
                attempt()
            assert case.error in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", OWN)
def test_the_cases_cover_what_goes_wrong(name: str) -> None:
    """Nothing at all, the smallest, every layout of images; each case once."""
    op = ops.get(name)
    cases = well_formed(op)
    assert any(0 in shape for case in cases for shape in case.shapes if shape is not None)
    assert {case.layout for case in cases} == set(LAYOUTS)
    assert any(case.few for case in cases)
    described = [(str(case), case.backward) for case in cases]
    assert len(set(described)) >= 0.9 * len(described)


@pytest.mark.parametrize("name", OWN)
def test_missing_and_superfluous_arguments(name: str) -> None:
    op = ops.get(name)
    one = call(op, next(c for c in well_formed(op) if c.few), torch.float32, whole)
    with pytest.raises(ArgumentError, match=rf"{name}\(.*\): {op.tensors[0]}.* is missing"):
        op.bind((), one.options)
    with pytest.raises(ArgumentError, match="strid is no option of it"):
        op.bind(one.tensors, {**one.options, "strid": 1})
    if op.variadic is None:
        with pytest.raises(ArgumentError, match="got 9 tensors"):
            op.bind((one.tensors[0],) * 9, one.options)
    needed = next((o for o in op.options if o not in op.defaults), None)
    if needed is not None:
        rest = {key: value for key, value in one.options.items() if key != needed}
        with pytest.raises(ArgumentError, match=f"{needed} is missing"):
            op.bind(one.tensors, rest)
    for wrong in (None, 3, "x", one.tensors[0].tolist()):
        with pytest.raises(TypeMismatch, match=f"expects a tensor for {op.tensors[0]}, got"):
            op.check(wrong, *one.tensors[1:], **one.options)


@pytest.mark.parametrize("name", OWN)
def test_its_twin_is_there(name: str) -> None:
    """By name: the operation itself imports nothing of torch.nn."""
    module, _, function = str(ops.get(name).twin).rpartition(".")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("name", OWN)
def test_float64_in_float64_out(name: str) -> None:
    op = ops.get(name)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        one = call(op, next(c for c in well_formed(op) if c.few), dtype, normal)
        y, back = dispatch.run(op, *one.tensors, backend="reference", **one.options)
        grads = back(*one.grad_ys, needs=one.needs)
        assert {one.dtype for one in (y if isinstance(y, tuple) else (y,))} == {dtype}
        assert {grad.dtype for grad in grads if grad is not None} == {dtype}
        for tensor, grad, needed in zip(one.tensors, grads, one.needs, strict=True):
            assert needed == (grad is not None)
            assert grad is None or grad.shape == tensor.shape


def test_tensors_of_several_dtypes() -> None:
    conv = ops.get("conv2d")
    options = conv.defaults
    x, weight = torch.ones(1, 2, 3, 3), torch.ones(4, 2, 1, 1)
    with pytest.raises(TypeMismatch, match=r"one dtype and device: bias is torch\.float64"):
        conv.check(x, weight, torch.ones(4).double(), **options)
    with pytest.raises(TypeMismatch, match="a floating-point tensor for weight, got"):
        conv.check(x, weight.long(), None, **options)


def test_an_operation_with_several_outputs_and_whole_numbers() -> None:
    """One that sorts by a key, as an embedding or a pooling with indices would want it."""

    def forward(x: torch.Tensor, index: torch.Tensor) -> Any:
        return (x[index], 2 * x[index]), x.shape

    def backward(
        grad_y: Any, kept: Any, x: torch.Tensor, index: torch.Tensor, *, needs: Any
    ) -> Any:
        grad = x.new_zeros(kept).index_add_(0, index, grad_y[0] + 2 * grad_y[1])
        return grad if needs[0] else None, None

    def check(x: torch.Tensor, index: torch.Tensor) -> Any:
        return ((len(index), *x.shape[1:]),) * 2

    op = Op("gather", forward=forward, backward=backward, check=check, cases=list, reads=("index",),
            integers=("index",))  # fmt: skip
    x, index = torch.arange(6.0).view(3, 2), torch.tensor([2, 0, 2])
    (_, twice), back = dispatch.run(op, x, index)
    assert torch.equal(twice, 2 * x[index])
    grads = back(torch.ones(3, 2), torch.ones(3, 2), needs=(True, False))
    assert grads[0].tolist() == [[3, 3], [0, 0], [6, 6]]
    assert grads[1] is None
    with pytest.raises(TypeMismatch, match="an integer tensor for index, got"):
        dispatch.run(op, x, x)
    index[0] = 1  # which backward reads
    with pytest.raises(ScratchnetError, match="changed in place after the forward"):
        back(torch.ones(3, 2), torch.ones(3, 2), needs=(True, False))


def test_check_rank_names_the_axes() -> None:
    with pytest.raises(ScratchnetError, match=r"pool expects x \(N, C, L\), got 2-D \(3, 4\)"):
        check_rank("pool", "x", torch.ones(3, 4), "N, C, L")


@drawn
@given(case=strategies.convolutions(upsampled=True))
def test_drawn_cases_are_valid_and_have_the_shape_they_say(case: ConvolutionCase) -> None:
    op = ops.get("upsample_conv2d")
    x, weight = torch.empty(()).expand(case.x_shape), torch.empty(()).expand(case.weight_shape)
    options = {**case.geometry, "scale": case.scale}
    assert case.valid
    assert op.check(x, weight, None, **options) == case.y_shape
