"""The layer passes the conformance checks, on its kernels and on the backends."""

from pathlib import Path

import pytest
import torch
from scratchnet_depthwise import DepthwiseConv2d
from scratchnet_depthwise.kernels import kernels
from torch import nn

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.testing import Check, check_layer, layer_checks, parametrize_with_checks
from scratchnet.verify import VerificationError
from scratchnet.verify.replay import replay

CASES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": 1, "bias": False},
    {"kernel_size": (1, 4), "stride": (3, 4), "padding": (0, 5)},
    {"kernel_size": 5, "padding": 4, "stride": 2},
    {"kernel_size": (9, 7)},
    {"kernel_size": 2, "stride": 11, "padding": 3},
]
IMAGES = [
    torch.randn(2, 5, 9, 7, generator=torch.Generator().manual_seed(0)),
    torch.randn(1, 5, 11, 13, generator=torch.Generator().manual_seed(1)),
]


@parametrize_with_checks(
    layer_checks(
        lambda: DepthwiseConv2d(5, (3, 2), (2, 1), (1, 2)),
        IMAGES,
        twin=nn.Conv2d(5, 5, (3, 2), (2, 1), (1, 2), groups=5),
    )
)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_conforms(check: Check, backend: str) -> None:
    with scratchnet.use_backend(backend):
        check()


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_conforms_for_other_arguments(arguments: dict) -> None:
    twin = nn.Conv2d(5, 5, **arguments, groups=5)
    check_layer(lambda: DepthwiseConv2d(5, **arguments), IMAGES, twin=twin)


def test_the_kernels_run_unless_a_backend_is_named() -> None:
    assert kernels.available() is True
    layer = DepthwiseConv2d(5, 3)
    for choice, expected in [("auto", "depthwise"), ("reference", "reference")]:
        with scratchnet.use_backend(choice), dispatch.trace() as calls:
            layer(IMAGES[0])
        assert calls == [("conv2d", expected)]


def test_other_layers_may_have_them_too() -> None:
    choice = "auto+depthwise"
    x = torch.randn(1, 6, 8, 8)
    for groups, expected in [(6, {"depthwise"}), (3, {"cpp", "reference"})]:
        layer = scratchnet.Conv2d(6, 6, 3, groups=groups, backend=choice)
        with dispatch.trace() as calls:
            layer.backward(layer(x))
        assert {name for _, name in calls} <= expected
        why = scratchnet.explain(
            "conv2d", x, layer.weight, layer.bias, **layer.options, backend=choice
        )
        assert why.backend in expected
        assert "one channel a group" in why.reasons["depthwise"] or groups == 6


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_the_cross_check_finds_no_difference(
    arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    monkeypatch.chdir(tmp_path)
    layer = DepthwiseConv2d(5, **arguments)
    with scratchnet.use_backend("auto"):
        for x in IMAGES:
            y = layer(x)
            layer.backward(torch.ones_like(y))


def test_the_cross_check_finds_a_wrong_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    monkeypatch.chdir(tmp_path)
    right = kernels()

    class Wrong:
        def __getattr__(self, name: str) -> object:
            return getattr(right, name)

        def backward(self, *arguments: object) -> None:
            right.backward(*arguments)
            arguments[3][-1, 2, 0, 1] *= 1.001

    layer = DepthwiseConv2d(5, 3)
    with scratchnet.use_backend("auto"), monkeypatch.context() as patch:
        patch.setattr(kernels, "_module", Wrong())
        y = layer(IMAGES[0])
        where = r"1 of 630 elements, the worst at \[1, 2, 0, 1\]"
        with pytest.raises(VerificationError, match=rf"grad_x .*'depthwise'.*{where}"):
            layer.backward(torch.ones_like(y))
    (path,) = tmp_path.iterdir()
    assert "'depthwise'" in replay(path)


def test_whole_numbers_give_the_references_bits_on_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (4, 16, 64, 61), generator=generator).float()
    layer = DepthwiseConv2d(16, (5, 3), (1, 2), (2, 0))
    for value, _ in layer.param():
        value.copy_(torch.randint(-3, 4, value.shape, generator=generator))
    results = []
    threads = torch.get_num_threads()
    try:
        for backend, count in [("reference", 1), ("auto", 1), ("auto", 2), ("auto", 5)]:
            torch.set_num_threads(count)
            layer.zero_grad()
            with scratchnet.use_backend(backend):
                y = layer(x)
                grad_x = layer.backward(y.sign())
            results.append([y, grad_x, *(grad.clone() for _, grad in layer.param())])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert torch.equal(actual, expected)
