"""Assertions that two results are equal, or close enough, with messages that name the fault."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.verify.mismatch import difference
from scratchnet.verify.tolerance import Bound, tolerance

__all__ = [
    "TRAINED",
    "ConformanceError",
    "assert_close",
    "assert_same_bits",
    "assert_within",
    "rounding",
    "tolerance",
]

TRAINED = 1e-9
"""What the losses of two correct trainings in float64 may differ by after fifty steps, relatively:
each step multiplies the rounding of those before it."""


class ConformanceError(ScratchnetError, AssertionError):
    """A layer or a backend does not do what its contract says."""


def rounding(dtype: torch.dtype) -> float:
    """Return the tolerance between two correct results of a layer, per the largest element."""
    return 256 * torch.finfo(dtype).eps


def assert_same_bits(actual: Tensor, expected: Tensor, what: str) -> None:
    """Raise ConformanceError unless both have one shape, one dtype and equal values (nan = nan)."""
    _assert_alike(actual, expected, what)
    wrong = ~((actual == expected) | (actual.isnan() & expected.isnan()))
    if wrong.any():
        raise ConformanceError(_report(actual, expected, wrong, what))


def assert_close(
    actual: Tensor, expected: Tensor, what: str, *, rtol: float, scale: Tensor | None = None
) -> float:
    """Return the largest error relative to ``scale``.

    Args:
        actual: what is tested.
        expected: what it should be.
        what: its name, for the message.
        rtol: the largest relative error allowed.
        scale: positive, of the same shape: the sum of the magnitudes of the terms that make up each
            element; the largest magnitude of ``expected`` if None.

    Raises:
        ConformanceError: another shape or dtype, or an element is further away.
    """
    _assert_alike(actual, expected, what)
    if actual.numel() == 0:
        return 0.0
    error = (actual.double() - expected.double()).abs()
    against = expected.double().abs().max() if scale is None else scale.double()
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    wrong = ~same & ~(error <= rtol * against)
    if wrong.any():
        raise ConformanceError(_report(actual, expected, wrong, what))
    ratio = error.where(~same, 0.0) / against.clamp_min(torch.finfo(torch.float64).tiny)
    return float(ratio.max())


def assert_within(actual: Tensor, bound: Bound, what: str) -> float:
    """Return the largest error, as a share of what is allowed there.

    Raises:
        ConformanceError: another shape or dtype, or an element is further away than it may be.
    """
    expected = bound.value.to(bound.dtype)
    _assert_alike(actual, expected, what)
    fault = difference(actual, bound)
    if fault:
        wide = actual.double()
        wrong = ~((wide - bound.value).abs() <= bound.allowed)
        raise ConformanceError(f"{what}: {fault}" + _hint(wide, bound.value, wrong))
    error = (actual.double() - bound.value).abs() / bound.allowed
    error = error[error.isfinite()]
    return float(error.max()) if error.numel() else 0.0


def _assert_alike(actual: object, expected: Tensor, what: str) -> None:
    if not isinstance(actual, Tensor):
        raise ConformanceError(f"{what}: expected a tensor, got {type(actual).__name__}")
    if actual.shape != expected.shape:
        raise ConformanceError(
            f"{what}: expected the shape {tuple(expected.shape)}, got {tuple(actual.shape)}"
            + shape_hint(actual.shape, expected.shape)
        )
    if actual.dtype != expected.dtype:
        raise ConformanceError(f"{what}: expected {expected.dtype}, got {actual.dtype}")


def shape_hint(actual: torch.Size, expected: torch.Size) -> str:
    """Name the fault that explains a wrong shape, where it is a plain one."""
    turned = len(actual) >= 2 and (*actual[:-2], actual[-1], actual[-2]) == tuple(expected)
    return " (height and width exchanged?)" if turned else ""


def _report(actual: Tensor, expected: Tensor, wrong: Tensor, what: str) -> str:
    """Say how many elements are wrong, which one most, where they lie, and by what factor."""
    a, e = actual.double(), expected.double()
    # not-a-number is worse than any number
    gap = torch.where(wrong, (a - e).abs().nan_to_num(nan=math.inf, posinf=math.inf), -1.0)
    worst = torch.unravel_index(gap.argmax(), gap.shape)
    at = [int(i) for i in worst]
    lines = (
        f"{what}: {int(wrong.sum())} of {wrong.numel()} elements differ, the worst at {at}: "
        f"expected {float(e[worst]):.9g}, got {float(a[worst]):.9g}"
    )
    return lines + _hint(a, e, wrong)


def _hint(actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Name the pattern of the fault where there is a plain one."""
    if bool(expected.isfinite().all()) and not bool(actual.isfinite().all()):
        return f"; {int((~actual.isfinite()).sum())} are not finite (read out of bounds?)"
    if torch.equal(actual, actual.float().double()) and not torch.equal(
        expected, expected.float().double()
    ):
        return "; all are exactly float32 numbers (computed in float32?)"
    usable = expected.abs() > 1e-3 * expected.abs().max()
    ratios = (actual / expected)[usable]
    if ratios.numel() > 1:
        factor = float(ratios.median())
        alike = bool((ratios - factor).abs().max() <= 1e-4 * max(abs(factor), 1e-4))
        if alike and abs(factor) < 1e-6:
            return "; all are 0"
        if alike and abs(factor - 1) > 1e-3:
            return f"; all are {factor:.5g} times what they should be"
    if actual.dim() >= 2 and actual.shape[0] == actual.shape[1]:
        swapped = actual.transpose(0, 1)
        if swapped.shape == expected.shape and torch.allclose(swapped, expected, rtol=1e-4):
            return "; the first two axes are exchanged"
    if torch.allclose(actual.flatten().sort()[0], expected.flatten().sort()[0], rtol=1e-4):
        return "; the values are right but in the wrong places (view instead of transpose?)"
    if wrong.dim() == 4 and wrong.any():
        return _shift_hint(actual, expected) or _border_hint(wrong)
    return ""


def _shift_hint(actual: Tensor, expected: Tensor) -> str:
    """Say by how much the inside of the images is displaced, if that is the fault."""
    h, w = actual.shape[2:]
    inside = actual[:, :, 2 : h - 2, 2 : w - 2]
    if inside.numel() < 2 or not bool(inside.any()):
        return ""
    for down, across in ((1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
        moved = expected[:, :, 2 - down : h - 2 - down, 2 - across : w - 2 - across]
        if torch.allclose(inside, moved, rtol=1e-4, atol=1e-5 * float(expected.abs().max())):
            return f"; as if moved by ({down}, {across}) (padded on one side only?)"
    return ""


def _border_hint(wrong: Tensor) -> str:
    h, w = wrong.shape[2:]
    rows = wrong.any(0).any(0).any(1).nonzero().flatten().tolist()
    columns = wrong.any(0).any(0).any(0).nonzero().flatten().tolist()
    places = []
    if len(rows) < h:
        places.append(f"rows {_span(rows)} of {h}")
    if len(columns) < w:
        places.append(f"columns {_span(columns)} of {w}")
    channels = wrong.any(0).any(1).any(1).nonzero().flatten().tolist()
    if len(channels) < wrong.shape[1]:
        places.append(f"channels {_span(channels)} of {wrong.shape[1]}")
    images = wrong.flatten(1).any(1).nonzero().flatten().tolist()
    if len(images) < wrong.shape[0]:
        places.append(f"images {_span(images)} of {wrong.shape[0]}")
    return f"; only in {', '.join(places)}" if places else ""


def _span(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
