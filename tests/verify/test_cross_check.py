"""The runtime cross-check: wrong kernels are caught as they run, and the call can be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from mutants import backends as faulty
from mutants.graphs import RightGraph
from torch import Tensor

import scratchnet
from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import BackendError
from scratchnet.ops.conv import conv2d
from scratchnet.ops.op import Implementation
from scratchnet.testing import backend_checks
from scratchnet.testing.tensors import normal
from scratchnet.verify import VerificationError, checked
from scratchnet.verify.replay import replay


@pytest.fixture(autouse=True)
def _verifying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    monkeypatch.chdir(tmp_path)


def train(model: scratchnet.Module, steps: int = 2, dtype: torch.dtype = torch.float32) -> None:
    sgd, mse = scratchnet.SGD(model.param(), 0.5), scratchnet.MSE()
    for step in range(steps):
        x = normal((2, 3, 8, 12), dtype, step)
        mse.forward(model.forward(x), x)
        model.zero_grad()
        model.backward(mse.backward())
        sgd.step()


@pytest.mark.parametrize("name", ["noise2noise", "unet"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_right_backends_train_as_ever(
    name: str, backend: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    def model() -> scratchnet.Module:
        generator = torch.Generator().manual_seed(0)
        return scratchnet.models.build(name, generator=generator).to(dtype=dtype)

    checked, plain = model(), model()
    train(checked, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHNET_VERIFY", "0")
        train(plain, dtype=dtype)
    for (value, _), (expected, _) in zip(checked.param(), plain.param(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    assert list(tmp_path.iterdir()) == []


def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = faulty.GroupsMixed()
    x, weight = normal((1, 4, 3, 3), torch.float32, 0), normal((4, 2, 1, 1), torch.float32, 1)
    for value, expected in [("1", True), ("yes", True), ("0", False), ("", False), ("off", False)]:
        monkeypatch.setenv("SCRATCHNET_VERIFY", value)
        assert dispatch.verifying() is expected
        with dispatch.trace() as calls:
            try:
                dispatch.run(conv2d, x, weight, groups=2, backend=wrong)
            except VerificationError:
                assert expected
            else:
                assert not expected
        assert calls == [("conv2d", "mutant")]
    monkeypatch.delenv("SCRATCHNET_VERIFY")
    assert not dispatch.verifying()


def test_the_reference_is_not_compared_with_itself() -> None:
    reference = scratchnet.backends.get("reference")
    tensors, options = conv2d.bind((torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)), {})
    _, implementation = dispatch.resolve(conv2d, tensors, options, reference)
    assert implementation is conv2d.reference


MUTANTS = {
    faulty.HeightForWidth: (lambda b: conv(b, stride=(2, 1)), "output of conv2d"),
    faulty.OneSidedPadding: (lambda b: conv(b, padding=1), "output of conv2d"),
    faulty.SingleInside: (lambda b: conv(b), "output of conv2d"),
    faulty.JustAboveTheTolerance: (lambda b: conv(b), "output of conv2d"),
    faulty.SingleOutput: (lambda b: upsample(b, 2), "expected torch.float64, got torch.float32"),
    faulty.AveragedUpsampling: (lambda b: upsample(b, 2), "grad_x of upsample_nearest"),
    faulty.GroupsMixed: (lambda b: conv(b, groups=2), "output of conv2d"),
    faulty.OverlapsForgotten: (lambda b: conv(b), "grad_x of conv2d"),
    faulty.NoDilationInWeightGradient: (lambda b: conv(b, dilation=2), "grad_weight of conv2d"),
    faulty.NoAdjoint: (
        lambda b: run(scratchnet.Upsampling(4, 6, 3, 2, backend=b)),
        "grad_x of upsample_conv2d",
    ),
}


def conv(backend: object, **options: Any) -> None:
    run(scratchnet.Conv2d(4, 6, 3, **options, backend=backend))


def upsample(backend: object, scale: int) -> None:
    run(scratchnet.NearestUpsampling(scale, backend=backend))


def run(layer: scratchnet.Module) -> None:
    layer.to(dtype=torch.float64)
    y = layer(normal((2, 4, 7, 6), torch.float64, 0))
    layer.backward(normal(y.shape, torch.float64, 1))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_a_wrong_kernel_is_caught_and_can_be_replayed(mutant: type, tmp_path: Path) -> None:
    attempt, message = MUTANTS[mutant]
    with pytest.raises(VerificationError) as error:
        attempt(mutant())
    text = str(error.value)
    assert message in text
    assert "on backend 'mutant' differs from the reference's" in text
    assert "strides (168, 42, 6, 1)" in text or "grad_y" in text
    (path,) = tmp_path.iterdir()
    assert text.endswith(f"to reproduce: scratchnet check --replay {path}")
    assert error.value.path == path

    with pytest.raises(VerificationError, match="differs"):
        replay(path, mutant())
    assert "equals the reference" in replay(path, faulty.Mutant())
    assert len(list(tmp_path.iterdir())) == 2, "each failure is written to a file of its own"


def test_a_gradient_that_nobody_needs_is_a_fault() -> None:
    x, weight = normal((2, 4, 7, 6), torch.float32, 0), normal((6, 4, 3, 3), torch.float32, 1)
    y, back = dispatch.run(conv2d, x, weight, backend=faulty.NeedsIgnored())
    with pytest.raises(VerificationError, match=r"grad_x of conv2d .*expected None, got a tensor"):
        back(torch.ones_like(y), needs=(False, True, False))


class WrongGraph(RightGraph):
    """Has one of several faults, large and small."""

    name = "graphs"
    fault: ClassVar[str] = "backward"

    def run(self, *tensors: Any, **options: Any) -> tuple[Tensor, Any]:
        y, kept = super().run(*tensors, **options)
        if self.fault == "forward":
            y[:, :, -1] = 0
        return y, kept

    def back(self, *args: Any, needs: Any, **options: Any) -> Any:
        grads = super().back(*args, needs=needs, **options)
        grad_x, *of_parameters = grads
        if self.fault == "backward":
            of_parameters[-2].zero_()
        elif self.fault == "one element":
            of_parameters[-2][0, 1, 2, 0] *= 1.01
        elif self.fault == "border":
            grad_x[-1, :, :, -1] *= 0.99
        elif self.fault == "parameters alone" and not needs[0]:
            of_parameters[0].mul_(1.01)
        elif self.fault == "bias":
            of_parameters[5][3] += 1e-3 * of_parameters[5].abs().max()
        return grads


@pytest.fixture
def graphs() -> Iterator[type[WrongGraph]]:
    scratchnet.backends.register("graphs", WrongGraph())
    yield WrongGraph
    scratchnet.backends.unregister("graphs")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("forward", "output of graph"),
        ("backward", "grad_parameters.6 of graph"),
        (
            "one element",
            r"grad_parameters.6 of graph .*: 1 of 864 elements, the worst at \[0, 1, 2, 0\]",
        ),
        ("border", r"grad_x of graph .* elements, the worst at \[1, \d, \d, 11\]"),
        ("bias", r"grad_parameters.5 of graph .*: 1 of 32 elements, the worst at \[3\]"),
    ],
)
def test_a_wrong_graph_is_caught_and_can_be_replayed(
    fault: str,
    message: str,
    graphs: type[WrongGraph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "fault", fault)
    with scratchnet.use_backend("graphs"):
        if fault == "none":
            with dispatch.trace() as calls:
                train(scratchnet.models.noise2noise())
            assert [call for call in calls if call[0] == "graph"] == [("graph", "graphs")] * 2
            assert list(tmp_path.iterdir()) == []
            return
        with pytest.raises(VerificationError, match=message):
            train(scratchnet.models.noise2noise())
    (path,) = tmp_path.iterdir()
    with pytest.raises(VerificationError, match=message):
        replay(path)
    monkeypatch.setattr(graphs, "fault", "none")
    assert "graph on 'graphs'" in replay(path)


def test_a_graph_is_replayed_the_way_it_was_called(
    graphs: type[WrongGraph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "fault", "parameters alone")
    model, x = scratchnet.models.noise2noise(), normal((2, 3, 8, 12), torch.float32, 0)
    with scratchnet.use_backend("graphs"):
        model.backward(model.forward(x))
        with pytest.raises(VerificationError, match=r"grad_parameters\.0 of graph"):
            model.backward_parameters(model.forward(x))
    (path,) = tmp_path.iterdir()
    with pytest.raises(VerificationError, match=r"grad_parameters\.0 of graph"):
        replay(path)


class Inexact(faulty.Mutant):
    """Every convolution is off by a rounding error, up or down, inside of a graph, too."""

    name = "inexact"

    def __init__(self) -> None:
        super().__init__()
        graph = ops.get("graph")
        self.implement(graph, forward=self.graph_forward, backward=graph.reference.backward)

    def conv2d_forward(self, x: Tensor, *args: Any, **options: Any) -> Any:
        y, kept = faulty.conv.forward(x, *args, **options)
        return y + torch.finfo(y.dtype).eps * normal(y.shape, y.dtype, 5).sign(), kept

    def graph_forward(self, *tensors: Any, **options: Any) -> Any:
        inexact = Implementation(self.conv2d_forward, faulty.conv.backward)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv2d, "reference", inexact)
            return ops.get("graph").reference.forward(*tensors, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_on_the_kink_may_fall_to_either_side(dtype: torch.dtype) -> None:
    """The convolution's two terms cancel: what is left is rounding, and ReLU opens or closes."""
    model = scratchnet.Sequential(
        scratchnet.Conv2d(2, 1, 1, bias=False), scratchnet.ReLU(), scratchnet.Conv2d(1, 3, 3)
    ).to(dtype=dtype)
    model[0].weight.copy_(torch.tensor([1.1, -1.1]).view(1, 2, 1, 1))
    x = normal((2, 1, 7, 5), dtype, 0).expand(2, 2, 7, 5)
    with scratchnet.use_backend(Inexact()), dispatch.trace() as calls:
        y = model(x)
        grad_y = normal(y.shape, dtype, 1)
        grad_x = model.backward(grad_y)
    assert calls == [("graph", "inexact")]
    with scratchnet.use_backend("reference"):
        model(x)
        expected = model.backward(grad_y)
    assert not torch.allclose(grad_x, expected, rtol=0.1), "no number fell to the other side"


