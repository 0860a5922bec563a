"""The grids that the operations of pool.py are tested on."""

from __future__ import annotations

import torch

from scratchnet.ops.op import LAYOUTS, Case

_GEOMETRIES = [
    {"kernel_size": (1, 1), "stride": (1, 1)},
    {"kernel_size": (2, 2), "stride": (2, 2)},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": (2, 3), "stride": (3, 3), "padding": (1, 1)},
    {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)},
    {"kernel_size": (5, 4), "stride": (1, 2), "padding": (0, 2)},
]
_MALFORMED = [
    Case(((3, 4, 5),), _GEOMETRIES[1], error="N, C, H, W"),
    Case(((2, 3, 1, 5),), _GEOMETRIES[1], error="smaller than"),
    Case(((2, 3, 4, 5),), {"kernel_size": (2, 2), "stride": (0, 1)}, error="at least 1"),
    Case(((2, 3, 4, 5),), {**_GEOMETRIES[1], "padding": (2, 0)}, error="half the kernel"),
    Case(((2, 3, 4, 5),), _GEOMETRIES[1], dtypes=(torch.int64,), error="floating-point"),
]


def _cases(*more: dict[str, object]) -> list[Case]:
    return [
        Case(((1, 1, 1, 1),), _GEOMETRIES[0], few=True),
        Case(((0, 3, 7, 5),), _GEOMETRIES[1]),
        *(Case(((2, 3, 7, 5),), options, few=True) for options in _GEOMETRIES),
        *(Case(((2, 3, 8, 6),), _GEOMETRIES[2], layout=layout) for layout in LAYOUTS),
        *(Case(((2, 17, 9, 11),), {**_GEOMETRIES[2], **options}) for options in more),
        *(
            Case(((1, 5, *size),), {**options, "ceil_mode": True})
            for size in ((7, 6), (8, 9))
            for options in _GEOMETRIES[1:]
        ),
        Case(((2, 3, 1, 9),), {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1)}),
        Case(((3, 19, 23, 29),), _GEOMETRIES[4]),
        *_MALFORMED,
    ]


def max_cases() -> list[Case]:
    """Sliding windows, also with gaps in them."""
    return _cases({"dilation": (2, 1)}, {"dilation": (2, 3), "padding": (0, 1)})


def average_cases() -> list[Case]:
    """Sliding windows and what they are divided by."""
    return [
        *_cases({"count_include_pad": False}, {"divisor_override": 3}),
        Case(((2, 3, 4, 5),), {**_GEOMETRIES[1], "divisor_override": 0}, error="divisor_override"),
    ]


def adaptive_cases() -> list[Case]:
    """As many windows as are asked for, also more than pixels."""
    sizes = [(1, 1), (3, 2), (7, 5), (4, 1), (9, 8)]
    return [
        Case(((1, 1, 1, 1),), {"output_size": (1, 1)}, few=True),
        Case(((0, 3, 7, 5),), {"output_size": (2, 2)}),
        *(Case(((2, 3, 7, 5),), {"output_size": size}, few=True) for size in sizes),
        *(Case(((2, 3, 8, 6),), {"output_size": (3, 4)}, layout=layout) for layout in LAYOUTS),
        Case(((2, 19, 13, 17),), {"output_size": (5, 3)}, layout="channels_last"),
        Case(((3, 19, 23, 29),), {"output_size": (7, 7)}),
        Case(((3, 4, 5),), {"output_size": (1, 1)}, error="N, C, H, W"),
        Case(((2, 3, 0, 5),), {"output_size": (1, 1)}, error="at least one channel"),
        Case(((2, 3, 4, 5),), {"output_size": (0, 1)}, error="at least 1"),
        Case(
            ((2, 3, 4, 5),), {"output_size": (1, 1)}, dtypes=(torch.int64,), error="floating-point"
        ),
    ]
