"""Element-wise functions made of pieces of straight lines (and of one parabola).

At a kink the derivative is that of torch; a nan comes out as nan.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.ops.elementwise import elementwise


def _relu(x: Tensor) -> Tensor:
    """y = max(0, x)."""
    return torch.relu(x)


def _relu_backward(grad_y: Tensor, y: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y where x > 0, which is where y > 0, else 0: at the kink the derivative is
    0, as in torch.
    """
    return grad_y.masked_fill(y <= 0, 0)


relu = elementwise(
    _relu, _relu_backward, of_output=True, exact=True, twin="torch.nn.functional.relu"
)


def _hardtanh(x: Tensor, *, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """y = min(max(x, min_val), max_val)."""
    return x.clamp(min_val, max_val)


def _hardtanh_backward(grad_y: Tensor, y: Tensor, *, min_val: float, max_val: float) -> Tensor:
    """∂L/∂x = ∂L/∂y where min_val < x < max_val, which is where y is between them, else 0."""
    return grad_y.masked_fill(~((y > min_val) & (y < max_val)), 0)


def _not_an_interval(*, min_val: float, max_val: float) -> str | None:
    return None if min_val < max_val else f"min_val < max_val, got {min_val} and {max_val}"


hardtanh = elementwise(
    _hardtanh, _hardtanh_backward, of_output=True, exact=True,
    twin="torch.nn.functional.hardtanh", refuses=_not_an_interval,
    tried=[{"min_val": -2, "max_val": 0.5}], wrong=[{"min_val": 1.0}],
)  # fmt: skip


def _relu6(x: Tensor) -> Tensor:
    """y = min(max(x, 0), 6)."""
    return x.clamp(0, 6)


def _relu6_backward(grad_y: Tensor, y: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y where 0 < x < 6, which is where 0 < y < 6, else 0."""
    return grad_y.masked_fill(~((y > 0) & (y < 6)), 0)


relu6 = elementwise(
    _relu6, _relu6_backward, of_output=True, exact=True, twin="torch.nn.functional.relu6"
)


def _leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """y = x where x > 0, else negative_slope·x."""
    return torch.where(x > 0, x, negative_slope * x)


def _leaky_relu_backward(grad_y: Tensor, x: Tensor, *, negative_slope: float) -> Tensor:
    """∂L/∂x = ∂L/∂y where x > 0, else negative_slope·∂L/∂y."""
    return torch.where(x > 0, grad_y, negative_slope * grad_y)


leaky_relu = elementwise(
    _leaky_relu, _leaky_relu_backward, exact=True, twin="torch.nn.functional.leaky_relu",
    tried=[{"negative_slope": -0.5}],
)  # fmt: skip


def _threshold(x: Tensor, *, threshold: float, value: float) -> Tensor:
    """y = value where x ≤ threshold, else x."""
    return x.masked_fill(x <= threshold, value)


def _threshold_backward(grad_y: Tensor, x: Tensor, *, threshold: float, value: float) -> Tensor:
    """∂L/∂x = 0 where x ≤ threshold, else ∂L/∂y."""
    return grad_y.masked_fill(x <= threshold, 0)


threshold = elementwise(
    _threshold, _threshold_backward, exact=True, twin="torch.nn.functional.threshold",
    usual={"threshold": 0.25, "value": -3}, tried=[{"threshold": -1, "value": 20}],
)  # fmt: skip


def _hardshrink(x: Tensor, *, lambd: float = 0.5) -> Tensor:
    """y = 0 where -lambd ≤ x ≤ lambd, else x."""
    return x.masked_fill((x >= -lambd) & (x <= lambd), 0)


def _hardshrink_backward(grad_y: Tensor, x: Tensor, *, lambd: float) -> Tensor:
    """∂L/∂x = 0 where -lambd ≤ x ≤ lambd, else ∂L/∂y."""
    return grad_y.masked_fill((x >= -lambd) & (x <= lambd), 0)


hardshrink = elementwise(
    _hardshrink, _hardshrink_backward, exact=True, twin="torch.nn.functional.hardshrink",
    tried=[{"lambd": 1}],
)  # fmt: skip


def _softshrink(x: Tensor, *, lambd: float = 0.5) -> Tensor:
    """y = x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""
    return x - x.clamp(-lambd, lambd)


def _negative(*, lambd: float) -> str | None:
    return None if lambd >= 0 else f"lambd of at least 0, got {lambd}"


softshrink = elementwise(
    _softshrink, _hardshrink_backward, exact=True, twin="torch.nn.functional.softshrink",
    refuses=_negative, tried=[{"lambd": 1}], wrong=[{"lambd": -0.5}],
)  # fmt: skip


def _hardsigmoid(x: Tensor) -> Tensor:
    """y = min(max(x + 3, 0), 6) / 6."""
    return (x + 3).clamp(0, 6) / 6


def _hardsigmoid_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y / 6 where -3 < x < 3, else 0."""
    return (grad_y / 6).masked_fill((x <= -3) | (x >= 3), 0)


hardsigmoid = elementwise(
    _hardsigmoid, _hardsigmoid_backward, twin="scratchnet.testing.oracle.hardsigmoid"
)


def _hardswish(x: Tensor) -> Tensor:
    """y = x·min(max(x + 3, 0), 6) / 6."""
    return x * (x + 3).clamp(0, 6) / 6


def _hardswish_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = 0 where x ≤ -3, ∂L/∂y where x ≥ 3, else ∂L/∂y·(x/3 + 1/2)."""
    between = grad_y * (x / 3 + 0.5)
    return torch.where(x >= 3, grad_y, between).masked_fill(x <= -3, 0)


hardswish = elementwise(_hardswish, _hardswish_backward, twin="torch.nn.functional.hardswish")
