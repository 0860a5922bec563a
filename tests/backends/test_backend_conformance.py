"""Every built-in backend passes the conformance kit, as anyone else's must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from scratchnet.testing.operations import OPERATIONS
from selection import backends_under_test
from test_conv import drawn

import scratchnet
from scratchnet.backends.base import PLAIN_OPS
from scratchnet.ops.convolution_cases import CONVOLUTIONS, GRID, Case
from scratchnet.testing import Check, backend_checks, strategies
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


def test_the_grid_is_large_and_names_each_case_once() -> None:
    assert len(GRID) >= 200
    assert len({str(case) for case in GRID}) == len(GRID)
    assert all(case.valid for case in CONVOLUTIONS)


@drawn
@given(case=strategies.convolutions(upsampled=True))
@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
def test_drawn_whole_numbers_give_the_references_bits(name: str, case: Case, backend: str) -> None:
    (operation,) = (operation for operation in OPERATIONS if operation.name == name)
    reference = scratchnet.backends.get("reference")
    tested = scratchnet.backends.get(backend)
    if name.startswith("conv2d"):
        case = replace(case, scale=(1, 1))
        assume(case.valid)
    call = operation.call(case, torch.float32, whole)
    if tested is reference:
        from scratchnet.testing.oracle import TorchOracle

        reference = TorchOracle()
    for what, actual, expected in call.pairs(tested, reference):
        assert_same_bits(actual, expected, what)


def test_the_four_plain_operations_are_those_without_a_default() -> None:
    assert set(PLAIN_OPS) == set(scratchnet.backends.Backend.__abstractmethods__)


def test_a_backend_of_the_plain_operations_alone_is_complete() -> None:
    """The base class composes the fused operations out of them."""
    reference = scratchnet.backends.get("reference")

    class Plain(scratchnet.backends.Backend):
        name = "plain"
        conv2d_forward = type(reference).conv2d_forward
        conv2d_backward = type(reference).conv2d_backward
        upsample_nearest_forward = type(reference).upsample_nearest_forward
        upsample_nearest_backward = type(reference).upsample_nearest_backward

    x = torch.randn(2, 3, 4, 5)
    layer = scratchnet.Upsampling(3, 4, 3, padding=1, backend=Plain())
    y = layer(x)
    grad_x = layer.backward(torch.ones_like(y))
    again = scratchnet.Upsampling(3, 4, 3, padding=1, backend="reference")
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), y)
    assert torch.equal(again.backward(torch.ones_like(y)), grad_x)
