"""The kit's front ends, and the project's own layers through them."""

from __future__ import annotations

import pytest
import torch
from mutants import layers as faulty
from mutants.backends import NeedsIgnored
from zoo import OTHERS, ZOO

import scratchnet
from scratchnet.errors import ArgumentError, PluginError
from scratchnet.testing import (
    ConformanceError,
    backend_checks,
    check_backend,
    check_layer,
    gradcheck,
    layer_checks,
    parametrize_with_checks,
)
from scratchnet.testing.checks import run_checks
from scratchnet.testing.twins import torch_twin

X = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ZOO)
def test_the_projects_own_layers_conform(name: str, backend: str) -> None:
    specimen = ZOO[name]
    results = check_layer(specimen.make, [specimen.x()], twin=torch_twin(specimen.make()))
    assert all(result.status == "passed" for result in results)
    assert len(results) >= 25


@pytest.mark.parametrize("name", OTHERS)
def test_layers_of_other_inputs_conform(name: str, backend: str) -> None:
    other = OTHERS[name]
    results = check_layer(other.factory, other.inputs, twin=other.twin)
    assert all(result.status == "passed" for result in results)
    assert "twin_output" in {result.name for result in results}


@parametrize_with_checks(
    layer_checks(scratchnet.Sigmoid, [X], twin=torch.sigmoid),
)
def test_sigmoid_by_a_function_for_a_twin(check: object) -> None:
    check()


def test_a_function_twin_is_given_the_parameters_in_order() -> None:
    def convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, weight, bias)

    check_layer(lambda: scratchnet.Conv2d(4, 3, (3, 2)), [X], twin=convolution)
    with pytest.raises(ConformanceError, match="fails twin_output: output for"):
        check_layer(
            lambda: scratchnet.Conv2d(4, 3, (3, 2)),
            [X],
            twin=lambda x, weight, bias: convolution(x, weight, 2 * bias),
        )


def test_a_twin_with_other_parameters() -> None:
    with pytest.raises(ConformanceError, match="expected to have the layer's parameters"):
        check_layer(lambda: scratchnet.Conv2d(4, 3, 3), [X], twin=torch.nn.Conv2d(4, 3, 5))


def test_one_error_lists_every_failure() -> None:
    with pytest.raises(ConformanceError) as error:
        check_layer(faulty.TakesAnything, [X])
    lines = str(error.value).splitlines()
    assert (
        lines[0]
        == f"{len(lines) - 1} of {len(layer_checks(faulty.TakesAnything, [X]))} checks failed:"
    )
    assert any("wrong_inputs" in line for line in lines)
    assert isinstance(error.value, AssertionError)


def test_results_without_an_error() -> None:
    results = check_layer(faulty.InAGraph, [X], on_fail=None)
    (failed,) = [result for result in results if not result.ok]
    assert (failed.name, failed.status) == ("no_graph", "failed")
    with pytest.warns(UserWarning, match="layer InAGraph fails no_graph"):
        check_layer(faulty.InAGraph, [X], on_fail="warn")
    with pytest.raises(ArgumentError, match="'raise', 'warn' or None, got 'ignore'"):
        check_layer(faulty.InAGraph, [X], on_fail="ignore")


