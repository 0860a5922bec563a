"""The runtime cross-check: wrong kernels are caught as they run, and the call can be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from mutants import backends as faulty
from scratchnet.backends.one_by_one import OneByOne
from scratchnet.backends.replay import replay
from scratchnet.testing.operations import OPERATIONS

import scratchnet
from scratchnet.backends import dispatch, verify
from scratchnet.backends.base import Chain
from scratchnet.errors import DataError
from scratchnet.ops.convolution_cases import Case
from scratchnet.testing import backend_checks
from scratchnet.testing.tensors import normal


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_right_backends_train_as_ever(backend: str, dtype: torch.dtype, tmp_path: Path) -> None:
    def model() -> scratchnet.Module:
        generator = torch.Generator().manual_seed(0)
        return scratchnet.models.noise2noise(generator=generator).to(dtype=dtype)

    checked, plain = model(), model()
    train(checked, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHNET_VERIFY", "0")
        train(plain, dtype=dtype)
    for (value, _), (expected, _) in zip(checked.param(), plain.param(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    assert list(tmp_path.iterdir()) == []


def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    right = faulty.Mutant()
    for value, expected in [("1", True), ("yes", True), ("0", False), ("", False), ("off", False)]:
        monkeypatch.setenv("SCRATCHNET_VERIFY", value)
        assert verify.enabled() is expected
        chosen = dispatch.resolve(
            "upsample_nearest_forward", torch.ones(1, 1, 1, 1), scale=(2, 2), backend=right
        )
        assert chosen.name == right.name
        assert isinstance(chosen, verify.VerifiedBackend) is expected
    monkeypatch.delenv("SCRATCHNET_VERIFY")
    assert not verify.enabled()


def test_the_reference_is_not_compared_with_itself() -> None:
    reference = scratchnet.backends.get("reference")
    assert verify.verified(reference) is reference


MUTANTS = {
    faulty.HeightForWidth: (lambda b: conv(b, stride=(2, 1)), "output of conv2d_forward"),
    faulty.OneSidedPadding: (lambda b: conv(b, padding=1), "output of conv2d_forward"),
    faulty.SingleInside: (lambda b: conv(b), "output of conv2d_forward"),
    faulty.SingleOutput: (lambda b: upsample(b, 2), "expected torch.float64, got torch.float32"),
    faulty.AveragedUpsampling: (lambda b: upsample(b, 2), "output of upsample_nearest_backward"),
    faulty.GroupsMixed: (lambda b: conv(b, groups=2), "output of conv2d_forward"),
    faulty.OverlapsForgotten: (lambda b: conv(b), "grad_x of conv2d_backward"),
    faulty.NoAdjoint: (
        lambda b: run(scratchnet.Upsampling(4, 6, 3, 2, backend=b)),
        "grad_x of upsample_conv2d_backward",
    ),
}


def conv(backend: object, **options: object) -> None:
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
    with pytest.raises(verify.VerificationError) as error:
        attempt(mutant())
    text = str(error.value)
    assert message in text
    assert "on backend 'mutant' differs from the reference's" in text
    assert "strides (168, 42, 6, 1)" in text or "grad_y" in text
    (path,) = tmp_path.iterdir()
    assert text.endswith(f"to reproduce: scratchnet check --replay {path}")

    with pytest.raises(verify.VerificationError, match="differs"):
        replay(path, mutant())
    assert "equals the reference" in replay(path, faulty.Mutant())
    assert len(list(tmp_path.iterdir())) == 2, "each failure is written to a file of its own"


class WrongChain(OneByOne):
    """Has one of several faults, large and small."""

    fault = "backward"

    def forward(self, *args: object, keep: bool) -> tuple:
        y, kept = super().forward(*args, keep=keep)
        if self.fault == "forward":
            y[:, :, -1] = 0
        return y, kept

    def backward(self, *args: object, **options: object) -> torch.Tensor | None:
        grad_x = super().backward(*args, **options)
        grad_weights, grad_biases = args[5:]
        if self.fault == "backward":
            grad_weights[-1].zero_()
        elif self.fault == "one element":
            grad_weights[-1][0, 1, 2, 0] *= 1.01
        elif self.fault == "border":
            grad_x[-1, :, :, -1] *= 0.99
        elif self.fault == "parameters alone" and not options.get("needs_grad_x", True):
            grad_weights[0].mul_(1.01)
        elif self.fault == "bias":
            grad_biases[2][3] += 1e-3 * grad_biases[2].abs().max()
        return grad_x


@pytest.fixture
def chained() -> Iterator[type[WrongChain]]:
    class Chained(faulty.Mutant):
        name = "chained"

        def chain(self, x: torch.Tensor, links: tuple) -> Chain:
            return WrongChain(self, links)

    scratchnet.backends.register("chained", Chained())
    yield WrongChain
    scratchnet.backends.unregister("chained")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("forward", "output of chain"),
        ("backward", "grad_weight 3 of chain"),
        (
            "one element",
            r"grad_weight 3 of chain .*: 1 of 864 elements, the worst at \[0, 1, 2, 0\]",
        ),
        ("border", r"grad_x of chain .* elements, the worst at \[1, \d, \d, 11\]"),
        ("bias", r"grad_bias 2 of chain .*: 1 of 32 elements, the worst at \[3\]"),
    ],
)
def test_a_wrong_chain_is_caught_and_can_be_replayed(
    fault: str,
    message: str,
    chained: type[WrongChain],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chained, "fault", fault)
    with scratchnet.use_backend("chained"):
        if fault == "none":
            train(scratchnet.models.noise2noise())
            assert list(tmp_path.iterdir()) == []
            return
        with pytest.raises(verify.VerificationError, match=message):
            train(scratchnet.models.noise2noise())
    (path,) = tmp_path.iterdir()
    with pytest.raises(verify.VerificationError, match=message):
        replay(path)
    monkeypatch.setattr(chained, "fault", "none")
    assert "chain on 'chained'" in replay(path)


def test_a_chain_is_replayed_the_way_it_was_called(
    chained: type[WrongChain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chained, "fault", "parameters alone")
    model, x = scratchnet.models.noise2noise(), normal((2, 3, 8, 12), torch.float32, 0)
    with scratchnet.use_backend("chained"):
        model.backward(model.forward(x))
        with pytest.raises(verify.VerificationError, match="grad_weight 0 of chain"):
            model.backward_parameters(model.forward(x))
    (path,) = tmp_path.iterdir()
    with pytest.raises(verify.VerificationError, match="grad_weight 0 of chain"):
        replay(path)


class Inexact(faulty.Mutant):
    """Every convolution is off by a rounding error, up or down."""

    name = "inexact"

    def conv2d_forward(self, x: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        y = super().conv2d_forward(x, *args, **options)
        return y + torch.finfo(y.dtype).eps * normal(y.shape, y.dtype, 5).sign()

    def chain(self, x: torch.Tensor, links: tuple) -> Chain:
        return OneByOne(self, links)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_on_the_kink_may_fall_to_either_side(dtype: torch.dtype) -> None:
    """The convolution's two terms cancel: what is left is rounding, and ReLU opens or closes."""
    model = scratchnet.Sequential(
        scratchnet.Conv2d(2, 1, 1, bias=False, backend=Inexact()),
        scratchnet.ReLU(),
        scratchnet.Conv2d(1, 3, 3, backend=Inexact()),
    ).to(dtype=dtype)
    inexact, exact = Inexact(), scratchnet.backends.get("reference")
    for layer in (model[0], model[2]):
        layer.backend = inexact
    model[0].weight.copy_(torch.tensor([1.1, -1.1]).view(1, 2, 1, 1))
    x = normal((2, 1, 7, 5), dtype, 0).expand(2, 2, 7, 5)
    y = model(x)
    grad_y = normal(y.shape, dtype, 1)
    grad_x = model.backward(grad_y)
    for layer in (model[0], model[2]):
        layer.backend = exact
    model(x)
    expected = model.backward(grad_y)
    assert not torch.allclose(grad_x, expected, rtol=0.1), "no number fell to the other side"


