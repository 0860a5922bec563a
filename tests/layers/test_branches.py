"""Networks with branches: written down once, run, and gone back through."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, OrderError
from scratchnet.layers.functions import FUNCTIONS
from scratchnet.layers.graph import Graph
from scratchnet.layers.value import Value
from scratchnet.testing import Check, layer_checks, parametrize_with_checks
from scratchnet.testing.tensors import generator, normal

X = normal((2, 4, 6, 5), torch.float64, 1)


class Block(Graph):
    """Every kind of step: modules in a row, a module used twice, a parameter, sums, parts."""

    def __init__(self, channels: int = 4) -> None:
        self.channels = channels
        # A fixed draw: now and then a ReLU is so near its kink that a difference steps over it.
        draw = generator(0)
        self.conv1 = scratchnet.Conv2d(channels, channels, 3, padding=1, generator=draw)
        self.conv2 = scratchnet.Conv2d(channels, channels, 3, padding=1, generator=draw)
        self.relu = scratchnet.ReLU()
        self.add_parameter("scale", torch.linspace(-1, 1, channels).view(-1, 1, 1))

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels}

    def connect(self, x: Value) -> Value:
        y = self.relu(self.conv1(x))
        z = torch.cat([self.conv2(y) + x, self.scale * self.conv1(y)], 1)
        left, right = z.chunk(2, 1)[0], z.chunk(2, 1)[1]
        return self.relu(z[:, ::2] * left - right / 2)


def block(x: Tensor, scale: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    y = functional.relu(functional.conv2d(x, w1, b1, padding=1))
    z = torch.cat(
        [
            functional.conv2d(y, w2, b2, padding=1) + x,
            scale * functional.conv2d(y, w1, b1, padding=1),
        ],
        1,
    )
    left, right = z.chunk(2, 1)
    return functional.relu(z[:, ::2] * left - right / 2)


class TwoInTwoOut(Graph):
    def __init__(self) -> None:
        self.relu = scratchnet.ReLU()

    def connect(self, a: Value, b: Value) -> tuple[Value, Value]:
        return self.relu(a) @ b.transpose(-2, -1), a - 2


def two(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return functional.relu(a) @ b.transpose(-2, -1), a - 2


@parametrize_with_checks(
    layer_checks(Block, [X], twin=block) + layer_checks(TwoInTwoOut, [(X, X.flip(0))], twin=two)
)
def test_conformance(check: Check) -> None:
    check()


A, B = normal((2, 3, 4), torch.float64, 2), normal((3, 1), torch.float64, 3)
M = normal((5, 1, 4, 2), torch.float64, 4)
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "add": [(A, B), (A, 2.0), (1.5, A)],
    "sub": [(A, B), (B, A), (A, 2.0), (1.5, A)],
    "mul": [(A, B), (A, A), (A, 2.0), (1.5, A)],
    "div": [(A, B), (A, 2.0), (1.5, A)],
    "pow": [(A, 2), (A, 3), (A, 0)],
    "neg": [(A,)],
    "matmul": [(A, M), (A[0], M)],
    "sum": [(A,), (A, 1), (A, (0, -1), True)],
    "mean": [(A,), (A, 1), (A, (0, -1)), (A, -1, True)],
    "cat": [([A, A[:, :1]], 1), ([B, B],)],
    "stack": [([A, A],), ([A, A], -1)],
    "split": [(A, 2, 1), (A, [1, 3], -1)],
    "chunk": [(A, 2, 1)],
    "getitem": [(A, 0), (A, (slice(None), 1)), (A, (..., slice(1, None, 2)))],
    "reshape": [(A, 6, -1), (A, (2, 12))],
    "flatten": [(A,), (A, 1)],
    "unsqueeze": [(A, 1)],
    "squeeze": [(B, 1), (B,)],
    "permute": [(A, 2, 0, 1), (A, (-1, 0, 1))],
    "transpose": [(A, 0, -1)],
    "expand": [(B, 2, 3, 5), (B, (3, 4)), (B, -1, 2)],
    "contiguous": [(A,)],
    "pad": [(A, [1, 2]), (A, [0, -1, 2, 1])],
    "masked_fill": [(A, A > 0, -1.0), (B, A > 0, 0.0)],
}  # fmt: skip


def test_every_function_with_a_gradient_is_tried() -> None:
    assert CALLS.keys() == {n for n, function in FUNCTIONS.items() if function.backward}


@pytest.mark.parametrize("name", CALLS)
def test_each_function_against_autograd(name: str) -> None:
    function = FUNCTIONS[name]
    for arguments in CALLS[name]:
        leaves = _each(lambda t: t.clone().requires_grad_(t.is_floating_point()), arguments)
        expected: Any = function.torch(*leaves)
        y, kept = function.forward(*arguments)
        several = y if isinstance(y, tuple) else (y,)
        torch.testing.assert_close(list(several), [*_tensors(expected)])
        grads = [normal(t.shape, t.dtype, 7 + i) for i, t in enumerate(several)]
        assert function.backward is not None
        given = function.backward(tuple(grads) if isinstance(y, tuple) else grads[0], *kept)
        wanted = [leaf for leaf in _tensors(leaves) if leaf.requires_grad]
        torch.testing.assert_close(
            [*_tensors(given)],
            [*torch.autograd.grad([*_tensors(expected)], wanted, grads, allow_unused=True)],
        )


def _each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_each(change, v) for v in value)
    return change(value) if isinstance(value, Tensor) else value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, tuple | list):
        return [tensor for v in value for tensor in _tensors(v)]
    return [value] if isinstance(value, Tensor) else []


def step(model: scratchnet.Module, x: Tensor) -> list[Tensor]:
    y = model.forward(x)
    model.zero_grad()
    return [y, model.backward(normal(y.shape, y.dtype, 3)), *(g.clone() for _, g in model.param())]


def test_copies_and_pickles_compute_the_same_and_share_nothing() -> None:
    model = Block().to(dtype=torch.float64)
    expected = step(model, X)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(step(other, X), expected, rtol=0, atol=0)
        other.conv1.weight.zero_()
    torch.testing.assert_close(step(model, X), expected, rtol=0, atol=0)


def test_modules_in_a_row_run_as_one() -> None:
    class Row(Graph):
        def __init__(self) -> None:
            self.conv1 = scratchnet.Conv2d(4, 4, 3)
            self.conv2 = scratchnet.Conv2d(4, 4, 3)
            self.relu = scratchnet.ReLU()

        def connect(self, x: Value) -> Value:
            y = self.conv2(self.relu(self.conv1(x)))
            return y * y

    model = Row()
    with scratchnet.use_backend("cpp"), dispatch.trace() as calls:
        model(X.float())
        assert calls == [("graph", "cpp")]
        model.relu = scratchnet.Sigmoid()  # what is replaced is noticed
        x = X.float()
        torch.testing.assert_close(
            model(x), model.conv2(model.relu(model.conv1(x))).square(), rtol=1e-4, atol=1e-5
        )


def test_values_are_dropped_when_nobody_reads_them_any_more() -> None:
    alive: list[int] = []

    class Watching(scratchnet.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            import gc

            alive.append(sum(type(o) is Tensor and o.numel() == 99 for o in gc.get_objects()))
            return inputs[0] + 1

    class Long(Graph):
        def __init__(self) -> None:
            self.step = Watching()

        def connect(self, x: Value) -> Value:
            for _ in range(5):
                x = self.step(x) + 1
            return x

    Long().eval()(torch.zeros(99))
    assert max(alive) <= min(alive) + 1


def test_backward_parameters_leaves_out_the_gradient_of_the_input() -> None:
    model = Block().to(dtype=torch.float64)
    expected = step(model, X)[2:]
    y = model.forward(X)
    model.zero_grad()
    with dispatch.trace():
        assert model.backward_parameters(normal(y.shape, y.dtype, 3)) is None
    torch.testing.assert_close([g for _, g in model.param()], expected)


def test_what_nobody_reads_gets_no_gradient_and_breaks_nothing() -> None:
    class Unread(Graph):
        def __init__(self) -> None:
            self.conv = scratchnet.Conv2d(4, 4, 1)

        def connect(self, x: Value, ignored: Value) -> Value:
            self.conv(x)
            return self.conv(x).flatten(1).sum(1) / x.size(0)

    model = Unread()
    x = X.float()
    model.forward(x, x)
    grad_x, of_ignored = model.backward(torch.ones(2))
    assert not of_ignored.any()
    torch.testing.assert_close(grad_x[0, :, 0, 0], model.conv.weight.sum((0, 2, 3)) / 2)


def test_an_input_that_is_changed_in_between_is_an_error() -> None:
    class Square(Graph):
        def connect(self, x: Value) -> Value:
            return x * x

    model, x = Square(), torch.ones(3)
    model(x)
    x.add_(1)
    with pytest.raises(OrderError, match="changed in place"):
        model.backward(torch.ones(3))


class Wrong(Graph):
    def __init__(self, connect: Callable[[Graph, Value], Any]) -> None:
        self.relu = scratchnet.ReLU()
        self._connect = connect

    def connect(self, x: Value) -> Any:
        return self._connect(self, x)


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (lambda g, x: scratchnet.ReLU()(x), "a ReLU that is none of its modules"),
        (lambda g, x: x * torch.ones(3), "a tensor that is none of its parameters or buffers"),
        (lambda g, x: torch.relu(x), "no function 'relu'.*is a module"),
        (lambda g, x: x if x else g.relu(x), "a condition cannot depend on a value"),
        (lambda g, x: sum(x), "how many values there are"),
        (lambda g, x: x**x, "a number for its exponent"),
        (lambda g, x: 3, "returns"),
    ],
)
def test_what_connect_cannot_say(connect: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Wrong(connect)(torch.ones(2, 3))


def test_the_number_of_inputs() -> None:
    with pytest.raises(ArgumentError, match="Block: 2 inputs: too many"):
        Block()(X, X)
    with pytest.raises(NotImplementedError, match=r"does not define connect\(\)"):
        Graph()(X)
    with pytest.raises(AttributeError, match="a Value has no 'softmax': known are add"):
        Wrong(lambda g, x: x.softmax(1))(X)
