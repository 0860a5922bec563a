from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch

from scratchnet import models
from scratchnet.errors import ScratchnetError
from scratchnet.training import checkpoint
from scratchnet.training.config import PRESETS, TrainConfig, load_config, preset


def test_the_paper_preset_is_the_paper() -> None:
    paper = preset("paper")
    assert (paper.model, paper.optimizer, paper.lr) == ("noise2noise", "sgd", 2.5)
    assert (paper.batch_size, paper.epochs, paper.schedule) == (40, 100, "constant")
    assert (paper.momentum, paper.weight_decay) == (None, 0)  # none is the default


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ScratchnetError, match="quick, paper, best"):
        preset("fast")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_networks_that_take_their_images(name: str) -> None:
    config = preset(name)
    x = torch.rand(1, 3, config.size, config.size)
    assert models.build(config.model, **config.model_args).eval()(x).shape == x.shape


@pytest.mark.parametrize("name", PRESETS)
def test_presets_know_their_own_name(name: str) -> None:
    assert preset(name).preset == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "dtype must be"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": float("nan")}, "lr must be above 0"),
        ({"batch_size": 0}, "batch-size must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"n_train": 0}, "n-train must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"n_val": None}, "n-train and n-val must be given"),
        ({"noisy_a": "a"}, "noisy-a and noisy-b must be given together"),
        ({"data": "d", "images": "i"}, "data must be one of"),
        ({"learning_rate": 1}, "unknown setting learning_rate"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ScratchnetError, match=message):
        TrainConfig().replace(**changes)


def test_options_that_were_not_given_leave_the_settings_alone() -> None:
    config = TrainConfig(lr=0.5, nesterov=True).with_options(lr=None, nesterov=None, epochs=3)
    assert (config.lr, config.nesterov, config.epochs) == (0.5, True, 3)


def test_naming_a_source_replaces_the_one_before() -> None:
    config = TrainConfig(images="old").with_options(noisy_a="a", noisy_b="b", data=None)
    assert (config.images, config.noisy_a, config.noisy_b) == (None, "a", "b")
    assert config.n_train is not None


def test_data_is_used_whole_unless_limited() -> None:
    assert TrainConfig().with_options(data="d").n_train is None
    assert TrainConfig().with_options(data="d", n_train=7).n_train == 7


def test_a_config_survives_json_and_weights_files(tmp_path: Path) -> None:
    config = tiny.config(betas=(0.8, 0.99), noise="gaussian:25")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.as_dict() | {"made_by": {"torch": "x"}}))
    assert load_config(file) == config
    assert load_config(tmp_path) == config
    model = models.build(config.model, **config.model_args)
    weights = tmp_path / "w.safetensors"
    checkpoint.save(model, weights, name=config.model, config=config.as_dict())
    assert load_config(weights) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[1]", "holds a JSON list, expected an object"),
        ('{"speed": 1}', "unknown setting speed"),
        ('{"lr": -1}', "lr must be above 0"),
        ('{"lr": "fast"}', "lr must be a number, got 'fast'"),
        ('{"betas": 3}', "betas must be two numbers"),
        ('{"epochs": 1.5}', "epochs must be a whole number"),
    ],
)
def test_a_bad_config_file_gives_one_line_with_its_name(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(ScratchnetError, match=message) as caught:
        load_config(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_before_that_were_ignored_are_dropped(tmp_path: Path) -> None:
    """Runs used to write down every optimizer's options, whichever they used."""
    old = {"optimizer": "muon", "momentum": 0.9, "betas": [0.9, 0.999], "eps": 1e-8}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(old | {"dampening": 0.0}))
    config = load_config(file)
    assert (config.momentum, config.betas, config.eps, config.dampening) == (0.9, None, None, None)
    file.write_text(json.dumps(old | {"optimizer": "adam"}))
    config = load_config(file)
    assert (config.momentum, config.betas, config.eps) == (None, (0.9, 0.999), 1e-8)


def test_a_missing_config_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScratchnetError, match=r"cannot read .*nowhere.json: No such file"):
        load_config(tmp_path / "nowhere.json")
