"""Module: the base class of every layer, loss and container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from scratchnet.errors import OrderError, ScratchnetError, ShapeError, TypeMismatch

API_VERSION = 1


class Module:
    """Something with a ``forward`` and a hand-written ``backward``.

    To write a layer: name its parameters in ``parameter_names``, create each together with its
    gradient buffer by :meth:`add_parameter`, keep in ``forward`` what ``backward`` needs with
    :meth:`save`, take it out of ``self.saved`` in ``backward``, and *add* to the gradient buffers
    there.

    Attributes:
        parameter_names: the attributes that hold parameters; the gradient of ``p`` is the attribute
            ``grad_p``.
        training: True after :meth:`train` (the default), False after :meth:`eval`.
        api_version: the version of this contract the layer was written for.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    api_version: ClassVar[int] = API_VERSION
    training: bool = True
    _saved: tuple[Any, ...] | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the output; in training mode keep what :meth:`backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """Add the parameters' gradients to their buffers and return the gradient with respect to
        the input.

        Args:
            grad_outputs: the gradient of the loss with respect to what the last ``forward``
                returned, same shape.

        Raises:
            OrderError: there was no forward in training mode before.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward()")

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """As :meth:`backward`, but for the parameters alone: all that a training step needs.

        Containers save the time for the gradient with respect to the input, which nobody reads.
        """
        self.backward(*grad_outputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return ``forward(*inputs)``."""
        return self.forward(*inputs)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments: type(m)(**m.config()) is a fresh one of its kind."""
        return {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "backward" in vars(cls) and "backward_parameters" not in vars(cls):
            # An inherited one would go round the new backward.
            setattr(cls, "backward_parameters", Module.backward_parameters)  # noqa: B010

    # -- what forward keeps for backward -----------------------------------------------------------

    def save(self, *values: Any) -> None:
        """Keep ``values`` for ``backward``; in eval mode keep nothing, so that inference costs no
        memory.
        """
        self._saved = values if self.training else None

    @property
    def saved(self) -> tuple[Any, ...]:
        """What the last forward kept.

        Raises:
            OrderError: there was no forward in training mode before.
        """
        if self._saved is None:
            why = "before forward" if self.training else "in eval mode, which keeps nothing for it"
            cure = "call forward first" if self.training else "call train(), then forward"
            raise OrderError(f"{type(self).__name__}.backward was called {why}: {cure}")
        return self._saved

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles carry parameters and configuration, not the last batch."""
        return {name: value for name, value in vars(self).items() if name != "_saved"}

    # -- parameters and their gradients ------------------------------------------------------------

    def add_parameter(self, name: str, value: Tensor | None) -> None:
        """Set the attributes ``name`` and ``grad_name``: the parameter and its zeroed gradient
        buffer, or None, None.
        """
        setattr(self, name, value)
        setattr(self, f"grad_{name}", None if value is None else torch.zeros_like(value))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for each module that is an attribute of this one, in order of
        assignment.
        """
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_param(self, prefix: str = "") -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (name, parameter, gradient), with torch.nn's dotted names; always the same tensor
        objects.
        """
        for name in self.parameter_names:
            if getattr(self, name) is not None:
                yield prefix + name, getattr(self, name), getattr(self, f"grad_{name}")
        for name, child in self.named_children():
            yield from child.named_param(f"{prefix}{name}.")

    def param(self) -> list[tuple[Tensor, Tensor]]:
        """Return the flat list of (parameter, gradient), always the same tensor objects; ``[]`` if
        there are none.
        """
        return [(value, grad) for _, value, grad in self.named_param()]

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        for _, grad in self.param():
            grad.zero_()

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Self:
        """Convert parameters and gradients, keeping the tensor objects (so optimizers stay
        attached).

        Raises:
            TypeMismatch: dtype is not a floating-point type.
        """
        if dtype is not None and not dtype.is_floating_point:
            raise TypeMismatch(
                f"to() expects a floating-point dtype such as torch.float32, got {dtype}"
            )
        for value, grad in self.param():
            value.data = value.data.to(dtype=dtype, device=device)
            grad.data = grad.data.to(dtype=dtype, device=device)
        self._forget()
        return self

    def _forget(self) -> None:
        self._saved = None
        for _, child in self.named_children():
            child._forget()

    # -- modes -------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode: ``forward`` keeps what ``backward`` needs."""
        self.training = mode
        for _, child in self.named_children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to inference: ``forward`` keeps nothing, ``backward`` is an error."""
        self._forget()
        return self.train(False)

    # -- saving and showing ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Return {name: parameter} with torch.nn's key names and shapes; the tensors are not
        copied.
        """
        return {name: value for name, value, _ in self.named_param()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy ``state`` into the parameters, in place; nothing is copied unless everything fits.

        Raises:
            ScratchnetError: names are missing or unexpected.
            ShapeError: a tensor has another shape than the parameter of its name.
        """
        own = self.state_dict()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unexpected:
            raise ScratchnetError(
                f"this state does not belong to {type(self).__name__}: "
                f"missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}"
            )
        for name, value in own.items():
            if value.shape != state[name].shape:
                raise ShapeError(
                    f"{name} expects the shape {tuple(value.shape)}, got {tuple(state[name].shape)}"
                )
        for name, value in own.items():
            value.copy_(state[name].detach())

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({arguments})"
