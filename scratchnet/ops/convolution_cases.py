"""The one grid of cases that convolutions are tested on, as operations and as layers.

It is written by hand and by products of small sets, in the order in which the author of a kernel
meets the problems: plain squares, rectangles, strides that do not divide, padding beyond the
kernel, dilation, groups, empty batches. `scratchnet.testing.strategies` draws more of the same
kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, product
from typing import Any

import torch

from scratchnet.errors import ShapeError
from scratchnet.ops.op import LAYOUTS
from scratchnet.ops.op import Case as OpCase
from scratchnet.ops.window import Pair, output_size, output_sizes


@dataclass(frozen=True)
class Case:
    """One convolution, or one upsampling (and convolution), with the way its input lies in memory.

    Attributes:
        n, c, h, w: the input's shape (N, C, H, W).
        o: out-channels.
        kernel, stride, padding, dilation: (vertical, horizontal).
        groups: divides c and o.
        bias: whether there is one.
        scale: of the nearest upsampling before the convolution; (1, 1) for none.
        output_padding: of a transposed convolution with these arguments.
        layout: one of LAYOUTS, for the input and for the gradient of the output.
    """

    n: int = 2
    c: int = 3
    h: int = 7
    w: int = 5
    o: int = 4
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True
    scale: Pair = (1, 1)
    output_padding: Pair = (0, 0)
    layout: str = "contiguous"

    @property
    def geometry(self) -> dict[str, Any]:
        """The options of conv2d."""
        return {**self._steps, "groups": self.groups}

    @property
    def _steps(self) -> dict[str, Pair]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    @property
    def _upsampled(self) -> Pair:
        return self.h * self.scale[0], self.w * self.scale[1]

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return self.n, self.c, self.h, self.w

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(O, C/G, K_h, K_w)."""
        return self.o, self.c // self.groups, *self.kernel

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        """(N, O, H_out, W_out) after upsampling and convolution."""
        size = output_size("conv2d", self._upsampled, kernel_size=self.kernel, **self._steps)
        return self.n, self.o, *size

    @property
    def valid(self) -> bool:
        """Whether the padded input holds the kernel at least once."""
        try:
            return min(self.y_shape[2:]) >= 1
        except ShapeError:
            return False

    def __str__(self) -> str:
        """A test's id: only what differs from the defaults, e.g. ``n2c3o4_7x5_k3x3_s2x1``."""
        parts = [f"n{self.n}c{self.c}o{self.o}_{self.h}x{self.w}_k{_x(self.kernel)}"]
        for letter, value, usual in (
            ("u", self.scale, (1, 1)),
            ("s", self.stride, (1, 1)),
            ("p", self.padding, (0, 0)),
            ("d", self.dilation, (1, 1)),
            ("op", self.output_padding, (0, 0)),
        ):
            if value != usual:
                parts.append(letter + _x(value))
        if self.groups != 1:
            parts.append(f"g{self.groups}")
        if not self.bias:
            parts.append("nobias")
        if self.layout != "contiguous":
            parts.append(self.layout)
        return "_".join(parts)


