"""The C++ kernels: every instruction set, any number of threads, odd numbers, accuracy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet import _C, Module, models
from scratchnet.backends import dispatch
from scratchnet.ops.conv import conv2d
from scratchnet.testing.tensors import normal

GEOMETRY = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


@pytest.fixture(autouse=True)
def _on_cpp() -> Iterator[None]:
    """Whatever backend the rest of the suite runs on."""
    with scratchnet.use_backend("cpp"):
        yield


def step(batch: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the output, the input gradient and all parameter gradients of the paper's network."""
    model = models.noise2noise(generator=torch.Generator().manual_seed(1)).to(dtype=dtype)
    y = model.forward(normal((batch, 3, 12, 20), dtype, 2))
    grad_x = model.backward(normal(y.shape, dtype, 3))
    return [y, grad_x, *(grad for _, grad in model.param())]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_number_of_threads_gives_the_same_bits(batch: int) -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(step(batch))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", _C.instruction_sets()[1:])
def test_the_conformance_kit_passes_on_every_instruction_set(isa: str) -> None:
    """In a process of its own: it is chosen once. The best one is what all other tests run on."""
    code = (
        "import torch, scratchnet._C, scratchnet.testing as t\n"
        f"assert scratchnet._C.isa() == {isa!r}\n"
        "t.check_backend('cpp')\n"
        "print('passed')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"SCRATCHNET_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip().endswith("passed"), run.stderr


def test_an_unknown_instruction_set_is_named() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import torch, scratchnet._C as c; c.isa()"],
        env=os.environ | {"SCRATCHNET_ISA": "mmx"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SCRATCHNET_ISA=mmx is not an instruction set" in run.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e-42])
@pytest.mark.parametrize("channels", [3, 32])
def test_odd_numbers_come_out_as_in_torch(value: float, channels: int) -> None:
    """But for what is infinite: by Winograd's algorithm, with many channels, it is infinity minus
    infinity.
    """
    x = normal((1, channels, 6, 7), torch.float32, 1)
    x[0, 1, 2, 3] = value
    weight = normal((channels, channels, 3, 3), torch.float32, 2)
    ours, _ = dispatch.run(conv2d, x, weight, **GEOMETRY)
    theirs = torch.nn.functional.conv2d(x, weight, padding=1)
    if channels >= 12:
        assert torch.equal(ours.isfinite(), theirs.isfinite())
        return
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.isposinf(), theirs.isposinf())
    assert torch.equal(ours.isneginf(), theirs.isneginf())


@pytest.mark.parametrize("activation", [scratchnet.ReLU, scratchnet.Sigmoid])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_activations_are_torchs(activation: type, dtype: torch.dtype) -> None:
    """A convolution that copies its input, and numbers of all sizes through the activation."""
    sizes = [0.0, 1e-42, 1e-30, 0.1, 0.5, 1.0, 3.0, 17.0, 88.0, 89.0, 103.0, 120.0, 700.0, 1e30]
    numbers = torch.tensor([*sizes, float("inf"), float("nan")], dtype=dtype)
    x = torch.stack([numbers, -numbers]).view(1, 1, 4, 8)
    copy = scratchnet.Conv2d(1, 1, 1, bias=False, dtype=dtype)
    copy.weight.fill_(1)
    fused = scratchnet.Sequential(copy, activation()).forward(x)
    torch.testing.assert_close(fused, activation().forward(x), equal_nan=True, rtol=3e-7, atol=0)


def test_every_result_of_a_step_is_as_accurate_as_torchs() -> None:
    """Errors against float64, summed over some steps; torch's in that memory layout which makes
    them larger, and 2 % for the last bit of the sigmoid, which is anybody's.
    """
    errors: dict[str, Tensor] = {}
    for seed in range(4):
        model = models.noise2noise(generator=torch.Generator().manual_seed(seed))
        x, grad_y = (normal((8, 3, 32, 32), torch.float32, 10 * seed + i) for i in (1, 2))
        exact = _torch_step(model, x, grad_y, torch.float64)
        ours = [model.forward(x), model.backward(grad_y), *(grad for _, grad in model.param())]
        names = ["output", "grad_x", *(name for name, _, _ in model.named_param())]
        plain = _torch_step(model, x, grad_y, torch.float32)
        last = _torch_step(model, x, grad_y, torch.float32, memory_format=torch.channels_last)
        for name, truth, *results in zip(names, exact, ours, plain, last, strict=True):
            found = [(r.double() - truth).norm() / truth.norm() for r in results]
            errors[name] = errors.get(name, 0) + torch.stack(found)
    for name, (error, *torchs) in errors.items():
        assert error <= 1.02 * max(torchs), f"{name}: {error:.3g}, torch's are {torchs}"


def _torch_step(
    model: Module, x: Tensor, grad_y: Tensor, dtype: torch.dtype, **layout: torch.memory_format
) -> list[Tensor]:
    """The output, and all gradients, by autograd."""
    net = scratchnet.to_torch(model).to(dtype=dtype).to(**layout)
    leaf = x.to(dtype).requires_grad_()
    y = net(leaf)
    return [y.detach(), *torch.autograd.grad(y, [leaf, *net.parameters()], grad_y.to(dtype))]


@pytest.mark.parametrize(
    ("x", "weight", "groups", "reason"),
    [
        ((1, 64, 4, 4), (64, 4, 3, 3), 16, "16 groups of 4 channels"),
        ((1, 64, 4, 4), (64, 8, 3, 3), 8, None),
        ((1, 6, 4, 4), (6, 3, 3, 3), 2, None),
        ((1, 4, 4, 4), (4, 1, 3, 3), 4, None),
        ((1, 16, 4, 4), (32, 1, 3, 3), 16, "16 groups of 1 channels"),
        ((1, 16, 4, 4), (16, 1, 3, 3), 16, None),
        ((1, 16, 65, 65), (16, 1, 3, 3), 16, "few taps of depthwise weights for 4225 pixels"),
        ((1, 16, 65, 65), (16, 1, 4, 3), 16, None),
        ((1, 256, 7, 7), (256, 256, 2, 5), 1, "655360 weights for 49 pixels"),
        ((32, 256, 7, 7), (256, 256, 2, 5), 1, None),
        ((0, 256, 7, 7), (256, 256, 2, 5), 1, None),
        ((1, 256, 7, 7), (256, 256, 3, 3), 1, None),
    ],
)
def test_what_torch_is_faster_at_is_handed_over_and_said(
    x: tuple[int, ...], weight: tuple[int, ...], groups: int, reason: str | None
) -> None:
    geometry = {**GEOMETRY, "groups": groups}
    for dtype in (torch.float32, torch.float64):
        images, kernel = torch.rand(x, dtype=dtype), torch.rand(weight, dtype=dtype)
        how = scratchnet.explain("conv2d", images, kernel, **geometry).reasons["cpp"]
        handed_over = reason is not None and dtype == torch.float32
        assert ("torch's own" in how) == handed_over
        assert not handed_over or str(reason) in how
        y, _ = dispatch.run(conv2d, images, kernel, **geometry)
        expected, _ = dispatch.run(conv2d, images, kernel, **geometry, backend="reference")
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=0)
        assert y.is_contiguous(memory_format=torch.channels_last)
        model = scratchnet.Sequential(
            scratchnet.Conv2d(x[1], weight[0], weight[2:], padding=1, groups=groups, dtype=dtype),
            scratchnet.ReLU(),
        )
        with dispatch.trace() as calls:
            model.forward(images)
        assert ("conv2d" in {op for op, _ in calls}) == handed_over
