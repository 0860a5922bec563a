"""Module: the base class of every layer, loss and container."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from scratchnet.errors import OrderError, ScratchnetError, ShapeError, TypeMismatch
from scratchnet.layers import kept
from scratchnet.layers.parameter import Parameter
from scratchnet.layers.value import Value

API_VERSION = 1
_WRAPPED = {
    "forward": kept.as_forward,
    "backward": kept.as_backward,
    "backward_parameters": kept.as_backward,
}


class Module:
    """Something with a ``forward`` and a hand-written ``backward``.

    To write a layer: create each parameter together with its gradient buffer by
    :meth:`add_parameter` and every other tensor of its state by :meth:`add_buffer`, keep in
    ``forward`` what ``backward`` needs with :meth:`save`, take it out of ``self.saved`` in
    ``backward``, and *add* to the gradient buffers there.

    A module may run several times within another's forward, as shared weights and recurrence need:
    every backward is that of the latest forward not gone back through yet. The next forward that is
    not inside another's forgets what is left, so forwards without a backward do not fill the
    memory.

    Attributes:
        training: True after :meth:`train` (the default), False after :meth:`eval`.
        api_version: the version of this contract the layer was written for.
        stochastic: in training mode it draws random numbers, from torch's global generator or one
            of its own.
        couples_batch: in training mode the output for one element of the batch depends on others.
        eval_differs: it computes something else in eval mode.
        integer_inputs: it takes integers, such as indices; backward returns None for such an input.
        torch_names: torch's modules of the same parameters that compute the same, such as
            ``("torch.nn.Conv2d",)``; to_torch makes the first.
    """

    api_version: ClassVar[int] = API_VERSION
    stochastic: ClassVar[bool] = False
    couples_batch: ClassVar[bool] = False
    eval_differs: ClassVar[bool] = False
    integer_inputs: ClassVar[bool] = False
    torch_names: ClassVar[tuple[str, ...]] = ()
    training: bool = True
    _history: kept.History | None = None
    _parameters: tuple[str, ...] = ()
    _buffers: tuple[str, ...] = ()
    _transient: tuple[str, ...] = ()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output, a tensor or a tuple of them; in training mode keep what
        :meth:`backward` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def backward(self, *grad_outputs: Any) -> Any:
        """Add the parameters' gradients to their buffers and return the gradient with respect to
        the input: a tensor, or for several inputs a tuple, with None for those of integers.

        Args:
            grad_outputs: for each output that ``forward`` returned, the gradient of the loss with
                respect to it, of its shape.

        Raises:
            OrderError: there was no forward in training mode before, or what it kept was changed.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward()")

    def backward_parameters(self, *grad_outputs: Any) -> None:
        """As :meth:`backward`, but for the parameters alone: all that a training step needs.

        Containers save the time for the gradient with respect to the input, which nobody reads.
        """
        self.backward(*grad_outputs)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Return ``forward(*inputs)``; in a Graph's ``connect``, note that it is to be called."""
        for value in inputs:
            if isinstance(value, Value):
                return value.wiring.call(self, inputs, options)
        return self.forward(*inputs, **options)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments: type(m)(**m.config()) is a fresh one of its kind."""
        return {}

    def to_torch_config(self) -> dict[str, Any]:
        """Return the arguments of the first of ``torch_names`` that make this layer there; modules
        among them are converted.
        """
        return self.config()

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments that make of this class what ``module``, of ``torch_names``, is;
        torch's modules among them are converted.

        Raises:
            ArgumentError: the module has an argument without a counterpart here.
        """
        names = inspect.signature(cls).parameters
        found = {name: getattr(module, name) for name in names if hasattr(module, name)}
        if "bias" in found:
            found["bias"] = found["bias"] is not None
        return found

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, wrap in _WRAPPED.items():
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))
        if "backward" in vars(cls) and "backward_parameters" not in vars(cls):
            # An inherited one would go round the new backward.
            setattr(cls, "backward_parameters", Module.backward_parameters)  # noqa: B010

    # -- what forward keeps for backward -----------------------------------------------------------

    def save(self, *values: Any) -> None:
        """Keep ``values`` for ``backward``; in eval mode keep nothing, so that inference costs no
        memory. The tensors among them, also in tuples and lists, must not be changed until then.
        """
        if self.keeps:
            if self._history is None or not kept.is_running(self):
                self._begin()
            assert self._history is not None
            self._history.records[-1].fill(values)

    @property
    def keeps(self) -> bool:
        """Whether a forward keeps what backward needs: in training mode, and inside
        ``kept.keeping()``.
        """
        return self.training or kept.is_keeping()

    @property
    def saved(self) -> tuple[Any, ...]:
        """What the forward kept that this backward belongs to.

        Raises:
            OrderError: there was no forward in training mode before, or a tensor that it kept has
                been changed in place since.
        """
        record, name = self.record, type(self).__name__
        if record.values is None:
            raise OrderError(f"{name}.forward kept nothing: call self.save(...) there")
        record.check(name)
        return record.values

    @property
    def record(self) -> kept.Record:
        """What is kept of the forward under way, or of the one that this backward belongs to.

        Raises:
            OrderError: there was no forward in training mode before.
        """
        history = self._kept()
        if not history.left:
            history.take(type(self).__name__)
        return history.records[history.left - 1]

    def _kept(self) -> kept.History:
        if self._history is None or not self._history.records:
            why = "before forward" if self.training else "in eval mode, which keeps nothing for it"
            cure = "call forward first" if self.training else "call train(), then forward"
            raise OrderError(f"{type(self).__name__}.backward was called {why}: {cure}")
        return self._history

    def _begin(self) -> None:
        """Open the record of one forward."""
        if not self.keeps:
            self._history = None
            return
        self._history = kept.following(self._history)
        self._history.records.append(kept.Record())
        self._history.left = len(self._history.records)

    def _abandon(self) -> None:
        """Drop the record of a forward that has failed."""
        if self._history is not None and self._history.records:
            self._history.records.pop()
            self._history.left = len(self._history.records)

    def _forget(self) -> None:
        self._history = None
        for _, child in self.named_children():
            child._forget()

    def _forget_earlier(self) -> None:
        """Drop what is kept of an earlier pass than the one under way."""
        if self._history is not None and not kept.is_current(self._history):
            self._history = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles carry parameters and configuration, not the last batch."""
        return {name: value for name, value in vars(self).items() if name != "_history"}

    # -- parameters, their gradients, and buffers --------------------------------------------------

    def add_parameter(self, name: str, value: Tensor | None, trainable: bool = True) -> None:
        """Set the attributes ``name`` and ``grad_name``: the parameter and its zeroed gradient
        buffer, or None, None.

        Args:
            name: also its name in ``state_dict()``.
            value: the initial values; another module's parameter is shared with it.
            trainable: False to freeze it: no optimizer will move it. See :meth:`requires_grad_`.
        """
        if value is not None and not isinstance(value, Parameter):
            value = Parameter(value, trainable)
        setattr(self, name, value)
        setattr(self, f"grad_{name}", value.buffer if value is not None else None)
        self._parameters = (*self._parameters, name)

    def add_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Set the attribute ``name``, a tensor that belongs to the layer's state but that no
        optimizer changes, such as a running mean. ``to()`` converts it.

        Args:
            name: also its name in ``state_dict()``.
            value: the tensor; the attribute may later be changed in place or set to another one.
            persistent: whether ``state_dict()`` holds it.
        """
        setattr(self, name, value)
        self._buffers = (*self._buffers, name)
        if not persistent:
            self._transient = (*self._transient, name)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for each module that is an attribute of this one, in order of
        assignment.
        """
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (prefix, module) for this module and all inside it; a shared one each time."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}{name}.")

    def _tensors(
        self,
        kind: str,
        prefix: str = "",
        found: dict[int, tuple[str, Any, Module, str]] | None = None,
    ) -> Iterable[tuple[str, Any, Module, str]]:
        """Return (name, tensor, its module, its attribute) of ``_parameters`` or ``_buffers``; what
        is shared only once.
        """
        found = {} if found is None else found
        for name in getattr(self, kind):
            value = getattr(self, name)
            if value is not None:
                found.setdefault(id(value), (prefix + name, value, self, name))
        for name, child in self.named_children():
            child._tensors(kind, f"{prefix}{name}.", found)
        return found.values()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (name, parameter), with torch.nn's dotted names, frozen ones included; one that is
        shared only once. ``parameter.grad`` is the gradient buffer, as torch.optim expects.
        """
        for name, value, _, _ in self._tensors("_parameters"):
            yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, for torch.optim and what else is written for torch.nn.

        ``torch.optim.swa_utils.AveragedModel(model, use_buffers=True)`` averages them; without
        ``use_buffers`` it looks for modules of torch.nn and finds nothing to average.
        """
        for _, value in self.named_parameters():
            yield value

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, buffer), with torch.nn's dotted names; one that is shared only once."""
        for name, value, _, _ in self._tensors("_buffers"):
            yield name, value

    def buffers(self) -> Iterator[Tensor]:
        """Yield every buffer."""
        for _, value in self.named_buffers():
            yield value

    def named_param(self, prefix: str = "") -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (name, parameter, gradient) for what is to be trained: always the same tensor
        objects, frozen ones left out, one that is shared only once.
        """
        for name, value, module, attribute in self._tensors("_parameters", prefix):
            if not isinstance(value, Parameter) or value.requires_grad:
                yield name, value, getattr(module, f"grad_{attribute}")

    def param(self) -> list[tuple[Tensor, Tensor]]:
        """Return the flat list of (parameter, gradient) that an optimizer takes, always the same
        tensor objects, frozen ones left out; ``[]`` if there are none.
        """
        return [(value, grad) for _, value, grad in self.named_param()]

    def requires_grad_(self, mode: bool = True) -> Self:
        """Freeze (False) or train (True) all parameters, as torch.nn's method; one alone by
        ``parameter.requires_grad = False``. A frozen one stays in ``state_dict()``.
        """
        for value in self.parameters():
            value.requires_grad = mode
        return self

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        grads = [grad for _, grad in self.param()]
        if grads:
            torch._foreach_zero_(grads)

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Self:
        """Convert parameters, gradients and buffers (those of integers keep their dtype), keeping
        the tensor objects (so optimizers stay attached).

        Raises:
            TypeMismatch: dtype is not a floating-point type.
        """
        if dtype is not None and not dtype.is_floating_point:
            raise TypeMismatch(
                f"to() expects a floating-point dtype such as torch.float32, got {dtype}"
            )
        for _, value, module, attribute in self._tensors("_parameters"):
            for tensor in (value, getattr(module, f"grad_{attribute}")):
                tensor.data = tensor.data.to(dtype=dtype, device=device)
        for buffer in self.buffers():
            kind = dtype if buffer.is_floating_point() else None
            buffer.data = buffer.data.to(dtype=kind, device=device)
        self._forget()
        return self

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
        """Return {name: tensor} of parameters and persistent buffers, with torch.nn's key names,
        order and shapes: a module in two places is listed in both. The tensors are plain ones that
        share the memory of the module's.
        """
        names = (
            (prefix + name, getattr(module, name))
            for prefix, module in self.named_modules()
            for name in (*module._parameters, *module._buffers)
            if name not in module._transient
        )
        return {name: value.detach() for name, value in names if value is not None}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy ``state`` into the parameters and buffers, in place; nothing is copied unless
        everything fits.

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
