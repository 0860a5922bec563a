from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from commandline import Cli

import scratchnet
from scratchnet import backends
from scratchnet.cli import COMMANDS
from scratchnet.denoise.tiles import TILE


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [None, *(c.__name__.replace("_", "-") for c in COMMANDS)])
def test_help_teaches(cli: Cli, command: str | None, flag: str) -> None:
    result = cli(*([command] if command else []), flag)
    assert result.code == 0
    assert "Usage: scratchnet" in result.out
    if command not in (None, "info"):
        assert "Examples" in result.out
        assert f"scratchnet {command}" in result.out


def test_without_a_command_there_is_help(cli: Cli) -> None:
    result = cli()
    assert result.code == 2
    assert "train" in result.out + result.err


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"scratchnet {scratchnet.__version__}\n"


def test_an_unknown_command_is_a_usage_error(cli: Cli) -> None:
    result = cli("trian")
    assert result.code == 2
    assert "trian" in result.err


def test_info_json_says_what_runs_here(cli: Cli) -> None:
    facts = json.loads(cli("info", "--json").out)
    assert facts["torch"]["running"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    found = {row["name"]: row["available"] for row in facts["backends"]}
    assert found.keys() == set(backends.names())
    assert found["reference"] is True
    assert {"Conv2d", "ReLU"} <= {row["name"] for row in facts["layers"]}
    assert "noise2noise" in facts["models"]


def test_info_shows_why_a_backend_is_missing_without_failing(cli: Cli) -> None:
    broken = backends.Backend("broken", available=lambda: "needs a [quantum] computer")
    backends.register("broken", broken)
    try:
        result = cli("info")
    finally:
        backends.unregister("broken")
    assert result.code == 0
    assert "needs a [quantum] computer" in result.out
    assert "registered at run time" in result.out


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys; from scratchnet.cli import app\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'skimage', 'tifffile'} & {*sys.modules}\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_help_names_the_default_tile(cli: Cli) -> None:
    assert f"[default: {TILE}]" in " ".join(cli("denoise", "--help").out.split())