def test_expected_failures_are_strict() -> None:
    reason = {"no_graph": "this layer is meant for autograd"}
    results = check_layer(faulty.InAGraph, [X], expected_failures=reason)
    (expected,) = [result for result in results if result.status == "expected failure"]
    assert expected.message == reason["no_graph"]
    with pytest.raises(ConformanceError, match="passes no_graph, which was expected to fail"):
        check_layer(scratchnet.ReLU, [X], expected_failures=reason)
    with pytest.raises(ArgumentError, match="'nograph', which is no check: did you mean 'no_gr"):
        check_layer(scratchnet.ReLU, [X], expected_failures={"nograph": "?"})
    with pytest.raises(ArgumentError, match="wants a reason for 'no_graph', in words; got ''"):
        check_layer(scratchnet.ReLU, [X], expected_failures={"no_graph": ""})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one example"),
        ([torch.zeros(3, dtype=torch.int64)], "floating-point tensors.*holds torch.int64"),
        ([1.0], r"holds 1\.0"),
    ],
)
def test_inputs_that_are_no_tensors(inputs: list, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_layer(scratchnet.ReLU, inputs)


def test_a_factory_that_makes_no_layer() -> None:
    with pytest.raises(ConformanceError, match=r"return a scratchnet\.Module, got ReLU"):
        check_layer(torch.nn.ReLU, [X])


def test_backends_by_name_and_by_object() -> None:
    names = [str(check) for check in backend_checks("reference")]
    assert names == [str(check) for check in backend_checks(scratchnet.backends.get("reference"))]
    assert "conv2d/adjoint" in names
    with pytest.raises(PluginError, match="did you mean 'reference'"):
        check_backend("referenc")
    with pytest.raises(ArgumentError, match="a backend's name or a Backend, got 3"):
        check_backend(3)


def test_an_expected_failure_of_a_backend() -> None:
    checks = [check for check in backend_checks(NeedsIgnored()) if check.name.endswith("needs")]
    reasons = {"conv2d/needs": "computes all, always"}
    results = run_checks(checks, expected_failures=reasons)
    assert {result.name: result.status for result in results if result.status != "passed"} == {
        "conv2d/needs": "expected failure"
    }


TESTS = """
import torch
import scratchnet
from scratchnet.testing import layer_checks, parametrize_with_checks

class Halved(scratchnet.ReLU):
    def backward(self, grad_y):
        return super().backward(grad_y) / 2

@parametrize_with_checks(
    layer_checks(Halved, [torch.randn(2, 3, 5, 4)]), expected_failures={expected}
)
def test_halved(check):
    check()
"""


def run_tests(pytester: pytest.Pytester, expected: dict) -> str:
    path = pytester.makepyfile(TESTS.replace("{expected}", repr(expected)))
    return pytester.runpytest_inprocess("-rA", "-p", "no:cacheprovider", path).stdout.str()


def test_each_check_is_a_test_of_its_own(pytester: pytest.Pytester) -> None:
    out = run_tests(pytester, {})
    assert "py::test_halved[input_gradient]" in out
    assert "all are 0.5 times what they should be" in out
    assert "1 failed" in out


def test_an_expected_failure_is_a_strict_one(pytester: pytest.Pytester) -> None:
    out = run_tests(pytester, {"input_gradient": "halved on purpose"})
    assert "1 xfailed" in out
    assert "failed," not in out.replace("xfailed,", "")


def test_an_unexpected_pass_fails(pytester: pytest.Pytester) -> None:
    out = run_tests(pytester, {"input_gradient": "halved", "no_graph": "?"})
    assert "test_halved[no_graph]" in out
    assert "XPASS(strict)" in out
    assert "1 failed" in out


def test_an_unknown_check_is_an_error(pytester: pytest.Pytester) -> None:
    assert "did you mean 'input_gradient'" in run_tests(pytester, {"input_grad": "?"})


def test_gradcheck_leaves_the_layer_alone() -> None:
    layer = scratchnet.Conv2d(4, 3, 3)
    before = [tensor.clone() for pair in layer.param() for tensor in pair]
    assert 0 < gradcheck(layer, X) < 1e-7
    assert layer.weight.dtype == torch.float32
    for tensor, kept in zip((t for p in layer.param() for t in p), before, strict=True):
        assert torch.equal(tensor, kept)


def test_gradcheck_says_what_is_wrong_and_where() -> None:
    layer = faulty.BorderForgotten(4, 3, 3, 1, 1)
    with pytest.raises(ConformanceError, match=r"gradient of the input.*only in columns 4 of 5"):
        gradcheck(layer, X)
    with pytest.raises(ConformanceError, match=r"random direction backward gives .*ratio 0\.25"):
        gradcheck(faulty.AveragingUpsampling(2), torch.randn(3, 4, 12, 12))
