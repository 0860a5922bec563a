"""The kit finds every fault planted in a backend, a graph or an operation, by the right check, with
a message that leads to it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from mutants import backends as faulty
from mutants import graphs as faulty_graphs
from torch import Tensor

from scratchnet import ops
from scratchnet.backends.base import Backend
from scratchnet.ops.conv import conv2d
from scratchnet.ops.op import Case, Op
from scratchnet.testing import Check, backend_checks

BACKENDS = {
    faulty.HeightForWidth: ("conv2d/exact", "output of conv2d.*expected the shape|differ"),
    faulty.OneSidedPadding: ("conv2d/exact", r"output of conv2d.*padding=\(1, 1\).* differ"),
    faulty.SingleInside: ("conv2d/close", "computed in float32"),
    faulty.SingleOutput: (
        "upsample_nearest/exact",
        "output of .*expected torch.float64, got torch.float32",
    ),
    faulty.AveragedUpsampling: (
        "upsample_nearest/exact",
        "grad_x of .*(all are 0.25 times|all are 0.5 times)",
    ),
    faulty.NoDilationInWeightGradient: (
        "conv2d/exact",
        r"grad_weight of .*dilation=\((1, 2|2, 1|2, 2)\)",
    ),
    faulty.GroupsMixed: (
        "conv2d/exact",
        "groups=[2-9].*the values are right but in the wrong places",
    ),
    faulty.OverlapsForgotten: ("conv2d/adjoint", "grad_x of conv2d"),
    faulty.JustAboveTheTolerance: (
        "conv2d/close",
        r"output of conv2d.*: 1 of \d+ elements, the worst at .* is allowed",
    ),
    faulty.NeedsIgnored: ("conv2d/needs", "expected None, got a tensor"),
    faulty.ReadsWhatItShouldNot: (
        "upsample_nearest/reads",
        r"grad_x of .*its backward reads the values of x, of which it gets the shape alone",
    ),
    faulty.ClaimsTooMuch: ("conv2d/supports", "NotImplementedError: groups are not done yet"),
    faulty.ClaimsWithoutAReason: (
        "conv2d/supports",
        "expected to return True or one line saying why not, got False",
    ),
    faulty.InputHandedOut: ("upsample_nearest/pure", "output of .*shares memory with an input"),
    faulty.WeightTurnedInPlace: ("conv2d/pure", "its tensor argument 1 was written to"),
    faulty.Race: ("conv2d/threads", "grad_weight .* threads against 1"),
    faulty.SharedWorkspace: ("upsample_nearest/concurrent", "while other threads call, too"),
    faulty.Strides: ("conv2d/layouts", r"gradient \w+"),
    faulty.Unordered: ("conv2d/run_to_run", "second run against the first"),
    faulty.EmptyBatchFails: ("conv2d/empty", "ZeroDivisionError"),
    faulty.StaleCache: ("upsample_nearest/exact", "grad_x of .*differ"),
    faulty.NoAdjoint: ("upsample_conv2d/adjoint", "grad_x of upsample_conv2d"),
    faulty.GradModeOff: ("relu/global_state", "changes torch's grad mode from True to False"),
    faulty.ThreadsLeft: ("conv2d/global_state", "changes torch's number of threads from 3 to 1"),
    faulty.Draws: ("sigmoid/global_state", "seeds torch's global generator or draws from it"),
    faulty.WrongVersion: ("identity", "api_version is 1, expected 2"),
}


def check(backend: str | Backend, name: str) -> Check:
    return {str(c): c for c in backend_checks(backend)}[name]


def assert_fails(subject: Check, message: str) -> None:
    with pytest.raises(AssertionError) as failure:
        subject()
    assert re.search(message, str(failure.value)), str(failure.value)


@pytest.mark.parametrize("mutant", BACKENDS, ids=lambda kind: kind.__name__)
def test_backends(mutant: type) -> None:
    name, message = BACKENDS[mutant]
    assert_fails(check(mutant(), name), message)


@pytest.mark.parametrize("name", sorted({name for name, _ in BACKENDS.values()}))
def test_the_backend_the_mutants_are_made_of_is_right(name: str) -> None:
    check(faulty.Mutant(), name)()


GRAPHS = {
    faulty_graphs.Overwrites: ("graph/exact", "grad_x of graph.* differ"),
    faulty_graphs.ForgetsTheLastMask: ("graph/exact", "grad_.* differ"),
    faulty_graphs.AlwaysGivesGradX: ("graph/needs", "grad_x of .*expected None, got a tensor"),
    faulty_graphs.RectifiesItsInput: ("graph/pure", "its tensor argument 0 was written to"),
    faulty_graphs.CutsWithoutKeep: ("graph/close", "output of graph.*keep=False.* elements, the w"),
    faulty_graphs.SharedHidden: ("graph/concurrent", "while other threads call, too|Error"),
}


@pytest.mark.parametrize("mutant", GRAPHS, ids=lambda kind: kind.__name__)
def test_graphs(mutant: type) -> None:
    name, message = GRAPHS[mutant]
    assert_fails(check(mutant(), name), message)


def test_the_graph_the_mutants_are_made_of_is_right() -> None:
    right = {str(c): c for c in backend_checks(faulty_graphs.RightGraph())}
    assert {name.split("/")[0] for name in right} == {"identity", "graph"}
    for name in {name for name, _ in GRAPHS.values()}:
        right[name]()


# -- operations, of which the reference is the subject ---------------------------------------------


def permissive(*, cut: bool) -> Op:
    """A convolution that accepts too many channels, and leaves them out or fails."""

    def some(x: Tensor, weight: Tensor, groups: int) -> Tensor:
        return x[:, : weight.shape[1] * groups]

    def lax(x: Tensor, weight: Tensor, bias: Any, *, groups: int, **options: Any) -> Any:
        return conv2d.check(some(x, weight, groups), weight, bias, groups=groups, **options)

    def forward(x: Tensor, weight: Tensor, bias: Any = None, *, stride: Any, padding: Any,
                dilation: Any, groups: int) -> Any:  # fmt: skip
        x = some(x, weight, groups) if cut else x
        return conv2d.reference.forward(
            x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
        )

    def cases() -> list[Case]:
        usual = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        return [replace(c, options={**usual, **c.options}) for c in conv2d.cases()]

    backward = conv2d.reference.backward
    return Op("mutant", forward=forward, backward=backward, check=lax, cases=cases)


def scaled(**kwargs: Any) -> Op:
    """y = a·x, with something wrong in ``kwargs``."""

    def forward(x: Tensor, a: Tensor, *, twice: bool = False) -> Any:
        return (2 if twice else 1) * a * x, None

    def backward(
        grad_y: Tensor, kept: None, x: Tensor, a: Tensor, *, twice: bool, needs: Any
    ) -> Any:
        factor = 2 if twice else 1
        return (
            factor * grad_y * a if needs[0] else None,
            factor * (grad_y * x).sum().view(1) if needs[1] else None,
        )

    def shape(x: Tensor, a: Tensor, *, twice: bool) -> Any:
        return tuple(x.shape)

    def cases() -> list[Case]:
        return [
            Case(((3, 5), (1,)), few=True),
            Case(((7,), (1,)), {"twice": True}, few=True),
            Case(((0, 2), (1,))),
        ]

    usual: dict[str, Any] = {"forward": forward, "backward": backward, "check": shape}
    return Op("mutant", cases=cases, exact=True, **{**usual, **kwargs})


def all_gradients(grad_y: Tensor, kept: None, x: Tensor, a: Tensor, **options: Any) -> Any:
    factor = 2 if options["twice"] else 1
    return factor * grad_y * a, factor * (grad_y * x).sum().view(1)


def no_factor(grad_y: Tensor, kept: None, x: Tensor, a: Tensor, *, needs: Any, **rest: Any) -> Any:
    given = grad_y * a, (grad_y * x).sum().view(1)
    return tuple(g if need else None for g, need in zip(given, needs, strict=True))


OPS = {
    "check too lax": (
        lambda: permissive(cut=True),
        "mutant/errors",
        r"mutant\(\(2, 8, 6, 5\).* was not refused: expected an error with 'channels'",
    ),
    "check too lax, and then a crash": (
        lambda: permissive(cut=False),
        "mutant/errors",
        r"mutant\(\(2, 8, 6, 5\).* by the operation's check: .*'channels', got RuntimeError",
    ),
    "needs ignored": (
        lambda: scaled(backward=all_gradients),
        "mutant/needs",
        r"grad_x of mutant.*needs=\(False, True\): expected None, got a tensor",
    ),
    "undeclared read": (
        lambda: scaled(reads=("a",)),
        "mutant/reads",
        r"grad_a of .*reads the values of x, .*\(reads of mutant is \('a',\)\)",
    ),
    "an option forgotten in backward": (
        lambda: scaled(backward=no_factor),
        "mutant/differences",
        r"grad_x of mutant\(\(7,\), \(1,\), twice=True.*\(ratio 0\.5\)",
    ),
    "another operation than its twin": (
        lambda: scaled(twin="torch.add"),
        "mutant/twin",
        r"TypeError|differ|elements, the worst",
    ),
}


@contextmanager
def registered(op: Op) -> Iterator[None]:
    ops.register(op.name, op)
    try:
        yield
    finally:
        ops.unregister(op.name)


@pytest.mark.parametrize("fault", OPS)
def test_operations(fault: str) -> None:
    make, name, message = OPS[fault]
    with registered(make()):
        assert_fails(check("reference", name), message)


def test_the_operation_the_mutants_are_made_of_is_right() -> None:
    with registered(scaled()):
        own = [c for c in backend_checks("reference") if str(c).startswith("mutant/")]
        assert len(own) >= 10
        for one in own:
            one()


def test_none_is_left_out() -> None:
    for module, tested, right in (
        (faulty, BACKENDS, {faulty.Mutant}),
        (faulty_graphs, GRAPHS, {faulty_graphs.RightGraph}),
    ):
        planted = {
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if kind.__module__ == module.__name__
        }
        assert planted == {*tested, *right}
    assert torch.is_grad_enabled()
