"""Every built-in backend passes the conformance kit, as anyone else's must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from drawn import drawn
from hypothesis import assume, given
from hypothesis import strategies as st
from selection import backends_under_test

import scratchnet
from scratchnet import ops
from scratchnet.backends.base import Backend
from scratchnet.ops import convolution_cases as cases
from scratchnet.ops.conv import conv2d
from scratchnet.ops.convolution_cases import CONVOLUTIONS, GRID, Case
from scratchnet.ops.op import Case as OpCase
from scratchnet.testing import Check, backend_checks, strategies
from scratchnet.testing.backend_number_checks import _autograd
from scratchnet.testing.calls import call
from scratchnet.testing.closeness import assert_same_bits
from scratchnet.testing.tensors import whole


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "check" in metafunc.fixturenames:
        checks = [
            pytest.param(check, id=f"{name}-{check}")
            for name in backends_under_test(metafunc.config)
            for check in backend_checks(name)
        ]
        metafunc.parametrize("check", checks)


def test_conforms(check: Check) -> None:
    check()


def test_the_reference_is_checked_on_every_operation() -> None:
    names = {str(check).split("/")[0] for check in backend_checks("reference")}
    assert names == {"identity", *ops.names()}


def test_the_grid_is_large_and_names_each_case_once() -> None:
    assert len(GRID) >= 200
    assert len({str(case) for case in GRID}) == len(GRID)
    assert all(case.valid for case in CONVOLUTIONS)


def _call(name: str, case: Case) -> OpCase:
    bias = (case.o,) if case.bias else None
    images = case.x_shape, case.weight_shape, bias
    return {
        "conv2d": lambda: OpCase(images, case.geometry, case.layout),
        "upsample_conv2d": lambda: OpCase(
            images, {**case.geometry, "scale": case.scale}, case.layout
        ),
        "upsample_nearest": lambda: OpCase((case.x_shape,), {"scale": case.scale}, case.layout),
        "conv2d_input_grad": lambda: OpCase(
            (case.y_shape, case.weight_shape),
            {**case.geometry, "input_size": (case.h, case.w)},
            case.layout,
        ),
        "conv2d_weight_grad": lambda: OpCase(
            (case.y_shape, case.x_shape),
            {**case.geometry, "kernel_size": case.kernel},
            case.layout,
        ),
    }[name]()


DRAWN = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "upsample_conv2d", "upsample_nearest"]


@drawn
@given(case=strategies.convolutions(upsampled=True))
@pytest.mark.parametrize("name", DRAWN)
def test_drawn_whole_numbers_give_the_references_bits(name: str, case: Case, backend: str) -> None:
    """And the reference gives those of torch."""
    if name.startswith("conv2d"):
        case = replace(case, scale=(1, 1))
        assume(case.valid)
    op = ops.get(name)
    one = call(op, _call(name, case), torch.float32, whole)
    implementation = scratchnet.backends.get(backend).implementation(op)
    assert implementation is not None
    if implementation.supports(*one.tensors, **one.options) is not True:
        return
    if implementation is op.reference:
        from importlib import import_module

        module, _, function = str(op.twin).rpartition(".")
        expected = _autograd(getattr(import_module(module), function), one)
    else:
        expected = [tensor for _, tensor in one.results(op.reference)]
    for (what, actual), same in zip(one.results(implementation), expected, strict=True):
        assert_same_bits(actual, same, what)


pool_options = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(2, 4), st.integers(2, 4)),
        "stride": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "padding": st.tuples(st.integers(0, 1), st.integers(0, 1)),
    }
)


@drawn
@given(
    shape=st.tuples(
        *(st.integers(0, 3), st.integers(1, 9), st.integers(4, 11), st.integers(4, 11))
    ),
    options=pool_options,
)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_drawn_pooling_is_the_references(
    name: str, shape: tuple[int, ...], options: dict[str, Any], backend: str
) -> None:
    op = ops.get(name)
    one = call(op, OpCase((shape,), options), torch.float32, whole)
    implementation = scratchnet.backends.get(backend).implementation(op)
    assert implementation is not None
    for (what, actual), (_, same) in zip(
        one.results(implementation), one.results(op.reference), strict=True
    ):
        if name == "max_pool2d":
            assert_same_bits(actual, same, what)
        else:
            torch.testing.assert_close(actual, same)


def test_a_backend_of_one_operation_is_complete() -> None:
    """What it does not implement runs on the reference."""
    plain = Backend("plain")
    plain.implement(conv2d)
    x = torch.randn(2, 3, 4, 5)
    layer = scratchnet.Upsampling(3, 4, 3, padding=1, backend=plain)
    y = layer(x)
    grad_x = layer.backward(torch.ones_like(y))
    again = scratchnet.Upsampling(3, 4, 3, padding=1, backend="reference")
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), y)
    assert torch.equal(again.backward(torch.ones_like(y)), grad_x)
    assert {str(check).split("/")[0] for check in backend_checks(plain)} == {"identity", "conv2d"}


def test_a_backend_that_implements_nothing_is_told_so() -> None:
    (identity,) = backend_checks(Backend("empty"))
    with pytest.raises(AssertionError, match=r"implements no operation: see Backend\.implement"):
        identity()


def test_the_cases_of_the_operations_are_the_grids() -> None:
    count = sum(not case.error for case in cases.conv2d_cases())
    assert count >= len(CONVOLUTIONS)
