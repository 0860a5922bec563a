"""`scratchnet zoo`: everything there is, and what is to be said of it."""

from __future__ import annotations

import pytest
import torch
from commandline import Cli

from scratchnet import layers, optim
from scratchnet.cli.zoo import COLUMNS, plot
from scratchnet.layers import loss
from scratchnet.testing.zoo import find, inhabitants, samples

ALL = {one.name: one for one in inhabitants()}
LAYERS = [name for name, one in ALL.items() if one.kind == "layer"]


def test_all_are_listed(cli: Cli) -> None:
    lines = cli("zoo").out.splitlines()
    named = {line.split()[0] for line in lines if line.strip()}
    assert {*layers.names(), *loss.names(), *optim.names()} <= named
    (relu,) = [line for line in lines if line.startswith("ReLU ")]
    assert "max(0, x)" in relu
    assert "torch.nn.ReLU" in relu
    assert "cpp" in relu


@pytest.mark.parametrize("name", LAYERS)
def test_every_example_runs(name: str) -> None:
    one = ALL[name]
    assert one.formula
    code = one.code()
    assert code, "a layer brings an example()"
    namespace: dict[str, object] = {}
    exec(compile(code, name, "exec"), namespace)
    made = one.specimen()
    assert made is not None
    assert repr(namespace["layer"]) == repr(made[0])


def test_one_is_shown(cli: Cli) -> None:
    page = cli("zoo", "Conv2d").out
    for part in ("layer, as torch.nn.Conv2d", "weight (6, 2, 3, 2)", "layer.backward(", "conv2d"):
        assert part in page
    assert "●" not in page
    assert "its derivative" in cli("zoo", "sigmoid").out
    assert "loss, as torch.nn.MSELoss" in cli("zoo", "MSE").out
    assert "as torch.optim.Adam" in cli("zoo", "adam").out


def test_an_unknown_name_is_an_error(cli: Cli) -> None:
    failed = cli("zoo", "Sigmoit")
    assert failed.code == 1
    assert "did you mean 'Sigmoid'" in failed.err


def test_the_plot_has_each_value_at_its_height() -> None:
    x = torch.linspace(-1, 1, COLUMNS)
    lines = plot(torch.stack([x, x, torch.ones_like(x)])).splitlines()
    assert lines[0].endswith("●")
    assert lines[0].count("·") >= COLUMNS - 2  # the derivative, 1, along the top
    assert lines[16][7] == "●"
    curve = find("Sigmoid").curve
    assert curve is not None
    at, y, slope = samples(curve, -1, 1, 3)
    torch.testing.assert_close(y, torch.sigmoid(at))
    torch.testing.assert_close(slope, y * (1 - y))
