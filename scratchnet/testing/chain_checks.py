"""Checks of ``Backend.chain``: several layers run as one must give what they give one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from scratchnet import backends
from scratchnet.backends.base import Backend, Chain, Link
from scratchnet.backends.one_by_one import OneByOne
from scratchnet.testing.checks import Check
from scratchnet.testing.closeness import (
    ConformanceError,
    assert_close,
    assert_same_bits,
    tolerance,
)
from scratchnet.testing.tensors import laid_out, normal, whole
from scratchnet.testing.threads import at_once, torch_threads

Values = Callable[..., Tensor]


@dataclass(frozen=True)
class ChainCase:
    """A chain and the input it is run on.

    Attributes:
        shape: of the input, (N, C, H, W).
        links: the chain.
        layout: of the input and of the gradient, one of LAYOUTS.
    """

    shape: tuple[int, int, int, int]
    links: tuple[Link, ...]
    layout: str = "contiguous"

    def __str__(self) -> str:
        steps = " -> ".join(
            f"{'up ' if link.scale else ''}conv {link.in_channels}:{link.out_channels} "
            f"k{link.kernel_size} s{link.stride} p{link.padding} d{link.dilation} g{link.groups} "
            f"{link.activation}"
            for link in self.links
        )
        return f"{self.shape} [{self.layout}] {steps}"


def _link(
    c: int,
    o: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 1,
    dilation: int = 1,
    groups: int = 1,
    scale: int | None = None,
    activation: str = "relu",
) -> Link:
    def pair(value: int | tuple[int, int]) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else value

    return Link(
        c,
        o,
        pair(kernel),
        pair(stride),
        pair(padding),
        pair(dilation),
        groups,
        None if scale is None else pair(scale),
        activation,  # type: ignore[arg-type]
    )


_NETWORK = (
    _link(3, 8, stride=2),
    _link(8, 8, stride=2),
    _link(8, 8, scale=2),
    _link(8, 3, scale=2, activation="sigmoid"),
)
CHAINS = [
    ChainCase((3, 3, 8, 12), _NETWORK),
    ChainCase((1, 3, 4, 4), _NETWORK, "channels_last"),
    ChainCase((0, 3, 8, 8), _NETWORK),
    ChainCase((2, 3, 9, 7), (_link(3, 5, (3, 2), padding=(0, 2)), _link(5, 4, 1, padding=0))),
    ChainCase((2, 4, 7, 5), (_link(4, 6, groups=2), _link(6, 4, stride=(2, 1), activation="none"))),
    ChainCase((2, 6, 7, 5), (_link(6, 6, groups=6, activation="none"), _link(6, 2)), "sliced"),
    ChainCase((2, 2, 11, 13), (_link(2, 3, dilation=2, padding=2), _link(3, 2, 5, padding=2))),
    ChainCase((1, 1, 1, 1), (_link(1, 1), _link(1, 1, 1, padding=0, activation="sigmoid"))),
    ChainCase((2, 3, 5, 4), (_link(3, 2, scale=3), _link(2, 7, activation="none")), "transposed"),
    ChainCase((2, 7, 5, 6), tuple(_link(7, 7) for _ in range(5)), "offset"),
    ChainCase((2, 17, 6, 5), (_link(17, 33), _link(33, 9, activation="sigmoid"))),
    ChainCase((2, 3, 6, 6), (_link(3, 4, padding=3), _link(4, 4, stride=3, padding=0))),
    ChainCase((5, 3, 16, 16), (_link(3, 32, stride=2), _link(32, 3, scale=2, activation="none"))),
    ChainCase((3, 3, 6, 7), (_link(3, 4, activation="sigmoid"),)),
]


class _Run:
    """Tensors for one case, and what a backend makes of them."""

    def __init__(self, case: ChainCase, dtype: torch.dtype, values: Values) -> None:
        most = {"most": 1} if values is whole else {}
        self.case, self.dtype = case, dtype
        self.x = laid_out(values(case.shape, dtype, 1, **most), case.layout)
        self.weights = [
            values((k.out_channels, k.in_channels // k.groups, *k.kernel_size), dtype, i, **most)
            for i, k in enumerate(case.links, start=10)
        ]
        self.biases: list[Tensor | None] = [
            None if i % 3 == 2 else values((link.out_channels,), dtype, 30 + i, **most)
            for i, link in enumerate(case.links)
        ]
        if values is normal:  # keep the numbers near 1 through all links
            self.weights = [w / max(1, w[0].numel()) ** 0.5 for w in self.weights]
        self.grad_y = laid_out(
            values(self._y_shape(), dtype, 2, **most),
            "contiguous" if case.layout == "sliced" else case.layout,
        )

    def _y_shape(self) -> tuple[int, int, int, int]:
        n, _, h, w = self.case.shape
        for link in self.case.links:
            up = link.scale or (1, 1)
            h, w = (
                (size * u + 2 * p - d * (k - 1) - 1) // s + 1
                for size, u, p, d, k, s in zip(
                    (h, w),
                    up,
                    link.padding,
                    link.dilation,
                    link.kernel_size,
                    link.stride,
                    strict=True,
                )
            )
        return n, self.case.links[-1].out_channels, h, w

    def chain(self, backend: Backend) -> Chain | None:
        """Return the backend's chain for this input, or None if it runs them one by one."""
        if backend.supports("chain", self.x, self.case.links, *self.weights) is not True:
            return None
        return backend.chain(self.x, self.case.links)

    def chained(self, chain: Chain, *, needs_grad_x: bool = True) -> list[tuple[str, Tensor]]:
        """Return (what, tensor) of one forward and backward, gradients added to ones."""
        grad_weights = [torch.ones_like(w) for w in self.weights]
        grad_biases = [None if b is None else torch.ones_like(b) for b in self.biases]
        y, kept = chain.forward(self.x, self.weights, self.biases, keep=True)
        grad_x = chain.backward(
            self.grad_y,
            self.x,
            y,
            kept,
            self.weights,
            grad_weights,
            grad_biases,
            needs_grad_x=needs_grad_x,
        )
        return self._named(y, grad_x, grad_weights, grad_biases)

    def one_by_one(self, backend: Backend) -> list[tuple[str, Tensor]]:
        """Return the same, by the backend's plain operations."""
        return self.chained(OneByOne(backend, self.case.links))

    def _named(
        self,
        y: Tensor,
        grad_x: Tensor | None,
        grad_weights: list[Tensor],
        grad_biases: list[Tensor | None],
    ) -> list[tuple[str, Tensor]]:
        named = [("output", y)] if grad_x is None else [("output", y), ("grad_x", grad_x)]
        for i, (grad_weight, grad_bias) in enumerate(zip(grad_weights, grad_biases, strict=True)):
            named.append((f"grad_weight of link {i} (added to ones)", grad_weight))
            if grad_bias is not None:
                named.append((f"grad_bias of link {i} (added to ones)", grad_bias))
        return [(f"{what}, {self.dtype}, {self.case}", tensor) for what, tensor in named]


