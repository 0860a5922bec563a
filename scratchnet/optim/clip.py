"""Clipping gradients, in place: all of them to a length, or each element to a range."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.ops.extension import extension
from scratchnet.optim.base import by_kernels, changed


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Shrink all gradients by one factor, min(1, max_norm/(‖g‖ + 10⁻⁶)), and return ‖g‖, the norm
    of all of them together before; as torch.nn.utils.clip_grad_norm_.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks" (2012).

    Args:
        parameters: ``model.parameters()``, ``model.param()``, or one parameter; those that are
            frozen or have no gradient are left out.
        max_norm: the largest length.
        norm_type: which norm; 2 is the Euclidean one, ``float("inf")`` the largest element.
        error_if_nonfinite: raise where ‖g‖ is nan or infinite, instead of handing it on.

    Raises:
        ArgumentError: ‖g‖ is not finite.
    """
    grads = _gradients(parameters)
    if not grads:
        return torch.zeros(())
    kernels = float(norm_type) == 2.0 and by_kernels()
    length = float(extension().gradient_norm(grads)) if kernels else -1.0
    kernels = not length < 0  # it is where the kernels do not take one of them
    if kernels:
        total = torch.tensor(length, dtype=grads[0].dtype)
    else:
        norms = torch.stack([torch.linalg.vector_norm(grad, norm_type) for grad in grads])
        total = torch.linalg.vector_norm(norms, norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise ArgumentError(
            f"the gradients' norm of order {norm_type} is {float(total)}: a loss or its gradient "
            "is not finite; error_if_nonfinite=False clips nevertheless"
        )
    factor = float(max_norm / (total + 1e-6))
    if factor < 1 or factor != factor:
        if kernels:
            extension().scale_gradients(grads, factor)
            changed(grads)
        else:
            torch._foreach_mul_(grads, factor)
    return total


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every element of every gradient off at ±clip_value; as torch.nn.utils.clip_grad_value_.

    Args:
        parameters: as :func:`clip_grad_norm_` takes them.
        clip_value: ≥ 0.

    Raises:
        ArgumentError: it is negative.
    """
    if not clip_value >= 0:
        raise ArgumentError(f"clip_value is expected to be at least 0, got {clip_value}")
    grads = _gradients(parameters)
    if grads:
        torch._foreach_clamp_min_(grads, -clip_value)
        torch._foreach_clamp_max_(grads, clip_value)


def _gradients(parameters: Tensor | Iterable[Any]) -> list[Tensor]:
    """Return those that there are, of parameters or of (parameter, gradient) pairs."""
    entries = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    found = (entry[1] if isinstance(entry, tuple) else entry.grad for entry in entries)
    return [grad for grad in found if grad is not None]
