"""Runs that end at any moment, and what the next process makes of what they left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import killed
import pytest
import tiny
import torch
from commandline import Cli
from crowded import little_room

from scratchnet.errors import ScratchnetError
from scratchnet.training import rundir, runs
from scratchnet.training.config import TrainConfig
from scratchnet.training.trainer import Callback, Step, Trainer


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return tiny.config(data=str(tiny.data_dir(tmp_path_factory.mktemp("data"))), augment=True)


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of a run this small, and are not what is tested."""
    monkeypatch.setattr(runs, "psnr_curve", lambda path, *a, **k: path.touch())
    monkeypatch.setattr(runs, "sample_sheet", lambda path, *a, **k: path.touch())


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    killed.train(config, out)
    return killed.outcome(out)


class Ask(Callback):
    """Sends signals to this process at a step."""

    def __init__(self, step: int, *signals: int) -> None:
        self.step, self.signals = step, signals

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == self.step:
            for number in self.signals:
                os.kill(os.getpid(), number)


def test_killed_at_any_change_of_a_directory_it_goes_on_to_the_same_bits(
    config: TrainConfig, tmp_path: Path, whole: dict[str, Any]
) -> None:
    """Every change of the first epoch's end, where most of them are; the script does them all."""
    for at in range(1, 200, 5):
        out = tmp_path / str(at)
        work = killed.counted(lambda out=out: killed.train(config, out), at)  # type: ignore[misc]
        if killed.in_a_child(work) == 0:
            assert at > 60
            break
        killed.go_on(config, out)
        assert killed.outcome(out) == whole, f"killed at change {at}"
    else:
        pytest.fail("the run was never done")


def test_killed_while_it_takes_the_place_of_another_run(
    config: TrainConfig, tmp_path: Path
) -> None:
    """There is the old run or the new one to go on with, at every moment."""
    new = config.replace(epochs=1)
    old = new.replace(seed=5)
    killed.train(new, tmp_path / "new")
    expected = killed.outcome(tmp_path / "new")
    for at in range(1, 60, 3):
        out = tmp_path / str(at)
        killed.train(old, out)
        before = killed.outcome(out)
        work = killed.counted(
            lambda out=out: killed.train(new, out, force=True),  # type: ignore[misc]
            at,
        )
        ended = killed.in_a_child(work)
        seed = runs.resumable(out).seed if not (out / ".commit").exists() else 0
        assert seed in (0, 5)
        if seed == 5 and ended:
            assert killed.outcome(out) | {"files": 0} == before | {"files": 0}
            killed.train(new, out, force=True)
        else:
            killed.train(new, out, resume=True)
        assert killed.outcome(out) == expected, f"killed at change {at}"
        if not ended:
            break


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")])
def test_a_signal_finishes_the_step_and_says_how_to_go_on(
    config: TrainConfig, tmp_path: Path, whole: dict[str, Any], number: int, name: str
) -> None:
    out = tmp_path / "a run"
    before = signal.getsignal(number)
    with pytest.raises(
        runs.Interrupted, match=r"after step 3 are kept in .*--out '.*a run'"
    ) as end:
        runs.train(config, out, callbacks=[Ask(2, number)])
    assert end.value.signal == number
    assert signal.getsignal(number) == before
    killed.train(config, out, resume=True)
    assert killed.outcome(out) == whole


def test_a_second_signal_ends_it_at_once(config: TrainConfig, tmp_path: Path) -> None:
    ask = Ask(2, signal.SIGTERM, signal.SIGTERM)
    ended = killed.in_a_child(
        lambda: runs.train(config, tmp_path / "run", callbacks=[ask]) and None
    )
    assert ended == signal.SIGTERM


def test_ctrl_c_leaves_the_exit_code_of_its_signal(
    cli: Cli, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._train_step

    def train_step(self: Trainer, *images: torch.Tensor) -> float:
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *images)

    monkeypatch.setattr(Trainer, "_train_step", train_step)
    result = cli(
        "train", "--data", config.data, "--out", tmp_path / "run", "--model-arg", "channels=2"
    )
    assert result.code == 128 + signal.SIGTERM
    assert "after step 2 are kept" in result.out


