from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from commandline import Cli

from scratchnet.training.trainer import Callback, Trainer

SMALL = (
    *("--model-arg", "channels=4", "--model-arg", "depth=2"),
    *("--batch-size", 8, "--epochs", 2, "--threads", 1),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.data_dir(tmp_path / "data")


def test_training_prints_a_line_an_epoch_and_what_to_do_next(
    cli: Cli, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = cli("train", "--data", data, "--out", out, *SMALL)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "noisy input: " in lines[1]
    assert [line.split()[:2] for line in lines[2:4]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert "images/s" in lines[2]
    assert f"scratchnet denoise --weights {out}" in lines[-1]
    assert (out / "samples.png").is_file()
    settings = json.loads((out / "config.json").read_text())
    assert settings["model_args"] == {"channels": 4, "depth": 2}
    assert settings["n_train"] is None  # --data is used whole


def test_every_option_reaches_the_configuration(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = {
        "--preset": "paper", "--data": data, "--out": out, "--epochs": 1, "--seed": 5,
        "--n-train": 9, "--n-val": 3, "--size": 16, "--noise": "gaussian:9", "--model": "residual",
        "--model-arg": "channels=3", "--dtype": "float64", "--optimizer": "sgd", "--lr": 0.25,
        "--schedule": "cosine", "--batch-size": 4, "--momentum": 0.5, "--dampening": 0.0,
        "--weight-decay": 0.001, "--optimizer-arg": "maximize=false", "--loss": "MSELoss",
        "--backend": "reference", "--threads": 1,
    }  # fmt: skip
    flat = [item for pair in options.items() for item in pair]
    result = cli("train", *flat, "--nesterov", "--augment")
    assert result.code == 0, result.err
    settings = json.loads((out / "config.json").read_text())
    made_by = settings.pop("made_by")
    assert made_by["backends"] == ["reference"]
    wanted = {k[2:].replace("-", "_"): v for k, v in options.items() if k != "--out"}
    wanted |= {"data": str(data), "model_args": {"channels": 3}, "nesterov": True, "augment": True}
    wanted |= {"images": None, "noisy_a": None, "noisy_b": None, "betas": None, "eps": None}
    wanted |= {"optimizer_args": {"maximize": False}}
    del wanted["model_arg"], wanted["optimizer_arg"]
    assert settings == wanted


def test_the_options_of_another_optimizer(cli: Cli, data: Path, tmp_path: Path) -> None:
    options = ("--data", data, "--betas", 0.8, 0.9, "--eps", 1e-6, *SMALL)
    assert cli("train", *options, "--out", tmp_path / "adam").code == 0
    settings = json.loads((tmp_path / "adam" / "config.json").read_text())
    assert (settings["betas"], settings["eps"]) == ([0.8, 0.9], 1e-6)
    refused = cli("train", *options, "--optimizer", "sgd", "--out", tmp_path / "sgd")
    assert refused.code == 1
    assert "optimizer 'sgd' takes no betas, eps: it has lr, momentum, dampening" in refused.err
    # what was set for the optimizer before is not
    again = ("--config", tmp_path / "adam", "--optimizer", "sgd", "--out", tmp_path / "sgd")
    assert cli("train", *again).code == 0


def test_an_optimizer_of_torchs(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--optimizer", "torch.optim:Adam", "--optimizer-arg", "amsgrad=true", *SMALL)
    assert cli("train", "--data", data, "--out", out, *options).code == 0
    more = cli("train", "--resume", "--out", out, "--epochs", 3)
    assert more.code == 0, more.err


def test_config_repeats_a_run_and_options_come_on_top(cli: Cli, data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli("train", "--data", data, "--out", first, *SMALL).code == 0
    repeated = ("train", "--config", first / "config.json", "--out", second, "--lr", 0.5)
    assert cli(*repeated).code == 0
    a, b = (json.loads((run / "config.json").read_text()) for run in (first, second))
    assert b["lr"] == 0.5
    assert a | {"lr": 0.5} == b


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    real = Trainer._train_step

    def train_step(self: Trainer, *args: torch.Tensor) -> float:
        if self.step == step:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(Trainer, "_train_step", train_step)


def test_ctrl_c_keeps_the_last_epoch_says_so_and_resume_goes_on(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert cli("train", "--data", data, "--out", whole, *SMALL).code == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        stopped = cli("train", "--data", data, "--out", out, *SMALL)
    assert stopped.code == 130
    assert f"scratchnet train --resume --out {out}" in stopped.out
    assert stopped.err == ""
    resumed = cli("train", "--resume", "--out", out)
    assert resumed.code == 0, resumed.err
    assert "going on after epoch 1" in resumed.out
    weights = [(run / "model.safetensors").read_bytes() for run in (out, whole)]
    assert weights[0] == weights[1]


def test_resume_refuses_what_would_make_it_another_run(
    cli: Cli, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert cli("train", "--data", data, "--out", out, *SMALL).code == 0
    result = cli("train", "--resume", "--out", out, "--lr", 1, "--preset", "paper")
    assert result.code == 1
    assert "leave out --lr, --preset" in result.err
    assert cli("train", "--resume", "--out", out, "--epochs", 3).code == 0
    assert "name it with --out" in cli("train", "--resume").err
    assert "no run to resume" in cli("train", "--resume", "--out", tmp_path / "nowhere").err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--preset", "slow"), 1, "unknown preset 'slow'; there are quick, paper, best"),
        (("--optimizer", "lbfgs"), 1, "there is no optimizer 'lbfgs': known are"),
        (("--lr", "-1"), 1, "lr must be above 0"),
        (("--lr", "fast"), 2, "Invalid value for '--lr'"),
        (("--epochs", "0"), 2, "Invalid value for '--epochs'"),
        (("--model", "nonesuch"), 1, "there is no network 'nonesuch': known are"),
        (("--model-arg", "depth"), 1, "expected KEY=VALUE, got 'depth'"),
        (("--model-arg", "wings=2"), 1, "network 'residual': got an unexpected keyword"),
        (("--schedule", "steep"), 1, "there is no schedule 'steep'"),
        (("--noise", "fog:3"), 1, "unknown noise 'fog:3'"),
        (("--noisy-a", "x"), 1, "noisy-a and noisy-b must be given together"),
        (("--data", "x", "--images", "y"), 1, "data must be one of"),
        (("--data", "nowhere"), 1, "nowhere"),
        (("--images", "nowhere"), 1, "nowhere"),
        (("--config", "nowhere.json"), 1, "cannot read nowhere.json"),
        (("--config", "c.json", "--preset", "quick"), 1, "either --preset or --config"),
        (("--backend", "nonesuch", "--n-train", "1"), 1, "nonesuch"),
        (("--dtype", "float16"), 1, "dtype must be 'float32' or 'float64'"),
        (("--frobnicate",), 2, "No such option"),
    ],
)
def test_a_mistake_gives_a_clear_line_and_leaves_nothing(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("train", "--size", 8, "--n-val", 1, "--n-train", 1, *arguments)
    assert result.code == code
    assert message in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert code == 2 or result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_that_is_too_high_names_the_cure(
    cli: Cli, data: Path, tmp_path: Path
) -> None:
    options = ("--optimizer", "sgd", "--lr", 1e30, "--schedule", "constant")
    result = cli("train", "--data", data, "--out", tmp_path / "run", *SMALL, *options)
    assert result.code == 1
    assert "lower the learning rate" in result.err
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused_at_once(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Callback, trainer: Trainer) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(Callback, "on_begin", never)
    result = cli("train", "--data", data, "--out", data)
    assert result.code == 1
    assert "is not empty: name another directory" in result.err


def test_the_number_of_threads_is_put_back(cli: Cli, data: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    assert cli("train", "--data", data, "--out", tmp_path / "r", *SMALL, "--threads", 2).code == 0
    assert torch.get_num_threads() == before
