"""Activations: one function applied to every element.

Those made of pieces of straight lines stand here, the others in smooth.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError
from scratchnet.layers import init
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.ops import kinked
from scratchnet.ops.op import Op


class Function(Module):
    """A layer without parameters that is one operation on its input, floating-point of any dtype.

    Attributes:
        op: the operation; its options are the layer's attributes of the same names.
    """

    op: Op

    @property
    def options(self) -> dict[str, Any]:
        """The options of the layer's operation."""
        return {name: getattr(self, name) for name in self.op.options}

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments: the options of the operation."""
        return self.options

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the function of the input."""
        y, back = dispatch.run(self.op, check_tensor(self, inputs[0]), **self.options)
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = Jᵀ ∂L/∂y; the operation says how it is computed."""
        (back,) = self.saved
        grad_x: Tensor = back(check_grad(self, grad_outputs[0], *back.output))[0]
        return grad_x


class Elementwise(Function):
    """A layer that applies one operation to every element; any shape, any floating-point dtype.

    Where torch.nn's layer has ``inplace``, this one accepts False alone: no layer writes to its
    input, which the one before it keeps for its own backward. from_torch drops the argument, for
    the values are the same.

    Args:
        inplace: False.
        options: of the operation.

    Raises:
        ArgumentError: inplace is True, or an option is outside its range.
    """

    def __init__(self, *, inplace: bool = False, **options: float) -> None:
        if inplace:
            raise ArgumentError(
                f"{type(self).__name__} expects inplace=False: layers never write to their inputs, "
                "which other layers keep for backward; leave the argument out"
            )
        vars(self).update(options)
        if options:
            self.op.check(torch.empty(()), **options)

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments of torch's module without ``inplace``."""
        found = super().from_torch_config(module)
        return {name: value for name, value in found.items() if name != "inplace"}


class ReLU(Elementwise):
    """y = max(0, x); nan stays nan. The derivative is 1 where x > 0, else 0.

    Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines" (2010).

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.relu
    torch_names = ("torch.nn.ReLU",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class ReLU6(Elementwise):
    """y = min(max(x, 0), 6), in [0, 6]. The derivative is 1 where 0 < x < 6, else 0.

    Source: Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10" (2010).

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.relu6
    torch_names = ("torch.nn.ReLU6",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class LeakyReLU(Elementwise):
    """y = x where x > 0, else negative_slope·x. The derivative is 1, or negative_slope.

    Source: Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).

    Args:
        negative_slope: of the left half.
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.leaky_relu
    torch_names = ("torch.nn.LeakyReLU",)
    negative_slope: float

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope, inplace=inplace)


class Hardtanh(Elementwise):
    """y = min(max(x, min_val), max_val). The derivative is 1 where min_val < x < max_val, else 0.

    Source: Collobert, "Large Scale Machine Learning" (2004).

    Args:
        min_val: the least y.
        max_val: the largest y.
        inplace: False; see :class:`Elementwise`.

    Raises:
        ArgumentError: min_val is not less than max_val.
    """

    op = kinked.hardtanh
    torch_names = ("torch.nn.Hardtanh",)
    min_val: float
    max_val: float

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val, inplace=inplace)


class Threshold(Elementwise):
    """y = x where x > threshold, else value. The derivative is 1, or 0.

    Source: torch.nn.Threshold's documentation.

    Args:
        threshold: up to which x is replaced.
        value: what it is replaced by.
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.threshold
    torch_names = ("torch.nn.Threshold",)
    threshold: float
    value: float

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(threshold=threshold, value=value, inplace=inplace)

    @classmethod
    def example(cls) -> tuple[Threshold, Tensor]:
        """Return one, and an input for it."""
        return cls(0.1, -2.0), init.example_images()


class Hardshrink(Elementwise):
    """y = 0 where -lambd ≤ x ≤ lambd, else x. The derivative is 0, or 1.

    Source: Donoho and Johnstone, "Ideal Spatial Adaptation by Wavelet Shrinkage" (1994).

    Args:
        lambd: λ.
    """

    op = kinked.hardshrink
    torch_names = ("torch.nn.Hardshrink",)
    lambd: float

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Softshrink(Elementwise):
    """y = x − lambd where x > lambd, x + lambd where x < −lambd, else 0; the derivative is 1, or 0.

    Source: Donoho and Johnstone, "Ideal Spatial Adaptation by Wavelet Shrinkage" (1994).

    Args:
        lambd: λ ≥ 0.

    Raises:
        ArgumentError: lambd is negative.
    """

    op = kinked.softshrink
    torch_names = ("torch.nn.Softshrink",)
    lambd: float

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Hardsigmoid(Elementwise):
    """y = min(max(x + 3, 0), 6) / 6, in [0, 1]. The derivative is 1/6 where -3 < x < 3, else 0.

    Source: Howard et al., "Searching for MobileNetV3" (2019), section 5.2.

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.hardsigmoid
    torch_names = ("torch.nn.Hardsigmoid",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)

    def twin(self) -> Callable[[Tensor], Tensor]:
        """Return what it should equal: torch.nn.Hardsigmoid's derivative is 1/6 in float32 always,
        in float64, too.
        """
        return lambda x: (x + 3).clamp(0, 6) / 6


class Hardswish(Elementwise):
    """y = x·min(max(x + 3, 0), 6) / 6. The derivative is 0 where x ≤ -3, 1 where x ≥ 3, and
    x/3 + 1/2 between.

    Source: Howard et al., "Searching for MobileNetV3" (2019), section 5.2.

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = kinked.hardswish
    torch_names = ("torch.nn.Hardswish",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)