def chain_checks(backend: Backend, subject: str) -> list[Check]:
    """Return the checks of ``backend.chain``; none if it never runs layers as one."""
    if type(backend).chain is Backend.chain:
        return []
    bodies = (_exact, _close, _needs_grad_x, _pure, _run_to_run, _threads, _concurrent)
    return [
        Check(f"chain/{body.__name__.removeprefix('_')}", subject, partial(body, backend))
        for body in bodies
    ]


def _runs(
    backend: Backend, dtypes: tuple[torch.dtype, ...], values: Values
) -> Iterator[tuple[_Run, Chain]]:
    for case in CHAINS:
        for dtype in dtypes:
            run = _Run(case, dtype, values)
            chain = run.chain(backend)
            if chain is not None:
                yield run, chain


def _exact(backend: Backend) -> str:
    """The reference's bits on whole numbers, where they are exact and no sigmoid comes between."""
    reference, count = backends.get("reference"), 0
    for run, chain in _runs(backend, (torch.float32, torch.float64), whole):
        if any(link.activation == "sigmoid" for link in run.case.links):
            continue
        expected = run.one_by_one(reference)
        limit = 2**23 if run.dtype == torch.float32 else 2**52
        if any(tensor.numel() and tensor.abs().max() > limit / 64 for _, tensor in expected):
            continue
        for (what, actual), (_, same) in zip(run.chained(chain), expected, strict=True):
            assert_same_bits(actual, same, what)
            count += 1
    return f"{count} tensors"


