"""Networks of the user's own code: trained by name of a file, and never run unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from commandline import Cli
from installed import Site

import scratchnet
from scratchnet import models
from scratchnet.errors import ArgumentError, ScratchnetError

NET = """
import scratchnet

def model(*, width=4, generator=None):
    return scratchnet.Sequential(
        scratchnet.Conv2d(3, width, 3, padding=1, generator=generator),
        scratchnet.ReLU(),
        scratchnet.Conv2d(width, 3, 3, padding=1, generator=generator),
    )

def tiny(*, generator=None):
    return scratchnet.Conv2d(3, 3, 1, generator=generator)

def nothing(*, generator=None):
    return 7
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def test_by_file_by_function_and_by_module(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.build("net.py", width=5)[0].out_channels == 5
    assert models.build(str(net))[0].out_channels == 4
    assert isinstance(models.build("net.py:tiny"), scratchnet.Conv2d)
    assert isinstance(models.build("scratchnet.models:noise2noise"), scratchnet.Sequential)
    a, b = (models.build("net.py", generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(a[0].weight, b[0].weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py", r"none\.py cannot be run: FileNotFoundError: there is no file"),
        ("broken.py", r"broken\.py cannot be run: ZeroDivisionError"),
        ("net.py:other", r"net\.py is expected to define a function other\(\)"),
        ("net.py:nothing", r"is expected to be a scratchnet\.Module, got int"),
        ("no.such.module:f", r"no\.such\.module cannot be run: ModuleNotFoundError"),
        ("net", r"known are .*; or give a FILE\.py"),
    ],
)
def test_mistakes(net: Path, name: str, message: str) -> None:
    (net.parent / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ArgumentError, match=message):
        models.build(name)


def test_an_argument_it_does_not_take(net: Path) -> None:
    with pytest.raises(ArgumentError, match=r"network 'net\.py': .*depth"):
        models.build("net.py", depth=3)


def test_trained_evaluated_and_applied(net: Path, cli: Cli) -> None:
    data = tiny.data_dir(net.parent / "data", n_val=2)
    train = ("train", "--data", data, "--epochs", 1, "--out", "run", "--model", "net.py")
    result = cli(*train, "--model-arg", "width=6")
    assert result.code == 0, result.err

    weights = net.parent / "run" / "model.safetensors"
    with pytest.raises(ScratchnetError, match=r"network of net\.py, which is code: build the net"):
        scratchnet.load(weights)
    ran = net.parent / "ran"
    net.write_text(NET + f"open({str(ran)!r}, 'w').close()\n")
    refused = cli("evaluate", "run", "--data", data)
    assert refused.code == 1
    assert "--model net.py" in refused.err
    assert not ran.exists(), "a weights file must not run code unasked"
    allowed = cli("evaluate", "run", "--data", data, "--model", "net.py", "--json")
    assert allowed.code == 0, allowed.err
    assert ran.exists()


def test_a_recorded_name_of_code_runs_nothing_until_it_is_named_here(net: Path, cli: Cli) -> None:
    data = tiny.data_dir(net.parent / "data", n_val=2)
    train = ("train", "--data", data, "--epochs", 1, "--out")
    assert cli(*train, "run", "--model", "net.py").code == 0
    ran = net.parent / "ran"
    net.write_text(NET + f"open({str(ran)!r}, 'w').close()\n")
    for refused in (
        ("train", "--config", "run/model.safetensors", "--out", "other"),
        ("train", "--config", "run", "--out", "other"),
        ("train", "--resume", "--out", "run", "--epochs", 2),
        ("compare", "--config", "run/config.json", "--out", "other"),
    ):
        result = cli(*refused)
        assert result.code == 1
        assert "names code to run, model 'net.py'" in result.err
        assert "--model net.py" in result.err
    assert not ran.exists()
    assert not (net.parent / "other").exists()
    assert cli("train", "--config", "run", "--model", "residual", "--out", "other").code == 0
    assert not ran.exists()
    resumed = cli("train", "--resume", "--out", "run", "--epochs", 2, "--model", "net.py")
    assert resumed.code == 0, resumed.err
    assert ran.exists()
    other = cli("train", "--resume", "--out", "run", "--epochs", 3, "--model", "net.py:tiny")
    assert "leave out --model" in other.err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", "torch.hub:load"),
        ("optimizer", "evil:f"),
        ("optimizer", "torch.optim:sgd.torch.hub.load"),
        ("schedule", "evil:f"),
        ("loss", "evil:f"),
        ("noise", "evil.net:f:3"),
        ("backend", "evil:f"),
    ],
)
def test_no_setting_of_a_file_runs_code(
    net: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    (net.parent / "evil.py").write_text("raise SystemError('it ran')\n")
    monkeypatch.syspath_prepend(net.parent)
    (net.parent / "config.json").write_text(json.dumps({setting: value}))
    for command in (("train", "--config", "config.json"), ("train", "--resume", "--out", ".")):
        result = cli(*command)
        assert result.code == 1
        assert f"names code to run, {setting} {value!r}" in result.err


NETWORK = """
import scratchnet

class Net(scratchnet.Sequential):
    def __init__(self, width=4):
        self.width = width
        super().__init__(
            scratchnet.Conv2d(3, width, 3, padding=1), scratchnet.Conv2d(width, 3, 3, padding=1)
        )

    def config(self):
        return {"width": self.width}
"""


def test_a_layer_that_is_a_network_is_trained_by_its_name(
    cli: Cli, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("net-plugin", NETWORK, layers={"tiny-net": "Net"})
    data, run = tiny.data_dir(tmp_path / "data"), tmp_path / "run"
    argument = ("--model", "tiny-net", "--model-arg", "width=5")
    result = cli("train", *argument, "--data", data, "--epochs", 1, "--out", run)
    assert result.code == 0, result.err
    loaded = scratchnet.load(run / "model.safetensors")
    assert (type(loaded).__name__, loaded[0].out_channels) == ("Net", 5)
    # a layer with a generator gets the run's
    a, b = (
        models.build("Conv2d", in_channels=3, out_channels=3, kernel_size=1, generator=seeded())
        for _ in "ab"
    )
    assert torch.equal(a.weight, b.weight)
    with pytest.raises(ArgumentError, match="network 'Conv2d': missing a required argument"):
        models.build("Conv2d")
    monkeypatch.setenv("SCRATCHNET_BLOCK", "net-plugin")
    with pytest.raises(ScratchnetError, match=r"no network 'tiny-net': known are .* the layers"):
        scratchnet.load(run / "model.safetensors")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)