@pytest.mark.parametrize("factor", [1e38, 3e37, 1e15])
def test_numbers_beyond_the_dtypes_range_are_not_compared(factor: float) -> None:
    """They overflow at the input, or in a hidden layer, whose infinities cancel to nan."""
    model = scratchnet.Sequential(
        scratchnet.Conv2d(2, 3, 3, backend=Inexact()),
        scratchnet.ReLU(),
        scratchnet.Conv2d(3, 3, 3, backend=Inexact()),
        scratchnet.Conv2d(3, 1, 3, backend=Inexact()),
    )
    alone = scratchnet.Conv2d(2, 3, 3, backend=Inexact())
    x = factor * normal((1, 2, 8, 8), torch.float32, 0)
    for module in (model, alone):
        for i, (value, _) in enumerate(module.param()):
            value.copy_(1e9 * normal(value.shape, value.dtype, i))
        y = module(x)
        assert not y.isfinite().all() or module is alone
        module.backward(torch.full_like(y, 1e30))


def test_a_backend_that_is_not_registered_is_found_again_by_its_class(tmp_path: Path) -> None:
    with pytest.raises(verify.VerificationError):
        conv(faulty.OverlapsForgotten())
    (path,) = tmp_path.iterdir()
    with pytest.raises(verify.VerificationError, match="on backend 'mutant' differs"):
        replay(path)


