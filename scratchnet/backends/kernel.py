"""Kernels for operations that only one plugin knows: chosen, traced and cross-checked as backends.

A kernel for something that backends do, a convolution of a special kind, is better written as a
:class:`~scratchnet.backends.base.Backend` that ``supports`` just that; then every layer can use it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from scratchnet.backends import dispatch, verify
from scratchnet.backends.base import Verdict
from scratchnet.backends.cross_check import cross_check
from scratchnet.backends.dispatch import Choice, Explanation


class Operation(ABC):
    """A function of tensors with its gradients by hand: pure, as a backend's methods are.

    Attributes:
        name: what :func:`scratchnet.backends.dispatch.trace` shows.
    """

    name: ClassVar[str] = "reference"

    @abstractmethod
    def forward(self, *tensors: Any, **options: Any) -> Tensor:
        """Return the output for ``tensors``, some of which may be None.

        Options are plain values, such as numbers and tuples of them.
        """

    @abstractmethod
    def backward(self, grad_y: Any, *tensors: Any, **options: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``tensors``, in order, from that of the output."""


class Kernel(Operation):
    """A fast operation, beside the reference that it must equal.

    A layer asks :meth:`resolve` in its forward, keeps what it gets, and uses the same in backward.

    Attributes:
        name: of the operation.
        reference: the same in torch, for anyone to read.
    """

    reference: ClassVar[Operation]

    def supports(self, *tensors: Any, **options: Any) -> Verdict:
        """True if the kernel can run this forward and its backward, else a line saying why not."""
        return True

    def resolve(self, *tensors: Any, backend: Choice | None = None, **options: Any) -> Operation:
        """Return what is to run: the kernel where no backend is named and it supports the call,
        the reference everywhere else; with SCRATCHNET_VERIFY, a kernel that is checked.

        Args:
            tensors: the operation's.
            backend: what the layer asks for; None for what is selected.
            options: the operation's.
        """
        choice, _ = dispatch.selection(backend)
        if not dispatch.is_auto(choice) or self.supports(*tensors, **options) is not True:
            dispatch.record(self.name, "reference")
            return self.reference
        dispatch.record(self.name, "kernel")
        return VerifiedKernel(self) if verify.enabled() else self

    def explain(self, *tensors: Any, backend: Choice | None = None, **options: Any) -> Explanation:
        """Say what would run and why; ``scratchnet.explain(kernel, ...)`` is the same."""
        choice, source = dispatch.selection(backend)
        verdict = self.supports(*tensors, **options)
        if not dispatch.is_auto(choice):
            verdict = f"not asked: {source} chose {choice!r}"
        reasons = {
            "kernel": "runs" if verdict is True else verdict,
            "reference": "runs where the kernel does not" if verdict is True else "runs",
        }
        return Explanation(self.name, "kernel" if verdict is True else "reference", source, reasons)


class VerifiedKernel(Operation):
    """Runs a kernel and its reference, and raises where they differ.

    Args:
        inner: the kernel, whose results are returned.
    """

    def __init__(self, inner: Kernel) -> None:
        self.inner, self.name = inner, inner.name  # type: ignore[misc]

    def forward(self, *tensors: Any, **options: Any) -> Tensor:
        """Checked; see Operation."""
        y: Tensor = self._run("forward", tensors, options)
        return y

    def backward(self, grad_y: Any, *tensors: Any, **options: Any) -> tuple[Tensor | None, ...]:
        """Checked; see Operation."""
        grads: tuple[Tensor | None, ...] = self._run("backward", (grad_y, *tensors), options)
        return grads

    def _run(self, op: str, tensors: tuple[Tensor | None, ...], options: dict[str, Any]) -> Any:
        reference = self.inner.reference
        names = list(inspect.signature(getattr(reference, op)).parameters)
        named = dict(zip(names, tensors, strict=False))
        outputs = ["output"] if op == "forward" else [f"grad_{name}" for name in named][1:]
        # nothing is known of its sums: at most every number takes part in one
        terms = max(t.numel() for t in tensors if t is not None)
        return cross_check(self.inner, reference, op, named, options, outputs, terms)
