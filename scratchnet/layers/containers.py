"""Containers: modules one after the other, added to their input, or appended to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import torch
from torch import Tensor

from scratchnet.errors import ShapeError, TypeMismatch
from scratchnet.layers import fuse, init
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.module import Module


class Sequential(Module):
    """Chain modules: the output of each is the input of the next.

    Args:
        modules: any number of modules; none makes the identity. One may stand in several places:
            then they share its parameters, whose gradients add up.

    Raises:
        TypeMismatch: an argument is not a Module.
    """

    def __init__(self, *modules: Module) -> None:
        for position, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeMismatch(
                    f"Sequential expects modules, got {type(module).__name__} at position "
                    f"{position}; "
                    "pass the layers as separate arguments: Sequential(layer, layer, ...)"
                )
        self.modules = list(modules)

    def forward(self, *inputs: Any) -> Any:
        """f(x) = f_n(... f_2(f_1(x))); neighbours that a backend can run as one are (fuse.py).
        Several inputs go to the first module, a tuple on to the next as its several inputs.
        """
        ways_back: list[Any] = []
        for part in fuse.parts(self, self.modules):
            if isinstance(part, fuse.Run):
                y, back = part.forward(*inputs)
                inputs = (y,)
                ways_back.append(back)
            else:
                inputs = _tuple(part.forward(*inputs))
                ways_back.append(part)
        self.save(*ways_back)
        return inputs[0] if len(inputs) == 1 else inputs

    def backward(self, *grad_outputs: Any) -> Any:
        """∂L/∂x = J₁ᵀ J₂ᵀ ... J_nᵀ ∂L/∂y: the chain rule, from the last module to the first."""
        grads = grad_outputs
        for part in reversed(self.saved):
            grads = _tuple(part.backward(*grads))
        return grads[0] if len(grads) == 1 else grads

    def backward_parameters(self, *grad_outputs: Any) -> None:
        """As backward, without ∂L/∂x: the first module need not compute it."""
        if not self.saved:
            return
        grads = grad_outputs
        first, *others = self.saved
        for part in reversed(others):
            grads = _tuple(part.backward(*grads))
        first.backward_parameters(*grads)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield ("0", first module), ("1", second module), ..., as torch.nn names them."""
        for position, module in enumerate(self.modules):
            yield str(position), module

    def __len__(self) -> int:
        return len(self.modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        """Return one module, or a Sequential of some that shares them with this one."""
        if isinstance(index, slice):
            return Sequential(*self.modules[index])
        return self.modules[index]

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): {module!r}".replace("\n", "\n  ")
            for name, module in self.named_children()
        ]
        return "\n".join(["Sequential(", *lines, ")"]) if lines else "Sequential()"

    def config(self) -> dict[str, Any]:
        """Return {}: a Sequential is rebuilt from its modules."""
        return {}


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class Residual(Module):
    """y = x + f(x). Source: He et al., "Deep Residual Learning for Image Recognition" (2015),
    equation 1.

    Args:
        body: f; its output has the shape of its input.
    """

    torch_names = ("scratchnet.interop.TorchResidual",)

    @classmethod
    def example(cls) -> tuple[Residual, Tensor]:
        """Return a small one, and an input for it."""
        return cls(Conv2d(4, 4, 3, padding=1)), init.example_images()

    def __init__(self, body: Module) -> None:
        self.body = body

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"body": self.body}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x + f(x).

        Raises:
            ShapeError: f changes the shape.
        """
        x = check_tensor(self, inputs[0])
        fused = fuse.whole(self, x)
        if fused is not None:
            self.save(fused[1])
            return fused[0]
        self.save(None)
        y: Tensor = self.body.forward(x)
        if y.shape != x.shape:
            raise ShapeError(
                f"Residual expects a body that keeps the shape {tuple(x.shape)}, "
                f"but it returned {tuple(y.shape)}"
            )
        return y + x

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y + Jᵀ ∂L/∂y, with J the Jacobian of f."""
        (grad_y,) = grad_outputs
        (fused,) = self.saved
        through_body: Tensor = (fused or self.body).backward(grad_y)
        return through_body if fused else through_body + check_tensor(self, grad_y)

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """Those of f: the sum has none of its own."""
        (fused,) = self.saved
        (fused or self.body).backward_parameters(*grad_outputs)


class Concat(Module):
    """y = [x, f(x)], joined along the channels: a skip connection that adds nothing up.

    Input (N, C, H, W) or (C, H, W); output (N, C + C', H, W), where f returns C' channels of the
    same height and width. Source: Ronneberger et al., "U-Net" (2015), figure 1 ("copy", without
    "crop"); Huang et al., "Densely Connected Convolutional Networks" (2016), equation 2.

    Args:
        body: f; it keeps height and width.
    """

    torch_names = ("scratchnet.interop.TorchConcat",)

    @classmethod
    def example(cls) -> tuple[Concat, Tensor]:
        """Return a small one, and an input for it."""
        return cls(Conv2d(4, 4, 3, padding=1)), init.example_images()

    def __init__(self, body: Module) -> None:
        self.body = body

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"body": self.body}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return [x, f(x)], with x in the first channels.

        Raises:
            ShapeError: x has no channels, or f changes height, width or batch.
        """
        x = check_tensor(self, inputs[0])
        if x.dim() not in (3, 4):
            raise ShapeError(f"Concat expects (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
        fused = fuse.whole(self, x)
        if fused is not None:
            self.save(fused[1], 0, fused[0].shape, x.dtype)
            return fused[0]
        y = self.body.forward(x)
        if y.dim() != x.dim() or _without_channels(y) != _without_channels(x):
            raise ShapeError(
                "Concat expects a body that changes nothing but the number of channels of "
                f"{tuple(x.shape)}, but it returned {tuple(y.shape)}"
            )
        joined = torch.cat([x, y], dim=-3)
        self.save(None, x.shape[-3], joined.shape, joined.dtype)
        return joined

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = g₁ + Jᵀ g₂, where ∂L/∂y = [g₁, g₂] and J is the Jacobian of f.

        x reaches the output twice, as itself and through f: the two gradients add up.
        """
        fused, channels, shape, dtype = self.saved
        grad_y = check_grad(self, grad_outputs[0], shape, dtype)
        if fused is not None:
            grad_x: Tensor = fused.backward(grad_y)
            return grad_x
        direct, grad_body = grad_y.tensor_split((channels,), dim=-3)
        through_body: Tensor = self.body.backward(grad_body)
        return through_body + direct


def _without_channels(x: Tensor) -> tuple[int, ...]:
    return (*x.shape[:-3], *x.shape[-2:])
