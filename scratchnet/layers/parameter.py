"""Parameter: a tensor that an optimizer changes, with the buffer that its gradients add up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _disabled_torch_function_impl

from scratchnet.errors import TypeMismatch

# As torch.nn.Parameter: operations on these give plain tensors and do not pass through Python.
_plain: Callable[..., Any] = _disabled_torch_function_impl


class Gradient(Tensor):
    """A parameter's gradient buffer: an ordinary tensor, except that it has no gradient itself.

    torch.optim, given ``model.param()`` instead of ``model.parameters()``, would take the gradients
    for the parameters and train nothing; reading their ``.grad`` is where it gets this error.
    """

    __torch_function__ = _plain

    @property
    def grad(self) -> Tensor | None:  # type: ignore[override]
        """An error: see the class."""
        raise TypeMismatch(
            "this tensor is a gradient, not a parameter: give torch.optim model.parameters() "
            "(pairs, as model.param() returns them, are for scratchnet's optimizers)"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Gradient:
        if id(self) not in memo:
            memo[id(self)] = _gradient(self.detach().clone())
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _gradient, (self.detach(),)


class Parameter(Tensor):
    """A tensor that an optimizer changes in place.

    ``parameter.grad`` is the buffer that ``backward`` adds to, always the same object; set to None
    it is zeroed in place, set to a tensor it takes that tensor's values. So torch.optim, its
    schedulers and ``clip_grad_norm_`` work on it. ``parameter.requires_grad`` says whether it is to
    be trained; autograd never records what is done with it. One that is not trained ("frozen") has
    no gradient: its ``grad`` is None, and no optimizer moves it.

    Args:
        value: the values; the memory is shared.
        trainable: False for a frozen one.
    """

    __torch_function__ = _plain
    buffer: Gradient
    _trainable: bool

    def __new__(cls, value: Tensor, trainable: bool = True) -> Parameter:
        """Share the memory of ``value``."""
        made: Parameter = torch.Tensor._make_subclass(cls, value.detach())
        made.buffer = _gradient(torch.zeros_like(made))
        made._trainable = trainable
        return made

    @property
    def grad(self) -> Tensor | None:
        """The gradient buffer; None if the parameter is frozen."""
        return self.buffer if self._trainable else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            self.buffer.zero_()
        elif value is not self.buffer:
            self.buffer.copy_(value)

    @property
    def requires_grad(self) -> bool:
        """Whether optimizers train it; nothing to do with autograd, which never sees it."""
        return self._trainable

    @requires_grad.setter
    def requires_grad(self, mode: bool) -> None:
        if mode and not self._trainable:
            self.buffer.zero_()  # of what was added while nobody looked
        self._trainable = mode

    def requires_grad_(self, mode: bool = True) -> Parameter:
        """Freeze (False) or train (True) this parameter."""
        self.requires_grad = mode
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            buffer = self.buffer.__deepcopy__(memo)
            memo[id(self)] = _rebuilt(self.detach().clone(), buffer, self._trainable)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self.detach(), self.buffer, self._trainable)


def _gradient(value: Tensor) -> Gradient:
    made: Gradient = torch.Tensor._make_subclass(Gradient, value)
    return made


def _rebuilt(value: Tensor, buffer: Gradient, trainable: bool) -> Parameter:
    made = Parameter(value, trainable)
    made.buffer = buffer
    return made
