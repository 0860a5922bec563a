"""Optimizer: what optimizers share, on top of torch.optim.Optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ScratchnetError
from scratchnet.ops.extension import extension

Params = Iterable[Any]


class Optimizer(torch.optim.Optimizer):
    """A torch.optim.Optimizer, with parameter groups, schedules and state as those have them, that
    also takes the pairs of ``model.param()``.

    To write one: hand the options to ``super().__init__`` by name, refuse impossible ones in
    :meth:`check`, and change one parameter in :meth:`update`.

    Args:
        params: ``model.param()``, ``model.parameters()``, or dicts with ``"params"`` (either of
            them) and options of their own. A frozen parameter is left alone.
        options: of every group that has none of its own.

    Raises:
        ArgumentError: no parameters, or an option is outside its range.
    """

    def __init__(self, params: Params, **options: Any) -> None:
        groups = list(params) if isinstance(params, Iterable) else []
        if not groups:
            raise ArgumentError(
                f"{type(self).__name__} expects at least one parameter, as model.parameters() or "
                f"model.param() returns them; got "
                f"{'none' if isinstance(params, Iterable) else type(params).__name__}"
            )
        super().__init__(groups, options)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option of a group is outside its range."""

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place.

        Args:
            value: the parameter.
            grad: its gradient; is not changed.
            state: what is remembered of it from step to step; ``{}`` before the first.
            options: of its group, ``"lr"`` among them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update()")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter once, in place; return what ``closure`` does if there is one."""
        if _hooks(self):
            return _hooked_step(self, closure)
        return self._step(closure)

    # To torch: hooks are seen to. Where there are none, its wrapper is a third of a small step.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                values = group["params"]
                self.update_all([(v, g) for v in values if (g := v.grad) is not None], group)
        return result

    def update_all(self, pairs: list[tuple[Tensor, Tensor]], options: Mapping[str, Any]) -> None:
        """Change the parameters of a group in place, each with its gradient."""
        for value, grad in pairs:
            self.update(value, grad, self.state[value], options)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to zero, in place, whatever ``set_to_none`` says."""
        values = (value for group in self.param_groups for value in group["params"])
        grads = [grad for value in values if (grad := value.grad) is not None]
        if grads:
            torch._foreach_zero_(grads)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of all."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with ``"params"`` and options that differ from the others'."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        options = self.defaults | param_group
        at_least(0, lr=options["lr"])
        self.check(options)
        super().add_param_group({**param_group, "params": [_attached(entry) for entry in params]})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state that ``state_dict()`` returned.

        Raises:
            ScratchnetError: it belongs to other parameters.
        """
        values = [value for group in self.param_groups for value in group["params"]]
        for i, state in state_dict["state"].items():
            for kind, tensor in state.items():
                of_value = isinstance(tensor, Tensor) and tensor.dim() > 0
                if i >= len(values) or (of_value and tensor.shape != values[i].shape):
                    expected = [tuple(value.shape) for value in values]
                    raise ScratchnetError(
                        f"this state belongs to another {type(self).__name__}: expected values of "
                        f"the shapes {expected}, got {kind} of parameter {i}"
                        + (f" with {tuple(tensor.shape)}" if of_value else "")
                    )
        super().load_state_dict(state_dict)


class FusedOptimizer(Optimizer):
    """An optimizer with a C++ kernel that changes all parameters in one call.

    The kernel runs where the selected backend is ``auto`` or ``cpp``, on dense float32 and float64
    on the CPU; the same bits at any number of threads.

    To write one: return from :meth:`numbers` all that a step needs besides tensors, and let
    :meth:`apply`, the specification, and the kernel do with it the same.

    Attributes:
        kernel: its name in scratchnet._C; empty for a subclass that computes something else.
        kept: the names of the state's tensors, in the kernel's order.
    """

    kernel: ClassVar[str]
    kept: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kernel" not in vars(cls) and {"apply", "update"} & vars(cls).keys():
            cls.kernel = ""  # an inherited one would go round the new method

    def numbers(
        self, value: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[float, ...]:
        """Return the numbers of the step that begins now, after making the state's tensors if it is
        the first and counting it if steps are counted.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define numbers()")

    def apply(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], numbers: tuple[float, ...]
    ) -> None:
        """Change one parameter and its state in place; arguments as of :meth:`update`."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply()")

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        self.apply(value, grad, state, self.numbers(value, state, options))

    def update_all(self, pairs: list[tuple[Tensor, Tensor]], options: Mapping[str, Any]) -> None:
        """Change the parameters of a group, by the kernel if it takes them all."""
        if not (pairs and self.kernel and by_kernels()):
            return super().update_all(pairs, options)
        states = [self.state[value] for value, _ in pairs]
        numbers = [
            self.numbers(value, state, options)
            for (value, _), state in zip(pairs, states, strict=True)
        ]
        values, grads = map(list, zip(*pairs, strict=True))
        kept = [[s[name] for s in states] if name in states[0] else [] for name in self.kept]
        if getattr(extension(), self.kernel)(values, grads, kept, numbers):
            return changed(values)
        for value, grad, state, own in zip(values, grads, states, numbers, strict=True):
            self.apply(value, grad, state, own)
        return None


def by_kernels() -> bool:
    """Whether the selected backend lets scratchnet's kernels run, and they are there."""
    choice, _ = dispatch.selection()
    return (choice == "cpp" or dispatch.is_auto(choice)) and extension.available() is True


def changed(tensors: list[Tensor]) -> None:
    """Tell torch that a kernel has written to them, as its own operations do."""
    torch._foreach_copy_(tensors, tensors)  # onto itself, a tensor is not copied


_hooked_step = torch.optim.Optimizer.profile_hook_step(Optimizer._step)


def _hooks(optimizer: Optimizer) -> bool:
    """Whether something is to be called before or after a step."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def _attached(entry: Any) -> Any:
    """Return the parameter of a (parameter, gradient) pair, whose ``grad`` is then the gradient."""
    if not (isinstance(entry, tuple) and isinstance(entry[0], Tensor)):
        return entry
    value, grad = entry
    if value.grad is not grad:
        value.grad = grad  # a plain tensor takes the object, a Parameter has its own
        if value.grad is not grad:
            raise ArgumentError("a pair is expected to hold a parameter and its own gradient")
    return value


def supported(optimizer: str, others: Mapping[str, Any]) -> None:
    """Refuse what torch.optim's has and this has not, unless it is off.

    Raises:
        ArgumentError: it is asked for, or no optimizer has it.
    """
    for name, value in others.items():
        if name not in ("foreach", "fused", "capturable", "differentiable"):
            raise ArgumentError(f"{optimizer} has no argument {name}")
        if value:
            raise ArgumentError(
                f"{optimizer} has no {name}={value}: it says how torch computes; leave it out "
                "(here one call changes all parameters anyway)"
            )


def at_least(least: float, **values: float) -> None:
    """Raise ArgumentError for a value that is smaller, or nan."""
    for name, value in values.items():
        if not value >= least:
            raise ArgumentError(f"{name} is expected to be at least {least}, got {value}")
