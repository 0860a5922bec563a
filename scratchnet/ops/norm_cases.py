"""The grids that the operations of norm.py are tested on."""

from __future__ import annotations

import torch

from scratchnet.ops.op import LAYOUTS, Case, Shape

_IMAGES: list[Shape] = [(7, 1), (5, 7), (5, 3, 1), (3, 2, 11), (2, 3, 7, 5), (1, 17, 5, 3)]


def _of_channels(shape: Shape, which: str = "both") -> tuple[Shape | None, ...]:
    c = (shape[1],)
    return {"both": (shape, c, c), "weight": (shape, c, None), "none": (shape, None, None)}[which]


def batch_cases() -> list[Case]:
    """Each channel over the batch."""
    return [
        Case(_of_channels((0, 3, 2, 5))),
        *(Case(_of_channels(shape), few=shape in _IMAGES[2:5]) for shape in _IMAGES),
        Case(_of_channels((2, 3, 4, 5), "weight"), {"eps": 1e-3}),
        Case(_of_channels((3, 4, 5), "none"), few=True),
        *(Case(_of_channels((2, 5, 7, 4)), layout=layout) for layout in LAYOUTS),
        Case(_of_channels((2, 19, 4, 3)), layout="channels_last"),
        Case(_of_channels((3, 33, 23, 17)), layout="channels_last"),
        Case(_of_channels((5, 4, 37, 29))),
        Case(((1, 3, 1, 1), (3,), (3,)), error="more than one value"),
        Case(((4,), (4,), (4,)), error="(N, C, ...)"),
        Case(((2, 3, 0), (3,), (3,)), error="only N may be 0"),
        Case(((2, 3, 4), (2,), (3,)), error="weight (3,)"),
        Case(((2, 3, 4), (3,), (3, 1)), error="bias (3,)"),
        Case(((2, 3),), dtypes=(torch.int64,), error="floating-point"),
    ]


def group_cases() -> list[Case]:
    """Groups of channels of one element."""
    return [
        Case(_of_channels((0, 4, 2, 5)), {"groups": 2}),
        Case(_of_channels((2, 6)), {"groups": 3}, few=True),
        Case(_of_channels((1, 4, 3)), {"groups": 1}, few=True),
        *(Case(_of_channels((2, 6, 7, 5)), {"groups": g}, few=g == 3) for g in (1, 2, 3, 6)),
        Case(_of_channels((3, 4, 5, 2), "weight"), {"groups": 2, "eps": 1e-3}),
        Case(_of_channels((3, 4, 5), "none"), {"groups": 4}, few=True),
        *(Case(_of_channels((2, 4, 7, 5)), {"groups": 2}, layout=layout) for layout in LAYOUTS),
        Case(_of_channels((2, 34, 5, 3)), {"groups": 2}, layout="channels_last"),
        Case(_of_channels((2, 32, 23, 17)), {"groups": 8}, layout="channels_last"),
        Case(_of_channels((3, 10, 37, 29)), {"groups": 5}),
        Case(_of_channels((2, 6, 5)), {"groups": 4}, error="divide the 6 channels"),
        Case(_of_channels((2, 6, 5)), {"groups": 0}, error="divide the 6 channels"),
        Case(((4,), (4,), (4,)), {"groups": 2}, error="(N, C, ...)"),
        Case(((2, 4, 3), (2,), None), {"groups": 2}, error="weight (4,)"),
        Case(((2, 4),), {"groups": 2}, dtypes=(torch.int64,), error="floating-point"),
    ]


def _rows(shape: Shape, axes: int, which: str = "both", *, layout: str = "contiguous",
          few: bool = False, **options: float) -> Case:  # fmt: skip
    own = shape[-axes:]
    given = {"both": (own, own), "weight": (own, None), "none": (None, None)}[which]
    return Case((shape, *given), {"normalized_shape": own, **options}, layout, few)


def row_cases() -> list[Case]:
    """The last axes."""
    return [
        _rows((0, 3, 5), 1),
        _rows((0, 3, 5), 2),
        _rows((1, 2), 1),
        _rows((7,), 1, few=True),
        _rows((3, 5), 1, few=True),
        _rows((2, 3, 7), 2, "weight", few=True),
        _rows((4, 19), 1, "none", eps=1e-3, few=True),
        *(_rows((2, 3, 7, 5), axes) for axes in (1, 2, 3)),
        *(_rows((2, 3, 7, 5), 1, layout=layout) for layout in LAYOUTS),
        _rows((37, 131), 1),
        _rows((3, 1031), 1),
        _rows((130, 70), 1, "weight"),
        Case(((2, 3), (2,), None), {"normalized_shape": (2,)}, error="last axes of x"),
        Case(((2, 3), None, None), {"normalized_shape": ()}, error="last axes of x"),
        Case(((2, 0), None, None), {"normalized_shape": (0,)}, error="none of them empty"),
        Case(((2, 3), (1,), None), {"normalized_shape": (3,)}, error="weight to be (3,)"),
        Case(((2, 3),), {"normalized_shape": (3,)}, dtypes=(torch.int64,), error="floating-point"),
    ]


def rms_cases() -> list[Case]:
    """The same without a bias."""
    return [Case(c.shapes[:2], c.options, c.layout, c.few, c.error, c.dtypes) for c in row_cases()]


def channel_cases() -> list[Case]:
    """A number for each channel."""
    return [
        Case(_of_channels((0, 3, 2, 5))),
        Case(_of_channels((1, 1))),
        *(Case(_of_channels(shape), few=shape in _IMAGES[2:5]) for shape in _IMAGES),
        *(Case(_of_channels((2, 5, 7, 4)), layout=layout) for layout in LAYOUTS),
        Case(_of_channels((2, 19, 23, 31)), layout="channels_last"),
        Case(_of_channels((3, 5, 37, 29))),
        Case(((2, 3, 4), (2,), (3,)), error="scale (3,)"),
        Case(((2, 3, 4), (3,), (4,)), error="shift (3,)"),
        Case(((4,), (4,), (4,)), error="(N, C, ...)"),
        Case(((2, 3), (3,), (3,)), dtypes=(torch.int64,), error="floating-point"),
    ]


def response_cases() -> list[Case]:
    """Neighbouring channels."""
    strong = {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 2.0}
    return [
        Case(((0, 3, 2, 5),), {"size": 3}),
        Case(((1, 1, 1),), {"size": 1}, few=True),
        Case(((2, 7, 5),), strong, few=True),
        *(Case(((2, 7, 3, 5),), {**strong, "size": size}, few=size == 2) for size in (1, 2, 4, 9)),
        *(Case(((2, 4, 7, 5),), strong, layout=layout) for layout in LAYOUTS),
        Case(((2, 17, 23, 11),), {**strong, "size": 5}),
        Case(((2, 3, 4),), {"size": 0}, error="size of at least 1"),
        Case(((3,),), {"size": 2}, error="(N, C, ...)"),
        Case(((2, 3, 4),), {"size": 2}, dtypes=(torch.int64,), error="floating-point"),
    ]
