from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import tiny
import torch

import scratchnet
from scratchnet.data import batches, to_float
from scratchnet.errors import ScratchnetError, ShapeError
from scratchnet.optim import SGD, Adam, Optimizer, schedule
from scratchnet.training.trainer import Callback, DivergedError, Epoch, Step, Trainer

OPTIMIZERS: dict[str, Callable[[scratchnet.Module], Optimizer]] = {
    "sgd": lambda m: SGD(m.param(), 0.5, momentum=0.9, nesterov=True),
    "adam": lambda m: Adam(m.param(), 0.01),
}


def make(
    optimizer: str = "adam",
    *,
    seed: int = 0,
    epochs: int = 2,
    augment: bool = False,
    callbacks: list[Callback] | None = None,
) -> Trainer:
    generator = torch.Generator().manual_seed(seed)
    model = scratchnet.models.residual(channels=4, depth=2, generator=generator)
    return Trainer(
        model,
        OPTIMIZERS[optimizer](model),
        tiny.pairs(n=20),  # not a multiple of the batch size
        batch_size=8,
        epochs=epochs,
        schedule=schedule.one_cycle,
        generator=generator,
        augment=augment,
        callbacks=callbacks or [],
    )


def bits(trainer: Trainer) -> list[bytes]:
    return [value.numpy().tobytes() for value in trainer.model.state_dict().values()]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(backend: str) -> None:
    first, second, other = make(seed=3), make(seed=3), make(seed=4)
    for trainer in (first, second, other):
        trainer.fit()
    assert bits(first) == bits(second)
    assert bits(first) != bits(other)


