"""Sequential: one module after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

from torch import Tensor

from scratchnet.errors import TypeMismatch
from scratchnet.layers.fuse import Run, parts
from scratchnet.layers.module import Module


class Sequential(Module):
    """Chain modules: the output of each is the input of the next.

    Args:
        modules: any number of modules; none makes the identity.

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

    def forward(self, *inputs: Tensor) -> Tensor:
        """f(x) = f_n(... f_2(f_1(x))); neighbours that a backend can run as one are (fuse.py)."""
        (x,) = inputs
        self._saved = None  # before the new results need the memory
        ways_back: list[Any] = []
        for part in parts(self, self.modules):
            if isinstance(part, Run):
                x, back = part.forward(x)
                ways_back.append(back)
            else:
                x = part.forward(x)
                ways_back.append(part)
        self.save(*ways_back)
        return x

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = J₁ᵀ J₂ᵀ ... J_nᵀ ∂L/∂y: the chain rule, from the last module to the first."""
        (grad,) = grad_outputs
        for part in reversed(self.saved):
            grad = part.backward(grad)
        return grad

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """As backward, without ∂L/∂x: the first module need not compute it."""
        (grad,) = grad_outputs
        if not self.saved:
            return
        first, *others = self.saved
        for part in reversed(others):
            grad = part.backward(grad)
        first.backward_parameters(grad)

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
