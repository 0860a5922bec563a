"""The table of what is in a network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rightlayers import Embedding, Shared, SumAndProduct

import scratchnet
from scratchnet import Conv2d, Graph, ReLU, Sequential, TransposeConv2d, summary
from scratchnet.errors import ArgumentError, ShapeError


def test_rows_are_the_layers() -> None:
    model = Sequential(Conv2d(3, 8, 3, padding=1), ReLU(), TransposeConv2d(8, 2, 2, stride=2))
    found = summary(model, (2, 3, 5, 4))
    assert [(row.name, row.kind, row.output) for row in found.rows] == [
        ("0", "Conv2d", (2, 8, 5, 4)),
        ("1", "ReLU", (2, 8, 5, 4)),
        ("2", "TransposeConv2d", (2, 2, 10, 8)),
    ]
    assert [row.parameters for row in found.rows] == [8 * 3 * 9 + 8, 0, 8 * 2 * 4 + 2]
    products = [2 * 5 * 4 * 8 * 3 * 9, 0, 2 * 5 * 4 * 8 * 2 * 4]
    assert [row.multiply_adds for row in found.rows] == products
    assert found.multiply_adds == sum(products)
    weights = 4 * found.parameters
    images = [4 * n for n in (2 * 3 * 20, 2 * 8 * 20, 2 * 8 * 20, 2 * 2 * 80)]
    assert found.inference == weights + images[1] + images[2]
    assert found.training == 2 * weights + sum(images)


def test_who_runs_what_and_what_is_fused() -> None:
    model = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 4, 3))
    with scratchnet.use_backend("cpp"):
        found = summary(model, (1, 3, 8, 8))
    assert [(row.backend, row.run) for row in found.rows] == [("cpp", 1)] * 3
    assert str(found).splitlines()[1].endswith("cpp      run 1")
    model[1].backend = None
    with scratchnet.use_backend("reference"):
        assert {(r.backend, r.run) for r in summary(model, (1, 3, 8, 8)).rows} == {("reference", 0)}


def test_frozen_and_shared_parameters_are_counted_once() -> None:
    model = Shared(4, uses=3)
    model.cell.bias.requires_grad = False
    found = summary(model, (1, 4, 6, 6))
    assert [row.parameters for row in found.rows if row.kind == "Conv2d"] == [148, 0, 0]
    assert (found.parameters, found.trainable) == (148, 144)
    assert "148 parameters, 4 of them frozen" in str(found)


class Scaled(Graph):
    def __init__(self) -> None:
        self.add_parameter("scale", torch.ones(3, 1, 1))
        self.relu = ReLU()

    def connect(self, x: Any) -> Any:
        return self.relu(x) * self.scale


def test_a_network_with_parameters_of_its_own_has_a_row() -> None:
    rows = summary(Scaled(), (1, 3, 2, 2)).rows
    assert [(r.name, r.kind, r.parameters) for r in rows] == [
        ("relu", "ReLU", 0),
        ("", "Scaled", 3),
    ]


def test_several_inputs_and_whole_numbers() -> None:
    assert summary(SumAndProduct(), [(2, 3), (2, 3)]).rows[0].output == (2, 3)
    assert summary(Embedding(5, 3), torch.tensor([[1, 4]])).rows[0].output == (1, 2, 3)


def test_the_model_is_left_as_it_was() -> None:
    model = Sequential(Conv2d(3, 4, 3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summary(model, (1, 3, 8, 8))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not model.training
    assert "forward" not in vars(model[0])


@pytest.mark.parametrize("wrong", [3, (), "images", [(1, "3")], (1, 3, -4)])
def test_what_is_no_size(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="summary expects the shape of the input"):
        summary(ReLU(), wrong)


def test_errors_are_the_models_own() -> None:
    with pytest.raises(ShapeError, match="Conv2d expects 3 channels"):
        summary(Sequential(Conv2d(3, 4, 3)), (1, 2, 8, 8))
