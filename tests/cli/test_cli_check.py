from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from commandline import Cli

import scratchnet


def test_a_layer_passes_with_its_figures(cli: Cli) -> None:
    result = cli("check", "Conv2d")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"Conv2d: {len(lines) - 1} of {len(lines) - 1} checks passed"
    assert any("passed input_gradient" in line and "e-" in line for line in lines)
    assert any("passed twin_gradients" in line and "ε" in line for line in lines)


def test_several_and_a_pattern_and_json(cli: Cli) -> None:
    result = cli("check", "reference", "ReLU", "--only", "[ic]*d*", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert list(found) == ["reference", "ReLU"]
    assert {"identity", "conv2d/twin"} <= {row["name"] for row in found["reference"]}
    assert all(row["status"] == "passed" for rows in found.values() for row in rows)


def test_what_fails_is_shown_and_the_exit_code_says_so(cli: Cli) -> None:
    result = cli("check", "mutants.layers:AveragingUpsampling", "--arg", "scale_factor=2", "-q")
    assert result.code == 1
    head, line = result.out.splitlines()
    assert head.startswith("mutants.layers:AveragingUpsampling: ")
    assert "FAILED input_gradient" in line
    assert "all are 0.25 times what they should be" in line


def test_a_backend_by_its_path(cli: Cli) -> None:
    result = cli("check", "mutants.backends:NeedsIgnored", "--only", "conv2d/needs", "-q")
    assert result.code == 1
    assert "expected None, got a tensor" in result.out


def test_a_layer_of_ones_own_brings_its_example(cli: Cli) -> None:
    class Own(scratchnet.NearestUpsampling):
        @classmethod
        def example(cls) -> tuple:
            import torch

            return cls((2, 1)), torch.randn(2, 3, 4, 5)

    scratchnet.layers.register("own", Own)
    try:
        assert cli("check", "own", "--only", "*gradient*").code == 0
        # arguments and shapes given win over the example
        result = cli("check", "own", "--only", "contract", "--arg", "scale_factor=0")
        assert result.code == 1
        assert "scale_factor" in result.err
    finally:
        scratchnet.layers.unregister("own")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Conv2b"], "no layer 'Conv2b': did you mean 'Conv2d'?"),
        (["refrence"], "no backend 'refrence': did you mean 'reference'?"),
        (["rightlayers:BatchNorm"], "needs channels: give them with --arg"),
        (["ReLU", "--input", "2,x"], "--input expects sizes such as 2,3,32,32, got '2,x'"),
        (["ReLU", "--arg", "slope"], "expected KEY=VALUE, got 'slope'"),
        (["ReLU", "Sigmoid", "--input", "2,3"], "go with one layer, not with ReLU, Sigmoid"),
        (["reference", "--input", "2,3"], "'reference' is a backend"),
        (["--input", "2,3"], "go with the name of one layer"),
        (["ReLU", "--only", "nothing"], "--only 'nothing' matches none of accumulation, "),
        (["ReLU", "--backend", "cpq"], "did you mean 'cpp'"),
    ],
)
def test_mistakes(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli("check", *arguments)
    assert result.code == 1
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("scratchnet: ")
    assert message in line


def test_a_difference_found_while_training_is_reproduced_by_the_command_it_names(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mutants.backends import OverlapsForgotten

    monkeypatch.chdir(tmp_path)
    scratchnet.backends.register("mutant", OverlapsForgotten())
    try:
        data = tiny.data_dir(tmp_path / "data", n_val=2)
        run = ("train", "--data", data, "--epochs", 1, "--backend", "mutant", "--out", "run")
        result = cli(*run, "--verify")
        assert result.code == 1
        line = result.err.splitlines()[-1]
        assert "grad_x of " in line
        assert "differs from the reference's: " in line
        assert "strides (" in line
        command = line.partition("to reproduce: scratchnet ")[2].split()
        assert command[:2] == ["check", "--replay"]

        again = cli(*command)
        assert again.code == 1
        assert "differs from the reference's" in again.err
    finally:
        scratchnet.backends.unregister("mutant")
    right = cli(*command, "--backend", "mutants.backends:Mutant")
    assert right.code == 0
    assert right.out.endswith("equals the reference\n")


def test_a_replay_of_nothing(cli: Cli, tmp_path: Path) -> None:
    result = cli("check", "--replay", tmp_path / "none")
    assert result.code == 1
    assert "cannot be read" in result.err
    assert "goes alone" in cli("check", "ReLU", "--replay", tmp_path / "none").err
