"""One operation run twice: by what is to be checked, and by the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from scratchnet.backends.mismatch import Named, difference, fail
from scratchnet.backends.tolerance import tolerance


def cross_check(
    inner: Named,
    reference: object,
    op: str,
    tensors: Mapping[str, Tensor | None],
    options: dict[str, Any],
    outputs: Sequence[str],
    terms: int,
) -> Any:
    """Return what ``inner`` makes of the call, if the reference makes the same of it.

    An element's error is measured against the sum of the magnitudes of its terms, which the
    reference computes from absolute values, or against the element where that is larger.

    Args:
        inner, reference: both have the method ``op``.
        op: the operation.
        tensors: its positional arguments, by name.
        options: its keyword arguments.
        outputs: what the tensors that it returns are called.
        terms: the most products that it adds up into one number.

    Raises:
        VerificationError: the results differ.
    """
    result = getattr(inner, op)(*tensors.values(), **options)
    expected = getattr(reference, op)(*tensors.values(), **options)
    magnitudes = [None if t is None else t.abs() for t in tensors.values()]
    scales = getattr(reference, op)(*magnitudes, **options)
    rtol = tolerance(next(t.dtype for t in tensors.values() if t is not None), terms)
    for what, actual, same, scale in zip(
        outputs, _several(result), _several(expected), _several(scales), strict=True
    ):
        if same is None:
            fault = "" if actual is None else "expected None, got a tensor"
        else:
            fault = difference(actual, same, rtol * scale.abs().maximum(same.abs()))
        if fault:
            given = {name: t for name, t in tensors.items() if t is not None}
            fail(inner, op, what, fault, given, options)
    return result


def _several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)