def _x(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"


_NONE = (0, 0)

BY_HAND = [
    # the smallest there are
    Case(1, 1, 1, 1, 1, (1, 1), padding=_NONE),
    Case(1, 1, 1, 1, 1, (3, 3), padding=(1, 1)),
    Case(1, 1, 1, 1, 1, (1, 1), padding=_NONE, bias=False),
    Case(2, 3, 1, 1, 4, (1, 1), padding=_NONE),
    Case(2, 3, 1, 9, 4, (1, 3), padding=_NONE),
    Case(2, 3, 9, 1, 4, (3, 1), padding=_NONE),
    Case(2, 3, 1, 9, 4, (3, 3), padding=(1, 0)),
    # nothing at all
    Case(0, 3, 7, 5, 4),
    Case(0, 3, 7, 5, 4, stride=(2, 2), layout="channels_last"),
    Case(0, 4, 6, 6, 4, groups=2),
    Case(0, 3, 4, 4, 5, scale=(2, 2)),
    # one image
    Case(1, 3, 7, 5, 4),
    Case(1, 3, 7, 5, 4, layout="channels_last"),
    Case(1, 2, 5, 11, 3, (2, 3), layout="transposed"),
    # the kernel as large as the image, padded or not
    Case(2, 3, 5, 4, 6, (5, 4), padding=_NONE),
    Case(2, 3, 5, 4, 6, (7, 6), padding=(1, 1)),
    Case(2, 3, 2, 2, 6, (3, 3), padding=(1, 1)),
    Case(2, 3, 3, 2, 6, (5, 5), padding=(2, 3)),
    # padding beyond the kernel: places that see nothing but zeros
    Case(2, 3, 4, 5, 2, (1, 1), padding=(2, 3)),
    Case(2, 3, 4, 5, 2, (2, 2), padding=(4, 3), stride=(3, 2)),
    Case(1, 2, 3, 3, 2, (3, 3), padding=(5, 0), stride=(2, 1)),
    # strides: beyond the kernel, not dividing, beyond the image
    Case(2, 3, 11, 13, 4, (1, 1), stride=(2, 2), padding=_NONE),
    Case(2, 3, 11, 13, 4, (2, 2), stride=(3, 5), padding=_NONE),
    Case(2, 3, 12, 12, 4, (3, 3), stride=(2, 2), padding=(1, 1)),
    Case(2, 3, 13, 12, 4, (3, 3), stride=(2, 2), padding=(1, 1), layout="channels_last"),
    Case(2, 3, 6, 7, 4, (3, 3), stride=(9, 9), padding=(1, 1)),
    Case(2, 3, 11, 7, 4, (3, 2), stride=(1, 4), padding=(0, 1)),
    # dilation: uneven, so large that all but one element fall into the padding
    Case(2, 3, 11, 9, 4, (3, 3), padding=(2, 2), dilation=(2, 2)),
    Case(2, 3, 11, 9, 4, (2, 3), padding=(0, 3), dilation=(4, 3), stride=(2, 1)),
    Case(1, 2, 3, 3, 2, (3, 3), padding=(7, 7), dilation=(7, 7)),
    Case(2, 3, 11, 9, 4, (1, 1), padding=_NONE, dilation=(5, 5)),
    # groups, depthwise, depthwise with a multiplier
    Case(2, 4, 7, 5, 6, groups=2),
    Case(2, 6, 7, 5, 3, groups=3, layout="channels_last"),
    Case(2, 6, 7, 5, 6, groups=6),
    Case(2, 19, 6, 9, 19, groups=19),
    Case(3, 35, 7, 6, 35, (2, 3), groups=35, stride=(2, 1), dilation=(1, 2), padding=(1, 2)),
    Case(2, 5, 7, 6, 10, (3, 2), groups=5, stride=(2, 1), padding=(1, 0)),
    Case(2, 5, 9, 7, 5, (5, 3), groups=5, dilation=(1, 2), padding=(2, 2), layout="sliced"),
    Case(1, 8, 6, 6, 8, (1, 1), groups=4, padding=_NONE),
    # channel counts around the widths of vectors and blocks
    Case(2, 1, 7, 5, 1),
    Case(2, 7, 7, 5, 13),
    Case(2, 8, 6, 7, 8),
    Case(1, 17, 5, 6, 9),
    Case(1, 16, 6, 6, 16, layout="channels_last"),
    Case(1, 31, 4, 5, 33, (3, 3)),
    Case(1, 32, 8, 8, 32),
    Case(1, 64, 5, 5, 65, (1, 1), padding=_NONE),
    Case(1, 33, 3, 4, 96, (3, 3)),
    Case(1, 130, 3, 3, 5, (3, 3)),
    Case(1, 3, 5, 5, 130, (3, 3), layout="channels_last"),
    # images around the widths of blocks, and long ones
    Case(2, 3, 16, 16, 4),
    Case(2, 3, 17, 15, 4),
    Case(2, 3, 31, 45, 4, (5, 5), padding=(2, 2)),
    Case(1, 2, 2, 97, 3, (2, 7), padding=(0, 3)),
    Case(1, 2, 97, 2, 3, (7, 2), padding=(3, 0)),
    Case(5, 3, 8, 8, 4, (3, 3)),
    Case(11, 2, 3, 3, 2, (3, 3)),
    Case(2, 3, 14, 14, 8, (7, 7), stride=(2, 2), padding=(3, 3)),
    # as in the networks
    Case(2, 3, 32, 32, 32, (3, 3), stride=(2, 2), padding=(1, 1)),
    Case(2, 32, 16, 16, 32, (3, 3), stride=(2, 2), padding=(1, 1)),
    Case(2, 32, 8, 8, 32, (3, 3), scale=(2, 2)),
    Case(2, 32, 16, 16, 3, (3, 3), scale=(2, 2)),
]

UPSAMPLING = [
    Case(2, 3, 4, 5, 4, scale=(2, 2)),
    Case(1, 3, 1, 1, 4, scale=(2, 2)),
    Case(2, 3, 4, 5, 4, scale=(2, 2), layout="channels_last"),
    Case(2, 3, 4, 5, 4, (3, 3), padding=_NONE, scale=(2, 2)),
    Case(2, 3, 4, 5, 4, (1, 1), padding=_NONE, scale=(3, 3)),
    Case(2, 3, 4, 5, 4, (2, 2), padding=_NONE, scale=(2, 2)),
    Case(2, 3, 4, 5, 4, (5, 5), padding=(2, 2), scale=(2, 2)),
    Case(2, 3, 3, 4, 2, (3, 3), scale=(1, 2)),
    Case(2, 3, 3, 4, 2, (3, 3), scale=(3, 1)),
    Case(2, 3, 3, 4, 2, (4, 3), scale=(3, 2), padding=(2, 1), layout="transposed"),
    Case(2, 3, 4, 3, 2, (3, 3), scale=(2, 2), stride=(2, 2)),
    Case(2, 3, 4, 3, 2, (3, 2), scale=(2, 3), stride=(1, 2), padding=(1, 0)),
    Case(2, 3, 5, 3, 2, (3, 3), scale=(2, 2), dilation=(2, 2), padding=(2, 2)),
    Case(2, 3, 5, 3, 2, (3, 2), scale=(2, 2), dilation=(1, 3), padding=(4, 3)),
    Case(2, 4, 3, 5, 6, (3, 3), scale=(2, 2), groups=2),
    Case(2, 4, 3, 5, 4, (3, 3), scale=(2, 2), groups=4, layout="channels_last"),
    Case(2, 3, 2, 2, 2, (5, 5), scale=(5, 7), padding=(1, 1)),
    Case(1, 1, 7, 2, 1, (3, 3), scale=(2, 2), bias=False),
    Case(2, 8, 3, 3, 9, (3, 3), scale=(4, 4), layout="sliced"),
    Case(2, 2, 3, 3, 3, (6, 6), scale=(2, 2), padding=_NONE),
    Case(1, 17, 3, 5, 24, (3, 3), scale=(2, 2), layout="expanded"),
]

TRANSPOSED = [
    replace(case, output_padding=extra)
    for case, extra in [
        (Case(2, 3, 4, 5, 4, stride=(2, 2)), (1, 1)),
        (Case(2, 3, 4, 5, 4, stride=(2, 3)), (0, 2)),
        (Case(2, 3, 4, 5, 4, (2, 2), stride=(2, 2), padding=_NONE), _NONE),
        (Case(2, 4, 3, 5, 6, (3, 2), stride=(3, 2), groups=2, padding=_NONE), (2, 0)),
        (Case(2, 4, 3, 5, 4, (3, 3), stride=(2, 1), groups=4), (1, 0)),
        (Case(2, 3, 4, 5, 2, dilation=(2, 3), padding=(2, 2)), (1, 2)),
        (Case(1, 1, 1, 1, 1, (4, 4), stride=(2, 2)), _NONE),
        (Case(2, 3, 5, 4, 2, (1, 1), stride=(3, 3), padding=_NONE), (2, 1)),
        (Case(0, 3, 5, 4, 2, stride=(2, 2)), (1, 0)),
        (Case(1, 5, 3, 4, 7, stride=(2, 2), layout="channels_last"), (1, 1)),
        (Case(1, 5, 3, 4, 7, stride=(1, 1), dilation=(3, 3), layout="sliced"), (2, 1)),
        (Case(2, 2, 3, 3, 3, (1, 1), padding=_NONE, dilation=(4, 4)), (3, 2)),
    ]
]


def products() -> list[Case]:
    """Return every combination of small kernels, strides, paddings and dilations that fits.

    Batch, channels, groups and memory layout go round in cycles of different lengths, so that they
    meet each other in many combinations without multiplying the number of cases.
    """
    images = cycle([(7, 5), (6, 8), (5, 11), (9, 6), (8, 13)])
    channels = cycle([(2, 3, 1), (3, 2, 1), (4, 6, 2), (5, 5, 5), (1, 4, 1), (6, 3, 3), (7, 2, 1)])
    batches, biases = cycle([2, 1, 3]), cycle([True, True, False, True])
    layouts = cycle(LAYOUTS + ("contiguous",) * 5)
    cases = []
    for kernel, stride, padding, dilation in product(
        [(1, 1), (2, 2), (3, 3), (3, 1), (2, 5)],
        [(1, 1), (2, 2), (1, 3), (3, 2)],
        [(0, 0), (1, 1), (2, 0), (1, 3)],
        [(1, 1), (1, 2), (2, 2)],
    ):
        if dilation != (1, 1) and kernel == (1, 1):
            continue
        (h, w), (c, o, groups) = next(images), next(channels)
        case = Case(
            next(batches), c, h, w, o, kernel, stride, padding, dilation, groups, next(biases),
            layout=next(layouts),
        )  # fmt: skip
        if case.valid:
            cases.append(case)
    return cases


CONVOLUTIONS = [case for case in BY_HAND if case.scale == (1, 1)] + products()
UPSAMPLED_CONVOLUTIONS = [case for case in BY_HAND if case.scale != (1, 1)] + UPSAMPLING
GRID = list(dict.fromkeys(CONVOLUTIONS + UPSAMPLED_CONVOLUTIONS + TRANSPOSED))

# -- as calls of the operations --------------------------------------------------------------------

_SCALES = [(2, 2), (1, 3), (3, 1), (2, 1)]


def _few(scale: Pair = (1, 1)) -> list[Case]:
    """Return a few for the most expensive checks: small, odd and grouped; and two with enough work
    for several threads.
    """
    common: dict[str, Any] = {"scale": scale}
    return [
        Case(2, 3, 7, 5, 4, **common),
        Case(1, 4, 6, 9, 6, (2, 3), (2, 1), (0, 2), groups=2, **common),
        Case(3, 5, 4, 7, 5, (3, 1), (1, 2), (2, 1), (2, 1), groups=5, **common),
        Case(2, 17, 5, 6, 33, (1, 1), padding=(0, 0), bias=False, **common),
        Case(1, 1, 1, 1, 1, **common),
        Case(7, 12, 19, 17, 10, stride=(2, 1), **common),
        Case(1, 16, 33, 29, 24, groups=2, **common),
    ]


def _calls(cases: list[Case], make: Any, scale: Pair = (1, 1)) -> list[OpCase]:
    grid = [make(case) for case in cases]
    few = [replace(make(case), few=i < 5) for i, case in enumerate(_few(scale))]
    return grid + few


def conv2d_cases() -> list[OpCase]:
    """Return the grid of conv2d, and calls that it must refuse."""

    def call(case: Case) -> OpCase:
        bias = (case.o,) if case.bias else None
        return OpCase((case.x_shape, case.weight_shape, bias), case.geometry, case.layout)

    return _calls(CONVOLUTIONS, call) + _malformed({})


def _malformed(scale: dict[str, Pair]) -> list[OpCase]:
    x, weight, bias = (2, 4, 6, 5), (6, 2, 3, 2), (6,)
    options = {**scale, "groups": 2}
    return [
        OpCase((x[1:], weight, bias), options, error="N, C, H, W"),
        OpCase(((2, 3, 6, 5), weight, bias), options, error="channels"),
        OpCase(((2, 8, 6, 5), weight, bias), options, error="channels"),
        OpCase((x, weight, bias), {**scale, "groups": 4}, error="groups"),
        OpCase((x, weight, (5,)), options, error="bias of 6"),
        OpCase(((2, 4, 1, 0), weight, bias), options, error="smaller than"),
        OpCase((x, weight, bias), {**options, "dilation": (0, 1)}, error="at least 1"),
        OpCase((x, weight, bias), {**options, "stride": (1, 0)}, error="at least 1"),
        OpCase((x, weight, bias), {**options, "padding": (-1, 0)}, error="at least 0"),
        OpCase((x, weight), options, dtypes=(torch.float32, torch.float64), error="one dtype"),
        OpCase((x, weight), options, dtypes=(torch.int64, torch.float32), error="floating-point"),
    ]


def input_grad_cases() -> list[OpCase]:
    """Return the grid of conv2d_input_grad, and calls that it must refuse."""

    def call(case: Case) -> OpCase:
        options = {**case.geometry, "input_size": (case.h, case.w)}
        return OpCase((case.y_shape, case.weight_shape), options, case.layout)

    grad_y, weight, options = (2, 6, 4, 4), (6, 2, 3, 2), {"groups": 2, "input_size": (6, 5)}
    return [
        *_calls(CONVOLUTIONS[::3], call),
        OpCase((grad_y[1:], weight), options, error="N, O"),
        OpCase(((2, 5, 4, 4), weight), options, error="expects grad_y"),
        OpCase(((2, 6, 5, 4), weight), options, error="expects grad_y"),
        OpCase((grad_y, weight), {**options, "groups": 4}, error="groups"),
        OpCase((grad_y, weight), {**options, "input_size": (1, 1)}, error="smaller than"),
    ]


def weight_grad_cases() -> list[OpCase]:
    """Return the grid of conv2d_weight_grad, and calls that it must refuse."""

    def call(case: Case) -> OpCase:
        options = {**case.geometry, "kernel_size": case.kernel}
        return OpCase((case.y_shape, case.x_shape), options, case.layout)

    grad_y, x, options = (2, 6, 4, 4), (2, 4, 6, 5), {"groups": 2, "kernel_size": (3, 2)}
    return [
        *_calls(CONVOLUTIONS[1::3], call),
        OpCase((grad_y, x[1:]), options, error="N, C"),
        OpCase(((3, 6, 4, 4), x), options, error="expects grad_y"),
        OpCase(((2, 6, 4, 3), x), options, error="expects grad_y"),
        OpCase((grad_y, x), {**options, "groups": 4}, error="groups"),
        OpCase((grad_y, x), {**options, "kernel_size": (9, 2)}, error="smaller than"),
    ]


_VOLUMES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    # (N, C, D, H, W), out-channels, and kernel, stride, padding, dilation, groups
    ((1, 1, 1, 1, 1), 1, {"kernel": (1, 1, 1)}),
    ((0, 3, 4, 5, 3), 2, {"kernel": (3, 3, 2), "padding": (1, 1, 0)}),
    ((2, 3, 5, 4, 6), 4, {"kernel": (3, 3, 3), "padding": (1, 1, 1)}),
    ((2, 4, 5, 7, 3), 6, {"kernel": (2, 3, 1), "stride": (2, 1, 3), "groups": 2}),
    ((1, 3, 7, 5, 4), 2, {"kernel": (3, 2, 2), "dilation": (2, 1, 2), "padding": (2, 0, 1)}),
    ((2, 3, 6, 3, 5), 3, {"kernel": (4, 1, 3), "stride": (3, 2, 1), "groups": 3}),
    ((1, 2, 3, 4, 4), 3, {"kernel": (1, 3, 3), "padding": (2, 1, 3), "stride": (2, 1, 2)}),
    ((3, 5, 2, 9, 8), 17, {"kernel": (2, 3, 3), "padding": (0, 1, 1), "bias": False}),
]


