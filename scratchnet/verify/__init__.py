"""The runtime cross-check: every implementation's result is compared with the reference's, as it
comes.

Switched on by the environment variable SCRATCHNET_VERIFY=1 (or ``--verify``): dispatch then asks
:func:`checked` for a checked form of what it has chosen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.ops.op import Gradients, Implementation, Needs, Op
from scratchnet.verify.mismatch import VerificationError, difference, fail
from scratchnet.verify.tolerance import backward_bounds, forward_bounds

__all__ = ["VerificationError", "checked"]


class _Given:
    """The tensors of a call until its backward is checked: dispatch keeps some as a shape alone,
    for its backward does not read them; they may be changed by then.
    """

    def __init__(self, op: Op, tensors: tuple[Tensor | None, ...]) -> None:
        self.tensors = tuple(
            given if given is kept or given is None else given.clone()
            for given, kept in zip(tensors, op.kept_tensors(tensors), strict=True)
        )


def checked(op: Op, backend: Backend, inner: Implementation) -> Implementation:
    """Return an implementation whose results are ``inner``'s, each compared with the reference's.

    Args:
        op: the operation.
        backend: whose implementation it is.
        inner: what is checked.
    """

    def forward(*tensors: Tensor | None, **options: Any) -> tuple[Any, Any]:
        y, kept = inner.forward(*tensors, **options)
        bounds = forward_bounds(op, tensors, options)
        outputs = y if isinstance(y, tuple) else (y,)
        for i, (actual, bound) in enumerate(zip(outputs, bounds, strict=True)):
            what = "output" if len(outputs) == 1 else f"output {i}"
            fault = difference(actual, bound)
            if fault:
                fail(op, backend, what, fault, tensors, options)
        return y, (kept, _Given(op, tensors))

    def backward(
        grad_y: Any, kept: Any, *tensors: Tensor | None, needs: Needs, **options: Any
    ) -> Gradients:
        of_inner, given = kept[0], kept[1].tensors
        grads = inner.backward(grad_y, of_inner, *tensors, **options, needs=needs)
        grad_ys = grad_y if isinstance(grad_y, tuple) else (grad_y,)
        bounds = backward_bounds(op, grad_ys, given, options, needs)
        names = op.names(len(tensors))
        for name, needed, actual, bound in zip(names, needs, grads, bounds, strict=True):
            if needed and bound is not None:
                fault = difference(actual, bound)
            else:
                fault = "" if actual is None else "expected None, got a tensor"
            if fault:
                fail(op, backend, f"grad_{name}", fault, given, options, grad_ys, needs)
        return grads

    return replace(inner, forward=forward, backward=backward, accumulates=False)
