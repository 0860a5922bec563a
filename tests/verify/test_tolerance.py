"""The one tolerance, proven: it lets other orders of summation pass and catches what is wrong.

LayerNorm, softmax and log-softmax are written here by hand, with sums in whatever order; torch's
own is the reference's. All are correct, and all their results are near to each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.ops.conv import conv2d
from scratchnet.ops.kinked import relu
from scratchnet.ops.op import Case, Op
from scratchnet.ops.smooth import sigmoid
from scratchnet.testing import backend_checks
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.tensors import normal
from scratchnet.verify import VerificationError
from scratchnet.verify.mismatch import difference
from scratchnet.verify.tolerance import Bound, backward_bounds, forward_bounds

Sum = Callable[[Tensor], Tensor]
WIDTH = 512

# -- orders of summation, (N, D) -> (N, 1) ---------------------------------------------------------


def as_torch(x: Tensor) -> Tensor:
    return x.sum(1, keepdim=True)


def one_by_one(x: Tensor) -> Tensor:
    """The least accurate order: every partial sum is rounded."""
    total = torch.zeros_like(x[:, :1])
    for column in x.unbind(1):
        total = total + column[:, None]
    return total


def reversed_(x: Tensor) -> Tensor:
    return one_by_one(x.flip(1))


def chunked(x: Tensor) -> Tensor:
    return one_by_one(torch.cat([chunk.sum(1, keepdim=True) for chunk in x.split(37, 1)], 1))


def pairwise(x: Tensor) -> Tensor:
    while x.shape[1] > 1:
        if x.shape[1] % 2:
            x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        x = x[:, 0::2] + x[:, 1::2]
    return x


ORDERS = [one_by_one, reversed_, chunked, pairwise]

# -- the operations, by any of them ----------------------------------------------------------------


def norm_forward(total: Sum, x: Tensor) -> Any:
    """y = (x − mean) / √(variance + ε), row by row."""
    mean = total(x) / x.shape[1]
    scale = (total((x - mean).square()) / x.shape[1] + 1e-5).rsqrt()
    y = (x - mean) * scale
    return y, (y.clone(), scale)


def norm_backward(total: Sum, grad_y: Tensor, kept: Any, x: Tensor, *, needs: Any) -> Any:
    """∂L/∂x = (g − mean(g) − y · mean(g · y)) / √(variance + ε), with g = ∂L/∂y."""
    (y, scale), d = kept, x.shape[1]
    return (scale * (grad_y - total(grad_y) / d - y * (total(grad_y * y) / d)),)


def softmax_forward(total: Sum, x: Tensor) -> Any:
    powers = (x - x.amax(1, keepdim=True)).exp()
    y = powers / total(powers)
    return y, y


def softmax_backward(total: Sum, grad_y: Tensor, y: Tensor, x: Tensor, *, needs: Any) -> Any:
    return (y * (grad_y - total(grad_y * y)),)


def log_softmax_forward(total: Sum, x: Tensor) -> Any:
    moved = x - x.amax(1, keepdim=True)
    y = moved - total(moved.exp()).log()
    return y, y


def log_softmax_backward(total: Sum, grad_y: Tensor, y: Tensor, x: Tensor, *, needs: Any) -> Any:
    return (grad_y - y.exp() * total(grad_y),)


FUNCTIONS = {
    "layer_norm": (norm_forward, norm_backward),
    "softmax": (softmax_forward, softmax_backward),
    "log_softmax": (log_softmax_forward, log_softmax_backward),
}


def make(name: str) -> Op:
    def forward(x: Tensor) -> Any:
        return FUNCTIONS[name][0](as_torch, x)

    def cases() -> list[Case]:
        return [Case(((1, 2),), few=True), Case(((64, WIDTH),), few=True), Case(((3, 33),))]

    return Op(
        f"plain_{name}",  # the project has one of its own
        forward=forward,
        backward=partial(FUNCTIONS[name][1], as_torch),
        check=lambda x: tuple(x.shape),
        cases=cases,
        reads=(),
    )


def by(op: Op, total: Sum, change: Callable[[str, Tensor], None] | None = None) -> Backend:
    """Return a backend that sums in this order, and then makes a change to its results."""
    forward, backward = FUNCTIONS[op.name.removeprefix("plain_")]

    def changed_forward(x: Tensor) -> Any:
        y, kept = forward(total, x)
        y = y.clone()
        if change:
            change("output", y)
        return y, kept

    def changed_backward(*args: Any, **options: Any) -> Any:
        (grad,) = backward(total, *args, **options)
        if change:
            change("grad_x", grad)
        return (grad,)

    backend = Backend("mine")
    backend.implement(op, forward=changed_forward, backward=changed_backward)
    return backend


@contextmanager
def registered(op: Op) -> Iterator[Op]:
    ops.register(op.name, op)
    try:
        yield op
    finally:
        ops.unregister(op.name)


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SCRATCHNET_VERIFY", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attempt(op: Op, backend: Backend, x: Tensor, seed: int = 1) -> None:
    y, back = dispatch.run(op, x, backend=backend)
    back(normal(y.shape, y.dtype, seed + 500))


INPUTS = [("layer_norm", mean) for mean in (0, 3, 30, 1000)] + [("softmax", 0), ("softmax", 100)]
INPUTS += [("log_softmax", 0), ("log_softmax", 100)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "mean"), INPUTS)
def test_other_orders_of_summation_pass_the_cross_check(
    name: str, mean: float, dtype: torch.dtype, verifying: Path
) -> None:
    op = make(name)
    for total in ORDERS:
        backend = by(op, total)
        for seed in range(4 if total in (one_by_one, reversed_) else 10):
            attempt(op, backend, normal((64, WIDTH), dtype, seed) + mean, seed)
    assert list(verifying.iterdir()) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_orders_of_summation_pass_the_kit(name: str) -> None:
    with registered(make(name)) as op:
        for total in ORDERS:
            checks = {check.name: check for check in backend_checks(by(op, total))}
            for aspect in ("close", "differences", "supports", "layouts"):
                checks[f"{op.name}/{aspect}"]()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("what", ["output", "grad_x"])
@pytest.mark.parametrize(("name", "mean"), [("layer_norm", 3), ("softmax", 0), ("log_softmax", 0)])
def test_one_wrong_element_is_caught(
    name: str, mean: float, what: str, dtype: torch.dtype, verifying: Path
) -> None:
    """By 1e-3 of itself, in whatever element of an ordinary size; and the digits show it."""
    op = make(name)
    for seed in range(10):

        def change(of: str, tensor: Tensor, seed: int = seed) -> None:
            if of == what:
                ordinary = tensor.abs().flatten() >= tensor.abs().mean()
                at = int(ordinary.nonzero()[7 * seed])
                tensor.view(-1)[at] *= 1.001

        with pytest.raises(VerificationError) as error:
            attempt(op, by(op, pairwise, change), normal((64, WIDTH), dtype, seed) + mean, seed)
        assert f"{what} of plain_{name} on backend 'mine' differs" in str(error.value)
        assert "1 of 32768 elements" in str(error.value)
        assert_digits_differ(str(error.value))


def assert_digits_differ(message: str) -> None:
    found = re.search(r"expected (\S+), got (\S+?), ", message)
    assert found, message
    assert found[1] != found[2], message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_wrong_element_is_caught_by_the_kit(name: str) -> None:
    def change(of: str, tensor: Tensor) -> None:
        if of == "output" and tensor.numel() > 1:
            tensor.view(-1)[int(tensor.abs().flatten().argmax())] *= 1.001

    with registered(make(name)) as op:
        checks = {check.name: check for check in backend_checks(by(op, pairwise, change))}
        with pytest.raises(ConformanceError, match=f"output of plain_{name}.*elements") as error:
            checks[f"{op.name}/close"]()
    assert_digits_differ(str(error.value))


# -- the edge of what is allowed -------------------------------------------------------------------

CALLS: dict[str, Any] = {
    "conv2d": (conv2d, [(2, 3, 7, 5), (4, 3, 3, 3), (4,)]),
    "relu": (relu, [(3, 5)]),
    "sigmoid": (sigmoid, [(3, 5)]),
    "layer_norm": (make("layer_norm"), [(4, 33)]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.9, 1.5])
@pytest.mark.parametrize("name", CALLS)
def test_an_error_just_above_the_tolerance(
    name: str, share: float, dtype: torch.dtype, verifying: Path
) -> None:
    """One element, of the output and of each gradient, just inside and just outside."""
    op, shapes = CALLS[name]
    tensors = tuple(normal(shape, dtype, i) for i, shape in enumerate(shapes))
    _, options = op.bind(tensors, {})
    needs = tuple(True for _ in tensors)
    grad_y = normal(op.check(*tensors, **options), dtype, 9)
    (of_y,) = forward_bounds(op, tensors, options)
    of_grads = backward_bounds(op, [grad_y], tensors, options, needs)

    def moved(bound: Bound | None) -> Tensor:
        assert bound is not None
        at = int(bound.allowed.flatten().argmax())
        value = bound.value.clone()
        value.view(-1)[at] += share * bound.allowed.flatten()[at]
        return value.to(dtype)

    _, kept = op.reference.forward(*tensors, **options)
    for position in range(1 + len(tensors)):

        def forward(*args: Any, position: int = position, **given: Any) -> Any:
            y = moved(of_y) if position == 0 else op.reference.forward(*args, **given)[0]
            return y, kept

        def backward(*args: Any, position: int = position, **given: Any) -> Any:
            grads = list(op.reference.backward(*args, **given))
            if position:
                grads[position - 1] = moved(of_grads[position - 1])
            return tuple(grads)

        backend = Backend("edge")
        backend.implement(op, forward=forward, backward=backward)
        what = ["output", *(f"grad_{tensor}" for tensor in op.tensors)][position]

        def run(backend: Backend = backend) -> None:
            _, back = dispatch.run(op, *tensors, backend=backend, **options)
            back(grad_y)

        if share < 1:
            run()
            continue
        with pytest.raises(VerificationError, match=f"{what} of {op.name} .* 1 of ") as error:
            run()
        assert_digits_differ(str(error.value))


# -- numbers at the edge ---------------------------------------------------------------------------


def bound(value: list[float], allowed: list[float], dtype: torch.dtype = torch.float32) -> Bound:
    wide = (torch.tensor(numbers, dtype=torch.float64) for numbers in (value, allowed))
    return Bound(*wide, dtype)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("actual", "expected", "allowed", "said"),
    [
        ([1.0, 2.0], [1.0, 2.0], [0.0, 0.0], ""),
        ([1.0, 2.0], [1.0, 2.5], [0.1, 0.5], ""),
        (
            [1.0, 2.0],
            [1.0, 2.5],
            [0.1, 0.4],
            r"1 of 2 elements, the worst at \[1\]: expected 2.5, ",
        ),
        ([1.0, NAN], [1.0, 2.0], [0.1, 0.1], r"the worst at \[1\].*got nan"),
        ([1.0, INF], [1.0, 2.0], [0.1, 0.1], r"the worst at \[1\].*got inf"),
        ([NAN, INF], [NAN, INF], [0.1, 0.1], ""),
        ([-INF, 1.0], [INF, 1.0], [0.1, 0.1], "got -inf"),
        ([INF, 1.0], [1e39, 1.0], [INF, 0.1], ""),  # beyond float32
        ([5.0, 1.0], [NAN, 1.0], [NAN, 0.1], ""),
        ([5.0, 7.0], [0.0, 0.0], [1.0, 1e-9], r"2 of 2 elements, the worst at \[1\]"),
    ],
)
def test_difference(
    actual: list[float], expected: list[float], allowed: list[float], said: str
) -> None:
    found = difference(torch.tensor(actual), bound(expected, allowed))
    assert bool(found) == bool(said)
    assert re.search(said, found), found


def test_difference_of_shape_and_dtype() -> None:
    right = bound([1.0, 2.0], [1.0, 1.0])
    assert "expected the shape (2,), got torch.Size([1, 2])" in difference(torch.ones(1, 2), right)
    assert difference(torch.ones(2).double(), right) == (
        "expected torch.float32, got torch.float64"
    )
    assert "got None" in difference(None, right)


def test_numbers_beyond_the_dtypes_range_are_not_compared() -> None:
    x, weight = torch.full((1, 1, 1, 1), 1e30), torch.full((1, 1, 1, 1), 1e30)
    _, options = conv2d.bind((x, weight), {})
    (found,) = forward_bounds(conv2d, (x, weight, None), options)
    assert found.allowed.isinf().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_numbers_have_no_room_where_an_operation_is_one_of_choices(
    dtype: torch.dtype,
) -> None:
    """ReLU adds nothing: what is allowed is a few units in the last place of each element."""
    x = normal((100,), dtype, 0)
    (found,) = forward_bounds(relu, (x,), {})
    assert (found.allowed <= 9 * torch.finfo(dtype).eps * found.value.abs() + 1e-37).all()
    assert found.allowed[x < -0.1].max() < 1e-37
