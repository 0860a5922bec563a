"""A plugin's operation with a kernel: chosen, explained, verified and checked as ours are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commandline import Cli
from torch import Tensor

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.backends.explain import Explanation
from scratchnet.errors import BackendError, DataError, PluginError
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.ops.op import Case, Gradients, Needs, Op, Shape, Verdict
from scratchnet.testing import check_layer, op_checks
from scratchnet.testing.checks import run_checks
from scratchnet.testing.tensors import normal
from scratchnet.verify import VerificationError
from scratchnet.verify.replay import replay

NOT_COMPILED = "the C++ extension of power was left out (no C++ compiler): cure that and reinstall"


def forward(
    x: Tensor, a: Tensor, b: Tensor | None = None, *, power: tuple[int]
) -> tuple[Tensor, None]:
    """y = a·xᵏ + b, b being optional."""
    y = a * x ** power[0]
    return y if b is None else y + b, None


def backward(
    grad_y: Tensor, kept: None, x: Tensor, a: Tensor, b: Tensor | None, *, power: tuple[int],
    needs: Needs,
) -> Gradients:  # fmt: skip
    k = power[0]
    return (
        grad_y * a * k * x ** (k - 1) if needs[0] else None,
        (grad_y * x**k).sum().view(1) if needs[1] else None,
        grad_y.sum().view(1) if needs[2] else None,
    )


def check(x: Tensor, a: Tensor, b: Tensor | None, *, power: tuple[int]) -> Shape:
    return tuple(x.shape)


def cases() -> list[Case]:
    return [
        Case(((3, 5), (1,), (1,)), {"power": (3,)}, few=True),
        Case(((300, 70), (1,), None), {"power": (2,)}),
    ]


class Fast:
    """The same by other sums, and with a fault if it is told to have one."""

    def __init__(self) -> None:
        self.op = Op("power", forward=forward, backward=backward, check=check, cases=cases)
        self.fault, self.machine = "", True
        self.op.implement(
            "cpp",
            forward=self.forward,
            backward=self.backward,
            supports=lambda *tensors, power: (
                True if power[0] < 4 else f"computes powers below 4, not {power[0]}"
            ),
            available=self.available,
        )

    def available(self) -> Verdict:
        return self.machine

    def forward(self, x: Tensor, *rest: Tensor | None, **options: tuple[int]) -> tuple:
        y = forward(x.double(), *rest, **options)[0].to(x.dtype)
        if self.fault == "forward":
            y.view(-1)[3] *= 1.01
        return y, None

    def backward(self, grad_y: Tensor, kept: None, x: Tensor, *rest, **options) -> tuple:
        grads = backward(grad_y.double(), kept, x.double(), *rest, **options)
        of_x, of_a, of_b = (None if grad is None else grad.to(x.dtype) for grad in grads)
        if self.fault == "backward":
            of_a = of_a * 1.01
        return of_x, of_a, torch.ones(1) if self.fault == "unasked" else of_b


class Power(scratchnet.Module):
    """A layer that computes it."""

    def __init__(self) -> None:
        self.add_parameter("a", torch.tensor([0.7]))

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0], dtype=self.a.dtype)
        y, back = dispatch.run(scratchnet.ops.get("power"), x, self.a, power=(3,))
        self.save(back)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (back,) = self.saved
        grad_x, grad_a, _ = back(check_grad(self, grad_outputs[0], *back.output))
        self.grad_a += grad_a
        return grad_x


X, A, B = normal((4, 5), torch.float32, 0), torch.tensor([0.7]), torch.tensor([0.1])


@pytest.fixture
def fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fast]:
    """The operation, known by its name as an installed one is."""
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    made = Fast()
    scratchnet.ops.register("power", made.op)
    scratchnet.layers.register("Power", Power)
    yield made
    scratchnet.ops.unregister("power")
    scratchnet.layers.unregister("Power")


def run(fast: Fast, b: Tensor | None = B, power: int = 3, **options: object) -> tuple:
    """Run both ways, as a layer does, and return what was recorded with the results."""
    with dispatch.trace() as calls:
        y, back = dispatch.run(fast.op, X, A, b, power=(power,), **options)
    return (*calls, y, *back(torch.ones_like(y)))


def test_the_kernel_runs_unless_a_backend_is_named(fast: Fast) -> None:
    assert run(fast)[0] == ("power", "cpp")
    assert run(fast, backend="reference")[0] == ("power", "reference")
    with scratchnet.use_backend("reference"):
        assert run(fast)[0] == ("power", "reference")
        assert run(fast, backend="auto")[0] == ("power", "cpp")
    assert run(fast, power=4)[0] == ("power", "reference")


def test_explain(fast: Fast) -> None:
    def explained(power: int = 3, **options: object) -> Explanation:
        return scratchnet.explain("power", X, A, B, power=(power,), **options)

    assert explained().backend == "cpp"
    assert str(explained()).startswith("power: cpp (chosen by default)\n  cpp        runs\n")
    assert explained(4).backend == "reference"
    assert explained(4).reasons["cpp"] == "computes powers below 4, not 4"
    fast.machine = NOT_COMPILED
    for choice in (None, "auto"):
        said = explained(backend=choice)
        assert (said.backend, said.missing) == ("reference", {"cpp": NOT_COMPILED})
        assert said.reasons["cpp"] == NOT_COMPILED
    assert explained(backend="reference").missing == {}


def test_it_is_checked_as_ours_are_and_so_is_its_layer(fast: Fast, cli: Cli) -> None:
    twin = lambda x, a: a * x**3  # noqa: E731
    check_layer(Power, [X], twin=twin)
    result = cli("check", "power", "Power", "-q")
    assert result.code == 0, result.out
    heads = [line.partition(":")[0] for line in result.out.splitlines()]
    assert heads == ["power on cpp", "power on reference", "Power"]
    one = cli("check", "power", "--backend", "reference", "--only", "*/needs")
    assert one.out.splitlines()[0] == "power on reference: 1 of 1 checks passed"


def test_a_kernel_that_was_not_compiled_fails_the_check_unless_the_fallback_is_asked_for(
    fast: Fast, cli: Cli
) -> None:
    fast.machine = NOT_COMPILED
    (only,) = run_checks(op_checks(fast.op, "cpp"), on_fail=None)
    assert (only.name, only.ok) == ("power/available", False)
    assert NOT_COMPILED in only.message
    for name, said in (("power", "FAILED power/available"), ("Power", "FAILED kernels")):
        result = cli("check", name, "-q")
        assert result.code == 1
        assert said in result.out
        assert NOT_COMPILED in result.out
        assert cli("check", name, "-q", "--backend", "reference").code == 0
    with pytest.raises(BackendError, match=r"cannot run power: the C\+\+ extension of power"):
        run(fast, backend="cpp")


@pytest.mark.parametrize("b", [B, None], ids=["bias", "none"])
def test_a_right_kernel_is_verified(
    b: Tensor | None, fast: Fast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(fast, b)
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    for actual, expected in zip(run(fast, b)[1:], plain[1:], strict=True):
        assert (actual is expected is None) or torch.equal(actual, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "b", "message"),
    [
        ("forward", B, r"output of power on .* 1 of 20 elements, the worst at \[0, 3\]"),
        ("backward", B, r"grad_a of power on .* 1 of 1 elements"),
        ("unasked", None, r"grad_b of power on .* expected None, got a tensor"),
    ],
)
def test_a_wrong_kernel_is_caught_and_can_be_replayed(
    fault: str,
    b: Tensor | None,
    message: str,
    fast: Fast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    fast.fault = fault
    with pytest.raises(VerificationError, match=message) as error:
        run(fast, b)
    (path,) = tmp_path.iterdir()
    assert str(error.value).endswith(f"to reproduce: scratchnet check --replay {path}")
    with pytest.raises(VerificationError, match=message):
        replay(path)
    fast.fault = ""
    assert "power on 'cpp' (" in replay(path)
    scratchnet.ops.unregister("power")
    with pytest.raises(PluginError, match="there is no op 'power'"):
        replay(path)
    scratchnet.ops.register("power", fast.op)
    with pytest.raises(DataError):
        replay(tmp_path)
