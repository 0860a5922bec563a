"""One layer, built in or a plugin's, against its counterpart and on other backends."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

import scratchnet
from scratchnet.bench import Bench, Plan
from scratchnet.bench import layer as one_layer


class Own(scratchnet.Module):
    """Twice the input; asks for no backend."""

    factor = 2.0

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.save(x)
        return x * self.factor * self.times

    def backward(self, grad_y: torch.Tensor) -> torch.Tensor:
        _ = self.saved
        return grad_y * self.factor * self.times


@pytest.mark.parametrize("name", ["Conv2d", "Upsampling", "ReLU", "Residual", "Concat"])
def test_a_layer_against_its_counterpart_or_the_other_backends(name: str) -> None:
    (subject,) = one_layer.subjects(name, None, [])
    assert subject.x.shape[2:] == (64, 64)
    plan = Plan(layer=name, inputs=[(2, subject.x.shape[1], 9, 7)], threads=[1], rounds=1)
    bench = Bench(plan)
    bench.memory.clear()
    for contest in bench.run("").contests:
        assert contest.left_out == {}
        assert contest.case.images == 2
        assert {"torch.nn", "torch.nn channels_last"} < set(contest.timings)
        assert len(contest.timings) == 4


def test_a_layer_of_ones_own_and_its_example() -> None:
    class Picky(Own):
        @classmethod
        def example(cls) -> tuple:
            return cls(3), torch.ones(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1:] == (5,)
            return super().forward(x)

    scratchnet.layers.register("own", Own)
    scratchnet.layers.register("picky", Picky)
    try:
        (subject,) = one_layer.subjects("own", None, [])
        assert subject.x.shape == (16, 4, 64, 64)
        assert one_layer.backends_of(subject) == ["auto"]
        bench = Bench(Plan(layer="own", inputs=[(2, 3)], threads=[1], rounds=1))
        bench.memory.clear()
        assert [list(c.timings) for c in bench.run("").contests] == [["scratchnet"]] * 2
        (picky,) = one_layer.subjects("picky", None, [])
        assert picky.x.shape == (4, 5)
        assert picky.layer.times == 3
        (given,) = one_layer.subjects("own", {"times": 7}, [(1, 2, 3)], torch.float64)
        assert (given.layer.times, given.x.shape, given.x.dtype) == (7, (1, 2, 3), torch.float64)
    finally:
        scratchnet.layers.unregister("own")
        scratchnet.layers.unregister("picky")


class Slope(scratchnet.Module):
    """y = slope · x, with a twin as plugins may have it."""

    parameter_names = ("slope",)
    kind: ClassVar[object] = None

    def __init__(self) -> None:
        self.add_parameter("slope", torch.tensor([0.7]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.save(x)
        return x * self.slope

    def backward(self, grad_y: torch.Tensor) -> torch.Tensor:
        (x,) = self.saved
        self.grad_slope += (grad_y * x).sum()
        return grad_y * self.slope

    def twin(self) -> object:
        return type(self).kind


class Times(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.slope


def half(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return x * slope / 2


@pytest.mark.parametrize("kind", [torch.mul, Times(), half])
def test_a_layer_of_ones_own_beside_its_twin(kind: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slope, "kind", kind)
    bench = Bench(Plan(layer=f"{__name__}:Slope", inputs=[(2, 3, 5, 4)], threads=[1], rounds=1))
    (case,) = bench.memory.values()
    assert {*case.contestants} == {"scratchnet", "torch.nn", "torch.nn channels_last"}
    bench.memory.clear()
    for contest in bench.run("").contests:
        assert set(contest.timings) >= {"torch.nn", "torch.nn channels_last"}
        assert contest.wrong == (["scratchnet"] if kind is half else [])


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("Conv2b", None, "no layer 'Conv2b': did you mean 'Conv2d'"),
        ("Conv2d", {"in_channels": 3}, "layer 'Conv2d': missing a required argument"),
        ("Conv2d", {"colour": 3}, "layer 'Conv2d': "),
        ("rightlayers:BatchNorm", None, "needs channels: give them with --arg"),
    ],
)
def test_a_layer_that_cannot_be_made(
    name: str, arguments: dict[str, object] | None, says: str
) -> None:
    with pytest.raises(scratchnet.ScratchnetError, match=says):
        Bench(Plan(layer=name, arguments=arguments))


def test_an_input_that_the_layer_does_not_take() -> None:
    with pytest.raises(scratchnet.ScratchnetError, match="channels"):
        Bench(Plan(layer="Conv2d", inputs=[(1, 5, 8, 8)]))


def test_a_layer_on_a_wrong_backend_is_not_timed() -> None:
    wrong = "mutants.backends:OverlapsForgotten"
    plan = Plan(layer="Conv2d", inputs=[(1, 32, 5, 5)], backends=["auto", wrong])
    bench = Bench(replace(plan, threads=[1], rounds=1))
    bench.memory.clear()
    both, forward = bench.run("").contests
    assert "gradient of the input" in both.left_out[f"scratchnet {wrong}"]
    assert forward.left_out == {}
    assert len(both.timings) == 3
