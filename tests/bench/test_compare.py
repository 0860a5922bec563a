"""The comparison with torch.nn: fair, able to fail, and reported as it was measured."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from page import read_page
from PIL import Image

import scratchnet
from scratchnet.bench import DEFAULTS, Comparison, compare, work, write_report
from scratchnet.bench.contest import OURS
from scratchnet.bench.learning import TORCH, TORCH_LAST, Trace, contestant
from scratchnet.bench.memory import Memory, measure, peak
from scratchnet.errors import ArgumentError
from scratchnet.layers.loss import registry
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import Callback, DivergedError, Step, Trainer

SMALL = DEFAULTS.replace(batch_size=8, epochs=2, n_train=20, n_val=6, size=16)


@pytest.fixture(scope="module")
def result() -> Comparison:
    return compare(SMALL, tiny.pairs(n=20), seeds=2, with_memory=False)


def run(config: TrainConfig = SMALL, **arguments: object) -> Comparison:
    given = {"seeds": 1, "with_memory": False, "layouts": ["contiguous"], **arguments}
    return compare(config, tiny.pairs(n=20), **given)


def test_our_side_is_what_training_does(result: Comparison) -> None:
    losses = []

    class Listener(Callback):
        def on_step(self, trainer: Trainer, step: Step) -> None:
            losses.append(step.loss)

    history = make_trainer(replace(SMALL, seed=1), tiny.pairs(n=20), [Listener()]).fit()
    trace = result.traces[OURS][1]
    assert trace.seed == 1
    assert trace.losses == losses
    assert trace.psnr == [epoch.val_psnr for epoch in history]


def test_all_start_alike_and_stay_close_at_first(result: Comparison) -> None:
    assert result.names == [OURS, TORCH, TORCH_LAST]
    for traces in zip(*result.traces.values(), strict=True):
        assert {trace.seed for trace in traces} in ({0}, {1})
        assert {len(t.losses) for t in traces} == {len(t.seconds) for t in traces} == {6}
        ours, *others = (torch.tensor(trace.losses) for trace in traces)
        for theirs in others:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)
    assert result.traces[OURS][0].losses != result.traces[OURS][1].losses


def test_equal_in_float64_and_as_exact_in_float32(result: Comparison) -> None:
    assert len(result.losses.ours) == 50
    assert result.losses.equal
    assert result.losses.worst <= 1e-9
    assert result.losses.ours[-1] != result.losses.ours[0]
    assert [row.name for row in result.gradients] == list(make_trainer(
        SMALL, tiny.pairs(n=20)
    ).model.state_dict())  # fmt: skip
    for row in result.gradients:
        assert row.largest > 0
        assert all(0 < error < 1e-4 for error in row.errors.values())


def test_a_wrong_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scratchnet.Sigmoid.backward

    def wrong(self: scratchnet.Sigmoid, *grads: torch.Tensor) -> torch.Tensor:
        return right(self, *grads) * (1 + 1e-5)

    monkeypatch.setattr(scratchnet.Sigmoid, "backward", wrong)
    found = run()
    assert not found.losses.equal
    assert "NOT equal" in found.equality()
    worst = {n: max(row.errors[n] for row in found.gradients) for n in found.names}
    assert worst[OURS] > 5e-6 > worst[TORCH]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "lr": 1e-3, "schedule": "one-cycle", "weight_decay": 1e-3},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01, "schedule": "cosine"},
        {"momentum": 0.5, "dampening": 0.3, "dtype": "float64", "augment": True},
        {"model": "unet", "model_args": {"channels": 4, "deep": 6}, "lr": 0.1},
        {"model": "residual", "model_args": {"channels": 4, "depth": 2}, "lr": 0.1},
    ],
)
def test_every_setting_means_the_same_on_both_sides(changes: dict[str, object]) -> None:
    found = run(SMALL.with_options(**changes))
    assert found.losses.worst <= 1e-9
    ours, theirs = (torch.tensor(found.traces[n][0].losses) for n in (OURS, TORCH))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


def test_fewer_trainings_for_torch() -> None:
    done = []
    found = run(seeds=2, torch_seeds=1, on_progress=lambda n, what: done.append(n))
    assert {name: len(traces) for name, traces in found.traces.items()} == {OURS: 2, TORCH: 1}
    assert math.isnan(found.psnr(TORCH)[-1][1])
    assert not math.isnan(found.psnr(OURS)[-1][1])
    total = work(SMALL, tiny.pairs(n=20), seeds=2, torch_seeds=1, layouts=["contiguous"])
    assert sum(done) == total


def test_another_loss_is_trained_with_on_both_sides_or_refused() -> None:
    class Twice(scratchnet.MSE):
        """Twice the mean squared error."""

    registry.register("twice", Twice)
    try:
        with pytest.raises(ArgumentError, match="Twice"):
            run(SMALL.replace(loss="twice"))
    finally:
        registry.unregister("twice")


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": 0}, {"seeds": 1, "torch_seeds": 2}, {"layouts": []}, {"layouts": ["diagonal"]}],
)
def test_wrong_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        run(**wrong)


def test_a_training_that_diverges_says_who_and_what_to_do() -> None:
    with pytest.raises(DivergedError, match=r"the loss of .* became .*: lower the learning rate"):
        run(SMALL.replace(model="residual", model_args={"channels": 4, "depth": 4}, lr=1e12))


class Stop:
    """Ctrl-C after a number of training images."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, images: int, what: str) -> None:
        self.left -= images if what.startswith("seed") else 0
        if self.left <= 0:
            raise KeyboardInterrupt


