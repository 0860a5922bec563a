"""Hypothesis strategies for cases of the same kind as the grid's. Needs hypothesis installed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from scratchnet.ops.convolution_cases import Case
from scratchnet.ops.op import LAYOUTS
from scratchnet.ops.window import Pair


def _pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def convolutions(
    draw: st.DrawFn, *, upsampled: bool = False, transposed: bool = False, groups: bool = True
) -> Case:
    """Draw a valid Case: up to 3 images of up to 13x13 and up to 12 channels.

    Args:
        draw: given by hypothesis.
        upsampled: draw a scale, too.
        transposed: draw an output_padding, too, and images as a transposed convolution takes.
        groups: draw grouped convolutions, too.
    """
    group = draw(st.integers(1, 4)) if groups else 1
    case = Case(
        n=draw(st.integers(0, 3)),
        c=group * draw(st.integers(1, 3)),
        h=draw(st.integers(1, 13)),
        w=draw(st.integers(1, 13)),
        o=group * draw(st.integers(1, 3)),
        kernel=draw(_pairs(1, 5)),
        stride=draw(_pairs(1, 4)),
        padding=draw(_pairs(0, 4)),
        dilation=draw(_pairs(1, 3)),
        groups=group,
        bias=draw(st.booleans()),
        scale=draw(_pairs(1, 4)) if upsampled else (1, 1),
        layout=draw(st.sampled_from(LAYOUTS)),
    )
    if transposed:
        case = _transposed(draw, case)
    # What the kernel overhangs is made up for by padding, half of it on each side.
    missing = [max(0, 1 - size) for size in _steps(case)]
    padding = tuple(p + (m + 1) // 2 for p, m in zip(case.padding, missing, strict=True))
    return case if transposed else replace(case, padding=(padding[0], padding[1]))


def _steps(case: Case) -> list[int]:
    """How far the padded image is from holding the kernel, plus one, in each direction."""
    return [
        size * up + 2 * p - d * (k - 1)
        for size, up, p, d, k in zip(
            (case.h, case.w), case.scale, case.padding, case.dilation, case.kernel, strict=True
        )
    ]


def _transposed(draw: st.DrawFn, case: Case) -> Case:
    """Give ``case`` an output_padding below stride or dilation and a padding that leaves a row."""
    extra, padding = [], []
    for size, k, s, p, d in zip(
        (case.h, case.w), case.kernel, case.stride, case.padding, case.dilation, strict=True
    ):
        e = draw(st.integers(0, max(s, d) - 1))
        extra.append(e)
        padding.append(min(p, ((size - 1) * s + d * (k - 1) + e) // 2))
    return replace(case, output_padding=(extra[0], extra[1]), padding=(padding[0], padding[1]))