def test_a_replay_runs_on_as_many_threads_as_the_call_did(tmp_path: Path) -> None:
    class OnThreads(faulty.Mutant):
        seen: ClassVar[list[int]] = []

        def upsample_nearest_forward(self, x: torch.Tensor, **options: object) -> torch.Tensor:
            self.seen.append(torch.get_num_threads())
            return super().upsample_nearest_forward(x, **options) + (self.seen[-1] - 1)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(verify.VerificationError, match="3 threads; to reproduce"):
            upsample(OnThreads(), 2)
    finally:
        torch.set_num_threads(before)
    (path,) = tmp_path.iterdir()
    with pytest.raises(verify.VerificationError):
        replay(path, OnThreads())
    assert "equals the reference" in replay(path, OnThreads(), threads=1)
    assert OnThreads.seen == [3, 3, 1]
    assert torch.get_num_threads() == before


def test_a_saved_call_lies_in_memory_as_it_did(tmp_path: Path) -> None:
    from scratchnet.backends.callfile import SavedCall, read

    base = normal((2, 3, 8, 9), torch.float32, 0)
    tensors = {
        "plain": base,
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "sliced": base[:, 1:, ::2, ::3],
        "expanded": base[:1, :, :1].expand(4, 3, 5, 9),
        "empty": base[:0],
        "number": base[0, 0, 0, 0],
    }
    path = SavedCall("conv2d_forward", "cpp", tensors, {"stride": (2, 1), "groups": 1}, 3).write()
    call = read(path)
    assert (call.op, call.backend, call.threads) == ("conv2d_forward", "cpp", 3)
    assert call.options == {"stride": [2, 1], "groups": 1}
    for name, tensor in tensors.items():
        assert torch.equal(call.tensors[name], tensor)
        assert call.tensors[name].stride() == tensor.stride()


def test_a_file_that_is_no_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors cannot be read"):
        replay(tmp_path / "none.safetensors")
    path = tmp_path / "weights.safetensors"
    scratchnet.save(scratchnet.Conv2d(2, 3, 3), path)
    with pytest.raises(DataError, match="holds no call of a backend"):
        replay(path)


def test_the_checked_backend_is_a_backend() -> None:
    checked = verify.verified(faulty.Mutant())
    for operation in OPERATIONS:
        for case in (Case(scale=(2, 2)), Case(n=0, scale=(2, 2), layout="channels_last")):
            if operation.name.startswith("conv2d"):
                case = Case(case.n, layout=case.layout)
            call = operation.call(case, torch.float32, normal)
            assert len(call.outputs(checked)) == len(operation.output_names)
    for check in backend_checks(checked):
        if check.name.endswith(("/needs", "/pure", "/errors", "/empty")):
            check()
