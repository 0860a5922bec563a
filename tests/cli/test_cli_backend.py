"""--backend and --verify, on every command that computes."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import tiny
from commandline import Cli
from mutants.backends import Mutant, OneSidedPadding, conv
from PIL import Image

import scratchnet
from scratchnet.cli import COMMANDS

# What each command needs to have something to compute.
COMPUTES = {
    "train": ("--epochs", 1, "--out", "run"),
    "denoise": ("in.png", "out.png"),
    "evaluate": ("--n-val", 1, "--size", 16, "--noise", "gaussian:9"),
    "compare": ("--epochs", 1, "--seeds", 1, "--no-memory", "--layout", "contiguous", "--out", "o"),
    "check": ("Conv2d", "--only", "contract"),
    "bench": ("convolutions", "--shapes", "7->13", "--rounds", 1, "--threads", 1, "--out", "o"),
}
ON_DATA = ("train", "compare")
DOES_NOT = {"info", "new-plugin", "zoo"}


class Counting(Mutant):
    """The reference, counting its calls."""

    name = "counting"
    calls = 0

    def conv2d_forward(self, *args: Any, **options: Any) -> Any:
        type(self).calls += 1
        return conv.forward(*args, **options)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with an image and data."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16), (90, 120, 150)).save("in.png")
    tiny.data_dir(tmp_path / "data", n=8, n_val=2)
    return tmp_path


def arguments(command: str) -> tuple[object, ...]:
    return (command, *COMPUTES[command], *(("--data", "data") if command in ON_DATA else ()))


@pytest.mark.parametrize("command", COMPUTES)
def test_each_computes_on_the_backend_that_is_named(command: str, desk: Path, cli: Cli) -> None:
    Counting.calls = 0
    result = cli(*arguments(command), "--backend", f"{__name__}:Counting")
    assert result.code == 0, result.err
    assert "kernels are missing" not in result.err
    assert Counting.calls > 0


@pytest.mark.parametrize("command", COMPUTES)
def test_each_verifies_when_asked_to(command: str, desk: Path, cli: Cli) -> None:
    wrong = f"{OneSidedPadding.__module__}:{OneSidedPadding.__name__}"
    before = dict(os.environ)
    result = cli(*arguments(command), "--backend", wrong, "--verify")
    assert result.code == 1
    said = " ".join((result.out + result.err).split())
    assert "conv2d on backend 'mutant' differs from the reference's" in said
    (saved,) = set(desk.glob("verify-*.safetensors"))
    assert saved.name in said
    assert os.environ == before

    # the backend was given by its path, and is found again without being named
    again = cli("check", "--replay", saved)
    assert again.code == 1
    assert "differs from the reference's" in again.err


def test_no_other_command_computes_without_a_choice_of_backend() -> None:
    found = {c.__name__.replace("_", "-"): {*inspect.signature(c).parameters} for c in COMMANDS}
    for name, options in found.items():
        assert ("backend" in options) == (name not in DOES_NOT), name
    for name in COMPUTES:
        assert {"backend", "threads", "verify"} <= found[name], name


@pytest.mark.parametrize("command", COMPUTES)
def test_an_unknown_backend_is_guessed(command: str, desk: Path, cli: Cli) -> None:
    before = {path.name for path in desk.iterdir()}
    result = cli(*arguments(command), "--backend", "refrence")
    assert result.code == 1
    assert result.err == (
        "scratchnet: there is no backend 'refrence': did you mean 'reference'? known are "
        f"{', '.join(scratchnet.backends.names())}; a plugin must be installed in this "
        "environment, or given as 'package.module:Object'\n"
    )
    assert {path.name for path in desk.iterdir()} == before
