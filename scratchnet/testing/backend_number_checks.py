"""Checks of an implementation's numbers: against the reference, a twin, and finite differences."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from scratchnet.testing.calls import DTYPES, Call, Subject
from scratchnet.testing.closeness import ConformanceError, assert_same_bits, assert_within
from scratchnet.testing.tensors import normal, whole


def exact(s: Subject) -> str:
    """The same bits as the reference on whole numbers, over the grid."""
    count = 0
    for call in s.calls(s.grid, DTYPES, whole):
        if not s.op.exact(**call.options):
            continue
        expected = call.results(s.op.reference)
        wide = call.each(Tensor.double).results(s.op.reference)
        if not all(
            torch.equal(a.double(), b) for (_, a), (_, b) in zip(expected, wide, strict=True)
        ):
            continue  # beyond what this dtype holds exactly
        for (what, actual), (_, same) in zip(call.results(s.implementation), expected, strict=True):
            assert_same_bits(actual, same, what)
            count += 1
    return f"{count} tensors"


def close(s: Subject) -> str:
    """Within the tolerance of the reference on random numbers, over the grid."""
    worst = 0.0
    for call in s.calls(s.grid, DTYPES, normal):
        for (what, actual), bound in zip(
            call.results(s.implementation), call.bounds(), strict=True
        ):
            worst = max(worst, assert_within(actual, bound, what))
    return f"largest error {worst:.2g} of what is allowed"


def empty(s: Subject) -> str:
    """An empty batch gives empty outputs, and zero gradients of the parameters."""
    for call in s.calls(s.empty, DTYPES, normal):
        for (what, actual), (_, expected) in zip(
            call.results(s.implementation), call.results(s.op.reference), strict=True
        ):
            assert_same_bits(actual, expected, what)
    return ""


def adjoint(s: Subject) -> str:
    """⟨f(t + v) − f(t), g⟩ = ⟨v, gradient of t⟩ for each tensor t, exactly, on whole numbers."""
    for call in s.calls(s.some, (torch.float64,), whole):
        outputs, grads = call.run(s.implementation)
        for i, (tensor, grad) in enumerate(zip(call.tensors, grads, strict=True)):
            if tensor is None or grad is None:
                continue
            v = whole(tensor.shape, torch.float64, 70 + i)
            moved = replace(call, tensors=(*call.tensors[:i], tensor + v, *call.tensors[i + 1 :]))
            change = _dots(moved.run(s.implementation)[0], call) - _dots(outputs, call)
            by_hand = float((v * grad).sum())
            if change != by_hand:
                raise ConformanceError(
                    f"grad_{call.names[i]} of {call}: ⟨f(t+v) − f(t), g⟩ = {change:g}, but "
                    f"⟨v, gradient⟩ = {by_hand:g} (these whole numbers must be equal)"
                )
    return ""


def differences(s: Subject) -> str:
    """Every gradient equals central differences along a random direction, in float64.

    Where a number happens to lie on a kink, other numbers decide: a wrong gradient is wrong on all.
    """
    worst = 0.0
    for call in s.calls(s.some, (torch.float64,), normal):
        faults: list[ConformanceError] = []
        for move in (0.0, 0.1, 0.2):
            moved = call.each(partial(_moved, by=move))
            try:
                worst = max(worst, _differences(s, moved))
            except ConformanceError as error:
                faults.append(error)
            else:
                break
        if len(faults) == 3:
            raise faults[0]
    return f"largest difference {worst:.1e}"


def _moved(tensor: Tensor, by: float) -> Tensor:
    return tensor + by * normal(tensor.shape, tensor.dtype, 50)


def _differences(s: Subject, call: Call) -> float:
    step, worst = 1e-6, 0.0
    outputs, grads = call.run(s.implementation)
    for i, (tensor, grad) in enumerate(zip(call.tensors, grads, strict=True)):
        if tensor is None or grad is None:
            continue
        v = normal(tensor.shape, torch.float64, 70 + i)
        dots = []
        for h in (step, -step):
            at = (*call.tensors[:i], tensor + h * v, *call.tensors[i + 1 :])
            dots.append(_dots(replace(call, tensors=at).run(s.implementation)[0], call))
        numeric, by_hand = (dots[0] - dots[1]) / (2 * step), float((v * grad).sum())
        norms = [
            float(g.norm()) * float(y.norm())
            for g, (_, y) in zip(call.grad_ys, outputs, strict=True)
        ]
        scale = float(v.norm()) * float(grad.norm()) + 2**-50 / step / 1e-7 * sum(norms)
        error = abs(numeric - by_hand) / scale if scale else 0.0
        worst = max(worst, error)
        if error > 1e-7:
            raise ConformanceError(
                f"grad_{call.names[i]} of {call}: along a random direction backward gives "
                f"{by_hand:.9g}, finite differences give {numeric:.9g} (ratio "
                f"{by_hand / numeric if numeric else float('inf'):.5g})"
            )
    return worst


def _dots(outputs: list[tuple[str, Tensor]], call: Call) -> float:
    return sum(float((y * g).sum()) for (_, y), g in zip(outputs, call.grad_ys, strict=True))


def twin(s: Subject) -> str:
    """The reference equals torch's counterpart, outputs and all gradients, in float64."""
    assert s.op.twin is not None
    module, _, name = s.op.twin.rpartition(".")
    function = getattr(import_module(module), name)
    worst = 0.0
    for call in s.calls(s.grid, (torch.float64,), normal):
        bounds = call.bounds()
        for (what, _), expected, bound in zip(
            call.results(s.op.reference), _autograd(function, call), bounds, strict=True
        ):
            worst = max(worst, assert_within(expected, bound, f"{what}, by {s.op.twin}"))
    return f"largest difference {worst:.2g} of what is allowed"


def _autograd(function: Any, call: Call) -> list[Tensor]:
    leaves = [
        None if t is None else t.detach().clone().requires_grad_(needed)
        for t, needed in zip(call.tensors, call.needs, strict=True)
    ]
    wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    with torch.enable_grad():
        y = function(*leaves, **call.options)
        outputs = y if isinstance(y, tuple) else (y,)
        if not call.grad_ys:
            return [y.detach() for y in outputs]
        # a scalar, because autograd spends seconds on imports before it takes a gradient in
        total = sum((y * g).sum() for y, g in zip(outputs, call.grad_ys, strict=True))
        grads = torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
    return [*(y.detach() for y in outputs), *grads]
