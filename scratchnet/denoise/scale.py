"""Scale: between an image's own values, of any dtype and range, and the 0 to 1 of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scratchnet.errors import DataError

Values = npt.NDArray[Any]

_TAIL = 0.01  # per cent of the values at either end that may lie outside: hot and dead pixels
_ENOUGH = 2**22  # values to estimate that from
_ENOUGH_OF_ONE = 2**14  # of each image of a stack


@dataclass(frozen=True)
class Scale:
    """What a network sees as 0 and as 1.

    Attributes:
        low: the value that becomes 0.
        high: the value that becomes 1; above ``low``.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: Values) -> Scale:
        """Choose the scale of an image, or of a whole stack, by its dtype and range.

        8-bit values count from 0 to 255. Deeper ones that reach into the upper half of what their
        dtype holds are a photograph's and count from 0 to its largest; floating-point values
        within 0..1 that reach above a half count from 0 to 1. All others, such as a microscope's
        counts, count from their own least to their own largest value, hot and dead pixels (one in
        10,000 at either end) left aside.

        Args:
            values: of any shape; unsigned or signed integers, or floating-point.

        Raises:
            DataError: there is NaN or infinity among them, or they are no numbers.
        """
        if values.dtype == np.uint8 or values.size == 0:
            return cls(0.0, 255.0)
        if values.dtype.kind not in "iuf":
            raise DataError(f"expected integer or floating-point values, got {values.dtype}")
        least, largest = float(values.min()), float(values.max())
        if not np.isfinite([least, largest]).all():
            raise DataError(
                "the image holds NaN or infinity: replace them, for example by "
                "numpy.nan_to_num or the median of their neighbours"
            )
        full = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
        if least >= 0 and full / 2 < largest <= full:
            return cls(0.0, full)
        step = math.isqrt(values.size // _ENOUGH) + 1  # percentiles of all would need a copy
        sample = values[::step, ::step] if values.ndim > 1 else values
        low, high = np.percentile(sample, [_TAIL, 100 - _TAIL])
        if low == high:  # flat but for a few
            low, high = least, largest
        return cls(float(low), float(high) if high > low else float(low) + 1.0)

    @classmethod
    def of_all(cls, images: Iterable[Values]) -> Scale:
        """Choose one scale for all images of a stack, which are looked at one after the other."""
        sample: list[Values] = []
        for image in images:
            step = math.isqrt(image.size // _ENOUGH_OF_ONE) + 1
            extremes = np.array([image.min(), image.max()], image.dtype)  # decide the rule
            sample += [image[::step, ::step].reshape(-1), extremes]
        return cls.of(np.concatenate(sample))

    def to_unit(self, values: Values) -> tuple[Values, Values]:
        """Return ``values`` from 0 to 1, in float32 (float64 from float64 and deep integers), and
        by how much they lie outside, in their own unit: 0 for most.
        """
        wide = (
            np.float64 if values.dtype.itemsize > 2 and values.dtype != np.float32 else np.float32
        )
        exact = values.astype(wide)
        inside = exact.clip(self.low, self.high)
        return (inside - self.low) / (self.high - self.low), exact - inside

    def from_unit(self, unit: Values, outside: Values, dtype: npt.DTypeLike) -> Values:
        """Return values of ``dtype``, integers rounded and kept within what it holds."""
        values = unit.astype(outside.dtype) * (self.high - self.low) + self.low + outside
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return values.astype(dtype)
        bounds = np.iinfo(dtype)
        return values.round().clip(bounds.min, bounds.max).astype(dtype)

    def shown(self, values: Values) -> npt.NDArray[np.uint8]:
        """Return values with 8 bits, as on a screen."""
        unit, _ = self.to_unit(values)
        return (unit * 255).round().astype(np.uint8)
