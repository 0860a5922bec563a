from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

import scratchnet
from scratchnet import backends
from scratchnet.errors import ScratchnetError
from scratchnet.training import checkpoint, runs, sources
from scratchnet.training.config import TrainConfig, load_config
from scratchnet.training.trainer import Callback, DivergedError, Epoch, Step, Trainer

FILES = [
    "best.safetensors",
    "checkpoint-before.safetensors",
    "checkpoint.safetensors",
    "config.json",
    "metrics.csv",
    "model.safetensors",
    "psnr.png",
    "samples.png",
]
AFTER_ONE_EPOCH = [name for name in FILES if name != "checkpoint-before.safetensors"]


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny.config(data=str(tiny.data_dir(tmp_path / "data")))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(out: Path) -> bytes:
    state = scratchnet.load(out / "model.safetensors").state_dict()
    return b"".join(value.numpy().tobytes() for value in state.values())


class Interrupt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


class Explode(Callback):
    """Make the learning rate absurd after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_begin(self, trainer: Trainer) -> None:
        if self.epoch == 0:
            trainer.base_lr = 1e30

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        if epoch.epoch == self.epoch:
            trainer.base_lr = 1e30


def test_a_run_leaves_all_that_is_needed_to_see_use_and_repeat_it(
    config: TrainConfig, tmp_path: Path
) -> None:
    run = runs.train(config, tmp_path / "run")
    assert names(run.out) == FILES
    with open(run.out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["val_psnr"]) == run.history[1].val_psnr
    model = scratchnet.load(run.out / "model.safetensors")
    assert model.forward(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5, 7)
    assert list(checkpoint.describe(run.out / "model.safetensors")["args"]) == ["channels", "depth"]
    for image in ("psnr.png", "samples.png"):
        with Image.open(run.out / image) as image:
            assert min(image.size) > 300
    made_by = json.loads((run.out / "config.json").read_text())["made_by"]
    assert made_by["torch"] == torch.__version__


@pytest.mark.parametrize("source", ["config.json", "model.safetensors"])
def test_its_config_reproduces_a_run_to_the_bit(
    config: TrainConfig, tmp_path: Path, source: str
) -> None:
    first = runs.train(config, tmp_path / "first")
    second = runs.train(load_config(first.out / source), tmp_path / "second")
    other = runs.train(config.replace(seed=1), tmp_path / "other")
    assert weights(first.out) == weights(second.out) != weights(other.out)


def test_the_config_names_the_backend_that_ran_and_the_threads(
    config: TrainConfig, tmp_path: Path, backend: str
) -> None:
    run = runs.train(config.replace(epochs=1, backend=backend), tmp_path / "run")
    settings = json.loads((run.out / "config.json").read_text())
    assert settings["made_by"]["backends"] == [backends.get(backend).name]
    assert settings["threads"] == torch.get_num_threads()


def test_an_interrupted_run_goes_on_to_the_bits_of_a_whole_one(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = config.replace(epochs=3)
    whole = runs.train(config, tmp_path / "whole")
    out = tmp_path / "stopped"
    with pytest.raises(runs.Interrupted, match=r"after epoch 1 are kept in .*--resume --out"):
        runs.train(config, out, callbacks=[Interrupt(5)])
    assert names(out) == AFTER_ONE_EPOCH
    resumed = runs.train(runs.resumable(out), out, resume=True)
    assert weights(out) == weights(whole.out)
    assert [row.epoch for row in resumed.history] == [1, 2, 3]
    assert (out / "metrics.csv").read_text().count("\n") == 4


def test_a_run_can_be_resumed_for_more_epochs(config: TrainConfig, tmp_path: Path) -> None:
    out = runs.train(config, tmp_path / "run").out
    more = runs.train(runs.resumable(out).replace(epochs=4), out, resume=True)
    assert len(more.history) == 4
    assert load_config(out).epochs == 4


def test_interrupted_before_the_first_epoch_ends_nothing_is_left(
    config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(runs.Interrupted, match="no epoch was complete, so nothing is kept"):
        runs.train(config, tmp_path / "run", callbacks=[Interrupt(2)])
    assert not (tmp_path / "run").exists()


def test_a_diverged_run_keeps_its_last_good_epoch(config: TrainConfig, tmp_path: Path) -> None:
    config = config.replace(optimizer="sgd", epochs=3)
    with pytest.raises(DivergedError, match=r"in epoch 2.*lower the.*after epoch 1 are kept"):
        runs.train(config, tmp_path / "run", callbacks=[Explode(1)])
    assert names(tmp_path / "run") == AFTER_ONE_EPOCH
    model = scratchnet.load(tmp_path / "run" / "model.safetensors")
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_run_that_diverges_at_once_leaves_nothing(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="nothing is kept"):
        runs.train(config.replace(optimizer="sgd"), tmp_path / "run", callbacks=[Explode(0)])
    assert not (tmp_path / "run").exists()


def test_runs_get_numbered_folders(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "quick-2").mkdir(parents=True)
    config = config.replace(epochs=1)
    assert runs.train(config).out == Path("runs/quick-1")
    assert runs.train(config).out == Path("runs/quick-3")


def test_a_folder_in_use_is_refused_and_kept(config: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ScratchnetError, match=r"is not empty: .*--resume.*--force"):
        runs.train(config, out)
    assert names(out) == ["thesis.txt"]
    with pytest.raises(ScratchnetError, match="is a file"):
        runs.train(config, out / "thesis.txt")


def test_force_replaces_the_run_and_nothing_else(config: TrainConfig, tmp_path: Path) -> None:
    out = runs.train(config, tmp_path / "run").out
    (out / "thesis.txt").write_text("irreplaceable")
    runs.train(config.replace(epochs=1), out, force=True)
    assert names(out) == sorted([*AFTER_ONE_EPOCH, "thesis.txt"])
    assert (out / "metrics.csv").read_text().count("\n") == 2


def test_a_mistake_is_found_before_the_earlier_run_is_touched(
    config: TrainConfig, tmp_path: Path
) -> None:
    out = runs.train(config, tmp_path / "run").out
    before = {name: (out / name).read_bytes() for name in FILES}
    for mistake in (
        {"model": "nonesuch", "model_args": {}},
        {"schedule": "nonesuch"},
        {"nesterov": True, "optimizer": "sgd"},
        {"model_args": {"wings": 2}},
        {"backend": "nonesuch"},
        {"data": str(tmp_path / "nowhere")},
    ):
        with pytest.raises(ScratchnetError):
            runs.train(config.replace(**mistake), out, force=True)
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ScratchnetError, match="no run to resume"):
        runs.resumable(tmp_path)


def test_data_can_be_limited(config: TrainConfig) -> None:
    data = sources.load_data(config.replace(n_train=5, n_val=2))
    assert (len(data.noisy_a), len(data.noisy_b), len(data.val_noisy)) == (5, 5, 2)
    whole = sources.load_data(config.replace(n_train=None, n_val=None))
    assert (len(whole.noisy_a), len(whole.val_target)) == (24, 6)


def test_images_from_folders(tmp_path: Path) -> None:
    for folder, seed in (("clean", None), ("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        for i in range(4):
            image = tiny.clean_images(1, 48, 40, seed=i)
            if seed is not None:
                image = tiny.noisy(image, seed)
            Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(tmp_path / folder / f"{i}.png")
    config = tiny.config(noise="gaussian:20", epochs=1)
    clean = sources.load_data(config.with_options(images=str(tmp_path / "clean")))
    assert clean.noisy_a.shape == (24, 3, 16, 16)
    assert clean.val_is_clean
    run = runs.train(
        config.with_options(noisy_a=str(tmp_path / "a"), noisy_b=str(tmp_path / "b")),
        tmp_path / "run",
    )
    assert len(run.history) == 1


def test_validation_data_alone_are_those_of_the_training(config: TrainConfig) -> None:
    for settings in (config, tiny.config(noise="impulse:0.1")):
        both, alone = sources.load_data(settings), sources.load_validation(settings)
        assert torch.equal(both.val_noisy, alone.val_noisy)
        assert torch.equal(both.val_target, alone.val_target)
        assert alone.source.startswith("6 validation images of 16x16 ")