def _volume_calls(make: Any) -> list[OpCase]:
    usual = {"stride": (1, 1, 1), "padding": (0, 0, 0), "dilation": (1, 1, 1), "groups": 1}
    calls = []
    for i, (x, o, given) in enumerate(_VOLUMES):
        options = {**usual, **given}
        kernel, bias = options.pop("kernel"), options.pop("bias", True)
        steps = {name: options[name] for name in ("stride", "padding", "dilation")}
        y = (x[0], o, *output_sizes("conv3d", x[2:], kernel_size=kernel, **steps))
        weight = (o, x[1] // options["groups"], *kernel)
        call = make(x, weight, (o,) if bias else None, y, options)
        calls.append(replace(call, few=2 <= i <= 5))
        if i == 2:  # small enough for all of them
            calls += [replace(call, layout=layout) for layout in LAYOUTS[1:]]
    return calls


def conv3d_cases() -> list[OpCase]:
    """Return the grid of conv3d, and calls that it must refuse."""
    x, weight, options = (2, 4, 3, 6, 5), (6, 2, 2, 3, 2), {"groups": 2}
    return [
        *_volume_calls(lambda x, w, b, y, options: OpCase((x, w, b), options)),
        OpCase((x[1:], weight, (6,)), options, error="N, C, D, H, W"),
        OpCase(((2, 3, 3, 6, 5), weight, (6,)), options, error="channels"),
        OpCase((x, weight, (5,)), options, error="bias of 6"),
        OpCase(((2, 4, 1, 6, 5), weight, (6,)), options, error="smaller than"),
        OpCase((x, weight, (6,)), {**options, "stride": (0, 1, 1)}, error="at least 1"),
        OpCase((x, weight), options, dtypes=(torch.int64, torch.float32), error="floating-point"),
    ]


def conv3d_input_grad_cases() -> list[OpCase]:
    """Return the grid of conv3d_input_grad, and calls that it must refuse."""

    def call(x: Any, weight: Any, bias: Any, y: Any, options: dict[str, Any]) -> OpCase:
        return OpCase((y, weight), {**options, "input_size": x[2:]})

    y, weight, options = (2, 6, 2, 4, 4), (6, 2, 2, 3, 2), {"groups": 2, "input_size": (3, 6, 5)}
    return [
        *_volume_calls(call),
        OpCase((y[1:], weight), options, error="N, O"),
        OpCase(((2, 6, 3, 4, 4), weight), options, error="expects grad_y"),
        OpCase((y, weight), {**options, "groups": 4}, error="groups"),
        OpCase((y, weight), {**options, "input_size": (1, 1, 1)}, error="smaller than"),
    ]


def upsample_nearest_cases() -> list[OpCase]:
    """Return the grid of upsample_nearest, and calls that it must refuse."""

    def call(case: Case) -> OpCase:
        return OpCase((case.x_shape,), {"scale": case.scale}, case.layout)

    more = [
        Case(2, 3, 5, 7, scale=scale, layout=layout)
        for scale in [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5)]
        for layout in LAYOUTS
    ]
    return [
        *_calls(UPSAMPLED_CONVOLUTIONS + more, call, (2, 3)),
        OpCase(((3, 4, 5),), {"scale": (2, 2)}, error="N, C, H, W"),
        OpCase(((2, 3, 4, 5),), {"scale": (0, 2)}, error="at least 1"),
        OpCase(((2, 3, 4, 5),), {"scale": (2, 2)}, dtypes=(torch.int64,), error="floating-point"),
    ]


def upsample_conv2d_cases() -> list[OpCase]:
    """Return the grid of upsample_conv2d, and calls that it must refuse."""

    def call(case: Case) -> OpCase:
        bias = (case.o,) if case.bias else None
        options = {"scale": case.scale, **case.geometry}
        return OpCase((case.x_shape, case.weight_shape, bias), options, case.layout)

    scaled = [replace(c, scale=_SCALES[i % 4]) for i, c in enumerate(CONVOLUTIONS[::8])]
    return _calls(UPSAMPLED_CONVOLUTIONS + scaled, call, (2, 3)) + _malformed({"scale": (2, 3)})