def _close(backend: Backend) -> str:
    """Within rounding of the reference, link by link, on random numbers."""
    reference, worst = backends.get("reference"), 0.0
    for run, chain in _runs(backend, (torch.float32, torch.float64), normal):
        rtol = 2 * len(run.weights) * tolerance(run.dtype, 400)
        for (what, actual), (_, expected) in zip(
            run.chained(chain), run.one_by_one(reference), strict=True
        ):
            error = assert_close(actual, expected, what, rtol=rtol)
            worst = max(worst, error / torch.finfo(run.dtype).eps)
        y, _ = chain.forward(run.x, run.weights, run.biases, keep=False)
        assert_same_bits(y, run.chained(chain)[0][1], f"output without keep, {run.case}")
    return f"largest error {worst:.2g} ε"


def _needs_grad_x(backend: Backend) -> str:
    """Where the input's gradient is not wanted it is None, and the others are the same bits."""
    for run, chain in _runs(backend, (torch.float32, torch.float64), normal):
        (_, y), (what, _), *gradients = run.chained(chain)
        results = run.chained(chain, needs_grad_x=False)
        if len(results) != len(gradients) + 1:
            raise ConformanceError(f"{what} is returned though needs_grad_x is False")
        for (what, actual), (_, same) in zip(results, [("", y), *gradients], strict=True):
            assert_same_bits(actual, same, f"{what}, without grad_x")
    return ""


def _pure(backend: Backend) -> str:
    """Nothing but the gradient buffers is written to, and results share no memory with inputs."""
    for run, chain in _runs(backend, (torch.float32,), normal):
        biases = [bias for bias in run.biases if bias is not None]
        given = [run.x, run.grad_y, *run.weights, *biases]
        before = [tensor.clone() for tensor in given]
        (_, y), (_, grad_x), *_ = run.chained(chain)
        for tensor, kept in zip(given, before, strict=True):
            assert_same_bits(tensor, kept, f"an argument of {run.case} was written to")
        memory = {tensor.untyped_storage().data_ptr() for tensor in given if tensor.numel()}
        for what, result in (("the output", y), ("grad_x", grad_x)):
            if result.numel() and result.untyped_storage().data_ptr() in memory:
                raise ConformanceError(f"{what} of {run.case} shares memory with an argument")
    return ""


def _run_to_run(backend: Backend) -> str:
    """The same bits each time."""
    for run, chain in _runs(backend, (torch.float32,), normal):
        first = run.chained(chain)
        for (what, actual), (_, expected) in zip(run.chained(chain), first, strict=True):
            assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def _threads(backend: Backend) -> str:
    """With 1, 2, 3 and 8 of torch's threads: within rounding."""
    for run, chain in _runs(backend, (torch.float32,), normal):
        with torch_threads(1):
            single = run.chained(chain)
        rtol = 2 * len(run.weights) * tolerance(run.dtype, 400)
        for count in (2, 3, 8):
            with torch_threads(count):
                several = run.chained(chain)
            for (what, actual), (_, expected) in zip(several, single, strict=True):
                assert_close(actual, expected, f"{what}, {count} threads against 1", rtol=rtol)
    return ""


def _concurrent(backend: Backend) -> str:
    """One chain called from four Python threads at once gives each its own result."""
    runs = [_Run(CHAINS[0], torch.float32, normal) for _ in range(4)]
    for i, run in enumerate(runs):
        run.x = run.x * (i + 1)
    made = [run.chain(backend) for run in runs]
    expected = [
        run.chained(chain) for run, chain in zip(runs, made, strict=True) if chain is not None
    ]

    def work(i: int, chain: Chain) -> None:
        for _ in range(10):
            for (what, actual), (_, same) in zip(runs[i].chained(chain), expected[i], strict=True):
                assert_same_bits(actual, same, f"{what}, while other threads call, too")

    at_once([partial(work, i, chain) for i, chain in enumerate(made) if chain is not None])
    return ""
