"""The cases of inference with the paper's network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from scratchnet.bench import step
from scratchnet.bench.contest import Case, Contestant, Outcome, chosen, our_name, plural, short
from scratchnet.compare import rivals
from scratchnet.layers.containers import Sequential


class OurInference:
    """A forward in eval mode.

    Args:
        model: of which to take the output.
        x: images (N, 3, H, W).
        backend: to compute with.
    """

    def __init__(self, model: Sequential, x: Tensor, backend: str) -> None:
        self.model, self.x, self.backend = model.eval(), x, backend

    def run(self) -> None:
        """Forward."""
        with chosen(self.backend):
            self.model.forward(self.x)

    def outcome(self) -> Outcome:
        """Return the output."""
        with chosen(self.backend):
            return {"output": self.model.forward(self.x)}


def inference_case(
    batch: int, threads: int, dtype: torch.dtype, *, backends: Sequence[str], compiled: bool = False
) -> Case:
    """The forward alone, without gradients."""

    def ours(backend: str) -> Contestant:
        model, x, _ = step.start(batch, dtype)
        return OurInference(model, x, backend)

    def theirs(channels_last: bool, better: bool, compile: bool) -> Contestant:
        model, x, _ = step.start(batch, dtype)
        net = rivals.network(
            model, channels_last=channels_last, better_algebra=better, compiled=compile
        )
        return rivals.TorchInference(net, rivals.laid_out(x, channels_last))

    def exact() -> Outcome:
        model, x, _ = step.start(batch, dtype)
        net = rivals.network(model.to(dtype=torch.float64), channels_last=False)
        return rivals.TorchInference(net, x.double()).outcome()

    make: dict[str, Callable[[], Contestant]] = {our_name(b): partial(ours, b) for b in backends}
    for name, how in {**step.TORCH, **(step.COMPILED if compiled else {})}.items():
        make[name] = partial(theirs, *how)
    return Case(
        "inference",
        f"inference, batch {batch}, {plural(threads, 'thread')}, {short(dtype)}",
        threads,
        dtype,
        make,
        exact,
        images=batch,
        work=batch * len(make) / 6 / threads,
    )