def test_training_equals_a_loop_in_torch_nn() -> None:
    data = tiny.pairs(n=20)
    model = scratchnet.Sequential(
        scratchnet.Conv2d(3, 5, 3, padding=1),
        scratchnet.ReLU(),
        scratchnet.Conv2d(5, 3, 3, padding=1),
    ).to(dtype=torch.float64)
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(5, 3, 3, padding=1)
    ).double()
    twin.load_state_dict(model.state_dict())
    trainer = Trainer(
        model,
        SGD(model.param(), 0.5),
        data,
        batch_size=8,
        epochs=2,
        schedule=schedule.cosine,
        generator=torch.Generator().manual_seed(5),
        dtype=torch.float64,
    )
    history = trainer.fit()

    optimizer = torch.optim.SGD(twin.parameters(), 0.5)
    generator, step = torch.Generator().manual_seed(5), 0
    for epoch in range(2):
        total = 0.0
        for chosen in batches(20, 8, generator):
            optimizer.param_groups[0]["lr"] = 0.5 * schedule.cosine(step, 6)
            x, y = (to_float(t[chosen]).double() for t in (data.noisy_a, data.noisy_b))
            loss = torch.nn.functional.mse_loss(twin(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
            step += 1
        assert history[epoch].loss == pytest.approx(total / 20, rel=1e-9)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-9, atol=1e-12)


class StopAt(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


class Keep(Callback):
    """The state after the last complete epoch, as a run keeps it on disk."""

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        state = trainer.state()
        state.model = {k: v.clone() for k, v in state.model.items()}
        state.optimizer = copy.deepcopy(state.optimizer)
        self.state = state


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(
    optimizer: str, augment: bool
) -> None:
    whole = make(optimizer, epochs=3, augment=augment)
    whole.fit()

    keep = Keep()
    stopped = make(  # in the middle of epoch 2
        optimizer, epochs=3, augment=augment, callbacks=[keep, StopAt(5)]
    )
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    assert keep.state.epoch == 1

    resumed = make(optimizer, epochs=3, seed=99, augment=augment)
    resumed.resume(keep.state)
    resumed.fit()
    assert bits(resumed) == bits(whole)
    assert [row.val_psnr for row in resumed.history] == [row.val_psnr for row in whole.history]
    assert resumed.step == whole.step == 9


def test_a_state_of_before_optimizers_had_groups_can_be_resumed() -> None:
    """One "step" for all parameters, as runs were kept then."""
    whole = make("adam", epochs=3)
    whole.fit()
    keep = Keep()
    stopped = make("adam", epochs=3, callbacks=[keep, StopAt(5)])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    state = keep.state.optimizer
    steps = {int(state.pop(key)) for key in [k for k in state if k.startswith("step.")]}
    (state["step"],) = map(torch.tensor, steps)
    resumed = make("adam", epochs=3, seed=99)
    resumed.resume(keep.state)
    resumed.fit()
    assert bits(resumed) == bits(whole)


def test_augmented_training_also_learns_from_the_second_image_of_a_pair() -> None:
    """Without, the second one is only ever a target, and never upside down."""
    trainer = make(augment=True)
    a, b = trainer.data.noisy_a, trainer.data.noisy_b
    inputs = [image for _ in range(60) for noisy, _ in trainer.batches() for image in noisy]

    def seen(images: torch.Tensor) -> bool:
        floats = to_float(images)
        return any(torch.equal(x, one) for x in inputs for one in floats)

    assert seen(a)
    assert seen(b)
    assert seen(a.flip(2))
    assert seen(b.flip(3).transpose(2, 3))
    plain = [image for noisy, _ in make().batches() for image in noisy]
    assert {tuple(p.flatten().tolist()) for p in plain} == {
        tuple(p.flatten().tolist()) for p in to_float(a)
    }


def test_resuming_with_another_network_says_what_does_not_fit() -> None:
    trainer = make()
    state = trainer.state()
    state.model = {"0.weight": torch.zeros(1)}
    with pytest.raises(ScratchnetError, match=r"missing .*body\.0\.weight"):
        trainer.resume(state)


def test_training_learns_and_reports_every_step_and_epoch() -> None:
    seen: list[str] = []

    class Watch(Callback):
        def on_begin(self, trainer: Trainer) -> None:
            seen.append("begin")

        def on_step(self, trainer: Trainer, step: Step) -> None:
            seen.append(f"step {step.epoch}.{step.step} of {step.images}")

        def on_validate(self, trainer: Trainer) -> None:
            seen.append("validate")

        def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
            seen.append(f"epoch {epoch.epoch}")

    trainer = make(epochs=2, callbacks=[Watch()])
    history = trainer.fit()
    assert seen == [
        "begin",
        *("step 1.1 of 8", "step 1.2 of 8", "step 1.3 of 4", "validate", "epoch 1"),
        *("step 2.4 of 8", "step 2.5 of 8", "step 2.6 of 4", "validate", "epoch 2"),
    ]
    assert history[1].loss < history[0].loss
    assert [row.step for row in history] == [3, 6]
    assert history[1].lr == pytest.approx(0.01 * schedule.one_cycle(5, 6))
    assert history[0].images_per_second == pytest.approx(20 / history[0].seconds)


def test_the_validation_psnr_is_that_of_the_clipped_output_on_everything() -> None:
    trainer = make(epochs=1)
    (row,) = trainer.fit()
    out = trainer.model.forward(to_float(trainer.data.val_noisy)).clamp(0, 1)
    target = to_float(trainer.data.val_target)
    assert row.val_psnr == pytest.approx(scratchnet.psnr(out, target), abs=1e-6)
    per_image = scratchnet.psnr(out, target, reduction="per_image")
    assert row.val_psnr_per_image == pytest.approx(per_image, abs=1e-6)


def test_a_loss_that_is_not_finite_stops_with_a_cure_and_leaves_the_weights_alone() -> None:
    trainer = make("sgd")
    with torch.no_grad():
        trainer.model.param()[0][0].fill_(float("inf"))
    before = bits(trainer)
    with pytest.raises(DivergedError, match=r"loss became (nan|inf) in epoch 1, .*lower the"):
        trainer.fit()
    assert bits(trainer) == before
    assert trainer.epoch == 0


def test_an_output_that_is_not_finite_at_validation_is_not_counted_as_an_epoch() -> None:
    class Break(Callback):
        def on_validate(self, trainer: Trainer) -> None:
            trainer.model.param()[0][0].fill_(float("nan"))

    trainer = make(callbacks=[Break()])
    with pytest.raises(DivergedError, match="no longer finite after epoch 1"):
        trainer.fit()
    assert trainer.epoch == 0


def test_a_network_that_changes_the_size_is_refused() -> None:
    model = scratchnet.Conv2d(3, 3, 3)
    trainer = Trainer(
        model,
        SGD(model.param(), 0.1),
        tiny.pairs(n=4),
        batch_size=2,
        epochs=1,
        schedule=schedule.constant,
        generator=torch.Generator(),
    )
    with pytest.raises(ShapeError, match=r"\(3, 16, 16\) into \(3, 14, 14\)"):
        trainer.fit()
