"""One operation on each backend that implements it, and beside its twin; none is named there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet.bench import Bench, Plan
from scratchnet.ops.op import Case, Op


def plan(op: str, **changes: object) -> Plan:
    return Plan(op=op, threads=[1], rounds=1, **changes)


@pytest.mark.parametrize("name", scratchnet.ops.names())
def test_every_operation_can_be_measured(name: str) -> None:
    op = scratchnet.ops.get(name)
    for contest in Bench(plan(name)).run("").contests:
        assert contest.left_out == {}
        assert contest.case.title.startswith(f"{name} forward and backward, (")
        assert {"scratchnet", "scratchnet reference"} <= set(contest.timings)
        assert ("torch" in contest.timings) == (op.twin is not None)


def halves(x: Tensor) -> tuple[tuple[Tensor, Tensor], None]:
    return (x[: len(x) // 2] * 2, x[len(x) // 2 :] * 3), None


def back(grad_ys: tuple[Tensor, Tensor], kept: None, x: Tensor, *, needs: object) -> tuple[Tensor]:
    return (torch.cat([grad_ys[0] * 2, grad_ys[1] * 3]),)


def wrong(grad_ys: tuple[Tensor, Tensor], kept: None, x: Tensor, *, needs: object) -> tuple[Tensor]:
    return (torch.cat([grad_ys[0] * 2, grad_ys[1] * 2]),)


def twin(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[: len(x) // 2] * 2, x[len(x) // 2 :] * 3


@pytest.fixture
def made_up() -> Iterator[Op]:
    op = Op(
        "halves",
        forward=halves,
        backward=back,
        check=lambda x: ((len(x) // 2, 3), (len(x) - len(x) // 2, 3)),
        cases=lambda: [Case(((5, 3),)), Case(((2, 3),)), Case(((1, 3),))],
        twin=f"{__name__}.twin",
    )
    scratchnet.ops.register("halves", op)
    yield op
    scratchnet.ops.unregister("halves")


def test_an_operation_made_up_with_two_outputs_and_a_wrong_implementation(made_up: Op) -> None:
    made_up.implement("cpp", forward=halves, backward=wrong)
    contests = Bench(plan("halves", backends=["reference", "cpp"])).run("").contests
    assert [contest.case.images for contest in contests] == [2, 5]
    for contest in contests:
        assert set(contest.timings) == {"scratchnet reference", "torch", "torch channels_last"}
        assert "gradient of x" in contest.left_out["scratchnet cpp"]


def test_shapes_and_options_of_ones_own() -> None:
    given = {"inputs": [(2, 3, 9, 7)], "arguments": {"kernel_size": [3, 2], "stride": [2, 1]}}
    found = plan("max_pool2d", **given, dtype=torch.float64)
    (contest,) = Bench(found).run("").contests
    assert "(2, 3, 9, 7), kernel_size=(3, 2), stride=(2, 1)" in contest.case.title
    assert contest.case.title.endswith("1 thread, float64")
    assert contest.left_out == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"op": "max_pool"}, "no op 'max_pool': did you mean 'max_pool2d'"),
        ({"op": "max_pool2d", "inputs": [(2, 3, 9, 7)], "arguments": {"colour": 1}}, "max_pool2d"),
        ({"op": "relu", "arguments": {"colour": 1}}, "options go with --input"),
        ({"op": "relu", "layer": "ReLU"}, "one layer is measured by itself: leave out op"),
        ({"op": "relu", "sections": ["step"]}, "one op is measured by itself: leave out step"),
    ],
)
def test_what_cannot_be_measured(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(scratchnet.ScratchnetError, match=says):
        Bench(Plan(**wrong))
