"""A plugin's kernel for an operation that no backend has: chosen, explained, traced, verified."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scratchnet.backends.kernel import Kernel, Operation
from scratchnet.backends.replay import replay
from scratchnet.backends.verify import VerificationError
from torch import Tensor

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.backends.base import Verdict
from scratchnet.errors import BackendError, DataError, PluginError
from scratchnet.testing.tensors import normal


class Plain(Operation):
    """y = a·xᵏ + b, b being optional."""

    def forward(self, x: Tensor, a: Tensor, b: Tensor | None, *, power: tuple[int]) -> Tensor:
        y = a * x ** power[0]
        return y if b is None else y + b

    def backward(
        self, grad_y: Tensor, x: Tensor, a: Tensor, b: Tensor | None, *, power: tuple[int]
    ) -> tuple[Tensor | None, ...]:
        k = power[0]
        of_b = None if b is None else grad_y.sum().view(1)
        return grad_y * a * k * x ** (k - 1), (grad_y * x**k).sum().view(1), of_b


class Fast(Kernel):
    """The same by other sums, and with a fault if it is told to have one."""

    name = "power"
    reference = Plain()
    fault = ""

    def supports(self, x: Tensor, *args: object, **options: object) -> Verdict:
        return True if x.dtype == torch.float32 else f"computes in float32, not in {x.dtype}"

    def forward(self, x: Tensor, a: Tensor, b: Tensor | None, *, power: tuple[int]) -> Tensor:
        y = Plain().forward(x.double(), a, b, power=power).float()
        if self.fault == "forward":
            y.view(-1)[3] *= 1.01
        return y

    def backward(
        self, grad_y: Tensor, x: Tensor, a: Tensor, b: Tensor | None, **options: tuple[int]
    ) -> tuple[Tensor | None, ...]:
        grads = Plain().backward(grad_y.double(), x.double(), a, b, **options)
        of_x, of_a, of_b = (None if grad is None else grad.float() for grad in grads)
        if self.fault == "backward":
            of_a = of_a * 1.01
        return of_x, of_a, torch.ones(1) if self.fault == "unasked" else of_b


X, A, B = normal((4, 5), torch.float32, 0), torch.tensor([0.7]), torch.tensor([0.1])


def run(b: Tensor | None = B, x: Tensor = X, **options: object) -> tuple[object, ...]:
    """Run both ways, as a layer does, and return what was recorded with the results."""
    with dispatch.trace() as calls:
        chosen = Fast().resolve(x, A, b, power=(3,), **options)
    y = chosen.forward(x, A, b, power=(3,))
    return (*calls, y, *chosen.backward(torch.ones_like(y), x, A, b, power=(3,)))


@pytest.fixture(autouse=True)
def _auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_kernel_runs_unless_a_backend_is_named() -> None:
    assert run()[0] == ("power", "kernel")
    assert run(backend="reference")[0] == ("power", "reference")
    with scratchnet.use_backend("reference"):
        assert run()[0] == ("power", "reference")
        assert run(backend="auto")[0] == ("power", "kernel")
    assert run(x=X.double())[0] == ("power", "reference")


def test_explain() -> None:
    def explained(x: Tensor = X, **options: object) -> dispatch.Explanation:
        return scratchnet.explain(Fast(), x, A, B, power=(3,), **options)

    assert explained().backend == "kernel"
    assert str(explained()).startswith("power: kernel (chosen by default)\n  kernel     runs\n")
    assert explained(X.double()).backend == "reference"
    assert explained(X.double()).reasons["kernel"] == "computes in float32, not in torch.float64"
    named = explained(backend="reference")
    assert named.reasons["kernel"] == "not asked: backend= of the call or layer chose 'reference'"


@pytest.mark.parametrize("b", [B, None], ids=["bias", "none"])
def test_a_right_kernel_is_verified(
    b: Tensor | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(b)
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    for actual, expected in zip(run(b)[1:], plain[1:], strict=True):
        assert (actual is expected is None) or torch.equal(actual, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "b", "message"),
    [
        ("forward", B, r"output of forward on .* 1 of 20 elements, the worst at \[0, 3\]"),
        ("backward", B, r"grad_a of backward on .* 1 of 1 elements"),
        ("unasked", None, r"grad_b of backward on .* expected None, got a tensor"),
    ],
)
def test_a_wrong_kernel_is_caught_and_can_be_replayed(
    fault: str, b: Tensor | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    with monkeypatch.context() as patch:
        patch.setattr(Fast, "fault", fault)
        with pytest.raises(VerificationError, match=message) as error:
            run(b)
        (path,) = tmp_path.iterdir()
        assert str(error.value).endswith(f"to reproduce: scratchnet check --replay {path}")
        with pytest.raises(VerificationError, match=message):
            replay(path)
    assert "on 'power' (" in replay(path)
    with pytest.raises(BackendError, match=r"test_plugin_kernel:Fast, which no backend can run"):
        replay(path, "reference")
    monkeypatch.delattr(f"{__name__}.Fast")
    with pytest.raises(PluginError, match=r"Fast cannot be imported: AttributeError.*install the"):
        replay(path)
    monkeypatch.setattr(f"{__name__}.Fast", dict, raising=False)
    with pytest.raises(PluginError, match=r"is no Kernel \(any more\)"):
        replay(path)
    with pytest.raises(DataError):
        replay(tmp_path)