def test_interrupted_in_the_first_training_its_epochs_are_kept(tmp_path: Path) -> None:
    found = run(SMALL.replace(epochs=3), on_progress=Stop(after=2 * 45), with_memory=True)
    assert found.interrupted
    assert found.epochs == 2
    assert {len(t.losses) for ts in found.traces.values() for t in ts} == {6}
    assert found.memory == {}
    write_report(found, tmp_path)
    assert "interrupted" in read_page(tmp_path / "report.html").text


def test_interrupted_later_whole_trainings_are_kept() -> None:
    found = run(seeds=3, on_progress=Stop(after=2 * 100))
    assert [trace.seed for trace in found.traces[OURS]] == [0, 1]
    assert found.epochs == 2


def test_interrupted_before_there_is_anything() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(on_progress=Stop(after=8))


# -- figures that follow from the measured ones ----------------------------------------------------


def handmade(result: Comparison) -> Comparison:
    """Two epochs of three steps; the first step of each training warms up."""
    ours = [
        Trace(0, [1.0] * 6, [9, 1, 2, 3, 2, 2], [20, 21]),
        Trace(1, [1.0] * 6, [8] + [2] * 5, [22, 25]),
    ]
    theirs = [Trace(0, [1.0] * 6, [50, 4, 4, 6, 8, 8], [20, 23])]
    return replace(result, traces={OURS: ours, TORCH: theirs}, noisy_psnr=19.5)


def test_times_are_medians_without_the_first_step(result: Comparison) -> None:
    made = handmade(result)
    assert made.steps_per_epoch == 3
    assert made.step_seconds(OURS) == 2
    assert made.images_per_second(TORCH) == 8 / 6
    assert made.epoch_seconds(TORCH) == (58 + 22) / 2
    assert made.times_faster(TORCH) == 4  # the median of 4, 2, 2, 4, 4: step by step
    assert made.times_faster(OURS) == 1


def test_quality_is_mean_and_sample_deviation(result: Comparison) -> None:
    made = handmade(result)
    assert made.psnr(OURS) == [(21, pytest.approx(math.sqrt(2))), (23, pytest.approx(math.sqrt(8)))]
    head, rows = made.table()
    assert head == ["", OURS, TORCH]
    table = {what: figures for what, *figures in rows}
    assert table["validation PSNR (dB)"] == ["23.00 ± 2.83", "23.00"]
    assert table["above the noisy input (dB)"] == ["+3.50", "+3.50"]
    assert table["time, times scratchnet's"] == ["1.00", "4.00"]
    assert "peak memory (MB)" not in table


def test_memory_is_shown_where_it_was_measured(result: Comparison) -> None:
    needed = {OURS: Memory(100_000_000, 101_000_000), TORCH: Memory(100_000_000, 130_000_000)}
    table = {w: f for w, *f in replace(handmade(result), memory=needed).table()[1]}
    assert table["peak memory (MB)"] == ["101", "130"]
    assert table["of it since the first step (MB)"] == ["1", "30"]


# -- memory ----------------------------------------------------------------------------------------


def needed_by(name: str, config: TrainConfig, side: int) -> Memory:
    return measure(name, partial(contestant, name, config, (side, side)), config.batch_size, 1)


def test_memory_is_that_of_the_measured_process_alone() -> None:
    ballast = torch.ones(150_000_000)  # 600 MB here must not be seen there
    assert peak() > ballast.nbytes
    config = SMALL.replace(
        model="residual", model_args={"channels": 8, "depth": 3}, batch_size=8, backend="reference"
    )
    needed = needed_by(OURS, config, 128)
    assert 0 < needed.before < peak() - ballast.nbytes // 2
    kept = (
        2 * 8 * 8 * 128 * 128 * 4
    )  # two hidden activations: batch, channels, height, width, bytes
    assert kept < needed.peak - needed.before < 100 * kept


def test_a_measurement_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first line >&2\necho out of memory >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(scratchnet.ScratchnetError, match=r"torch\.nn could not .*: out of memory$"):
        needed_by(TORCH, SMALL, 16)


# -- the report ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(result: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    data = replace(result.data, source="images <of> cats & dogs")
    write_report(replace(result, data=data), out)
    return out


def test_the_page_needs_no_other_file(out: Path) -> None:
    page = read_page(out / "report.html")
    assert all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags
    images = page.images()
    assert len(images) == 5  # four figures and the sheet
    for encoded, image in zip(images, page.shown, strict=True):
        with Image.open(io.BytesIO(encoded)) as opened:
            assert min(opened.size) > 200
        assert image["alt"]
    assert (out / "samples.png").read_bytes() in images


def test_the_page_says_what_was_measured(out: Path, result: Comparison) -> None:
    page = read_page(out / "report.html")
    assert result.equality() in page.text
    assert "images <of> cats & dogs" in page.text
    head, rows = result.table()
    assert page.table_rows[: len(rows) + 1] == [head, *rows]
    names = [row.name for row in result.gradients]
    assert [row[0] for row in page.table_rows if row[0] in names] == names


def test_the_numbers_are_json_that_any_reader_takes(out: Path, result: Comparison) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads((out / "compare.json").read_text(), parse_constant=refuse)
    assert read["summary"][TORCH]["images_per_second"] == result.images_per_second(TORCH)
    assert read["traces"][OURS][1]["losses"] == result.traces[OURS][1].losses
    assert read["float64_losses"]["worst"] == result.losses.worst
    assert TrainConfig().replace(**read["config"]) == result.config
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.json", "compare.png", "report.html", "samples.png",
    ]  # fmt: skip


def test_a_report_of_one_seed_one_epoch_and_one_step(tmp_path: Path) -> None:
    found = run(SMALL.replace(epochs=1, batch_size=32))
    write_report(found, tmp_path / "new" / "folder")
    read = json.loads((tmp_path / "new" / "folder" / "compare.json").read_text())
    assert read["summary"][OURS]["psnr_spread"] is None