def test_two_processes_do_not_share_a_directory(config: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with rundir.held(out):
        for options in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(ScratchnetError, match=rf"in use by process {os.getpid()}: wait"):
                runs.train(config, out, **options)
    assert not out.exists()


def test_a_lock_dies_with_its_process(config: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()

    def hold() -> None:
        with rundir.held(out):
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed.in_a_child(hold) == signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".lock"]
    runs.train(config.replace(epochs=1), out)
    assert not (out / ".lock").exists()


def test_force_keeps_the_old_run_until_the_new_one_has_something(
    config: TrainConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    killed.train(config.replace(epochs=1), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        ScratchnetError, match=r"nothing of it is kept, and the run in .* as it was"
    ):
        killed.train(config.replace(optimizer="sgd", lr=1e30, schedule="constant"), out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_damaged_checkpoint_is_not_the_only_one(
    config: TrainConfig, tmp_path: Path, whole: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(runs.Interrupted):
        runs.train(config, out, checkpoint_every="1", callbacks=[Ask(4, signal.SIGINT)])
    state = out / rundir.STATE
    state.write_bytes(state.read_bytes()[:-40])
    with pytest.warns(UserWarning, match=r"not a readable .*; going on from checkpoint-before"):
        killed.train(config, out, resume=True)
    assert killed.outcome(out) == whole
    for name in (rundir.STATE, rundir.BEFORE):
        (out / name).write_bytes(b"no")
    with pytest.raises(ScratchnetError, match="not a readable safetensors file"):
        killed.train(config, out, resume=True)


def test_the_best_weights_are_kept(config: TrainConfig, tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_validate(self, trainer: Trainer) -> None:
            if trainer.epoch == 1:
                for value in trainer.model.parameters():
                    value.add_(1)

    history = runs.train(config, tmp_path / "run", callbacks=[Spoil()]).history
    assert history[0].val_psnr > history[1].val_psnr
    best, last = ((tmp_path / "run" / name).read_bytes() for name in (rundir.BEST, rundir.WEIGHTS))
    assert best != last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 1 here and 0 there"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd' here and 'adam' there"),
        ({"batch_size": 4}, "batch_size is 4 here and 8 there"),
        ({"epochs": 1}, r"has done 2 epochs: epochs must be at least 2 to resume it, got 1"),
    ],
)
def test_no_other_run_is_resumed(
    config: TrainConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "run"
    killed.train(config, out)
    before = killed.outcome(out)
    with pytest.raises(ScratchnetError, match=message):
        killed.train(config.replace(**change), out, resume=True)
    assert killed.outcome(out) == before


@pytest.mark.parametrize("every", ["0", "-1", "1.5", "often", "0m", "5 h", ""])
def test_how_often_must_make_sense(config: TrainConfig, tmp_path: Path, every: str) -> None:
    with pytest.raises(ScratchnetError, match="checkpoint-every must be a number of steps"):
        runs.train(config, tmp_path / "run", checkpoint_every=every)


def test_minutes_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    due = runs._Due("1.5 minutes")
    answers = []
    for step in range(1, 5):
        now += 60
        answers.append(due(step))
    assert answers == [False, True, False, True]


def test_a_disk_that_fills_up_ends_a_run_in_one_line_and_loses_nothing(
    config: TrainConfig, tmp_path: Path, whole: dict[str, Any]
) -> None:
    class Fill(Callback):
        def on_epoch(self, trainer: Trainer, epoch: object) -> None:
            self.room = little_room(100)
            self.room.__enter__()

    fill, out = Fill(), tmp_path / "run"
    try:
        with pytest.raises(ScratchnetError, match=r"cannot write .*: File too large"):
            killed.train(config, out, callbacks=[fill])
    finally:
        fill.room.__exit__(None, None, None)
    killed.train(config, out, resume=True)
    assert killed.outcome(out) == whole


def test_a_directory_that_may_not_be_written_is_one_line(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rundir, "_locked", refuse)
    with pytest.raises(ScratchnetError, match=r"cannot use the directory .*: Permission denied"):
        runs.train(config, tmp_path / "run")


def test_a_launcher_of_several_processes_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would train the whole run, and say nothing of the others."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = cli("train", "--out", tmp_path / "run")
    assert result.code == 1
    assert "train runs in one process, and a launcher such as torchrun started 2" in result.err
    assert not (tmp_path / "run").exists()