@pytest.mark.parametrize("factor", [1e38, 3e37, 1e15])
def test_numbers_beyond_the_dtypes_range_are_not_compared(factor: float) -> None:
    """They overflow at the input, or in a hidden layer, whose infinities cancel to nan."""
    model = scratchnet.Sequential(
        scratchnet.Conv2d(2, 3, 3),
        scratchnet.ReLU(),
        scratchnet.Conv2d(3, 3, 3),
        scratchnet.Conv2d(3, 1, 3),
    )
    alone = scratchnet.Conv2d(2, 3, 3)
    x = factor * normal((1, 2, 8, 8), torch.float32, 0)
    for module in (model, alone):
        for i, (value, _) in enumerate(module.param()):
            value.copy_(1e9 * normal(value.shape, value.dtype, i))
        with scratchnet.use_backend(Inexact()):
            y = module(x)
            assert not y.isfinite().all() or module is alone
            module.backward(torch.full_like(y, 1e30))


def test_a_backend_that_is_not_registered_is_found_again_by_its_class(tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        conv(faulty.OverlapsForgotten())
    (path,) = tmp_path.iterdir()
    with pytest.raises(VerificationError, match="on backend 'mutant' differs"):
        replay(path)


def test_a_replay_on_a_backend_that_does_not_implement_it(tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        conv(faulty.OverlapsForgotten())
    (path,) = tmp_path.iterdir()
    with pytest.raises(BackendError, match="'empty' does not implement conv2d: name another"):
        replay(path, Backend("empty"))


def test_a_replay_runs_on_as_many_threads_as_the_call_did(tmp_path: Path) -> None:
    class OnThreads(faulty.Mutant):
        seen: ClassVar[list[int]] = []

        def upsample_nearest_forward(self, x: Tensor, **options: Any) -> Any:
            self.seen.append(torch.get_num_threads())
            return faulty.nearest.forward(x, **options)[0] + (self.seen[-1] - 1), None

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(VerificationError, match="3 threads; to reproduce"):
            upsample(OnThreads(), 2)
    finally:
        torch.set_num_threads(before)
    (path,) = tmp_path.iterdir()
    with pytest.raises(VerificationError):
        replay(path, OnThreads())
    assert "equals the reference" in replay(path, OnThreads(), threads=1)
    assert OnThreads.seen == [3, 3, 1]
    assert torch.get_num_threads() == before


def test_the_checked_implementation_does_what_the_other_does() -> None:
    """Of every operation: the same results, the same refusals."""
    right = faulty.Mutant()
    both = Backend("checked")
    for name in ops.names():
        implementation = right.implementation(ops.get(name))
        if implementation is not None:
            there = checked(ops.get(name), right, implementation)
            both.implement(ops.get(name), forward=there.forward, backward=there.backward)
    ran = set()
    for check in backend_checks(both):
        op, _, aspect = check.name.partition("/")
        if aspect in ("needs", "pure", "errors", "empty") and not op.startswith("conv2d_"):
            check()
            ran.add(op)
    assert {"conv2d", "upsample_conv2d", "relu", "concat", "max_pool2d"} <= ran
