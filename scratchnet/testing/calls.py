"""Calls of an operation that the checks can make, change and compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.ops.op import Case, Implementation, Needs, Op, Verdict
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.tensors import below, laid_out, whole
from scratchnet.verify.tolerance import Bound, backward_bounds, forward_bounds

DTYPES = (torch.float32, torch.float64)

Values = Callable[..., Tensor]
Named = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class Call:
    """One call of one operation, with a gradient for each of its outputs.

    Attributes:
        op: whose call it is.
        tensors: its tensors; None for those that are left out.
        options: all of its options.
        grad_ys: the gradients of its outputs; none if no backward follows.
        layout: how its tensors lie in memory, for messages.
    """

    op: Op
    tensors: tuple[Tensor | None, ...]
    options: dict[str, Any]
    grad_ys: tuple[Tensor, ...]
    layout: str = "contiguous"

    def __str__(self) -> str:
        shapes = ", ".join("None" if a is None else str(tuple(a.shape)) for a in self.tensors)
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        layout = "" if self.layout == "contiguous" else f" [{self.layout}]"
        return f"{self.op.name}({shapes}{options}; {self.dtype}){layout}"

    @property
    def dtype(self) -> torch.dtype:
        """Of all its floating-point tensors."""
        return next(t.dtype for t in self.tensors if t is not None and t.is_floating_point())

    @property
    def needs(self) -> Needs:
        """All gradients that there are."""
        follows = bool(self.grad_ys)
        return tuple(
            follows and t is not None and t.is_floating_point() and name not in self.op.constants
            for name, t in zip(self.names, self.tensors, strict=True)
        )

    # -- running -----------------------------------------------------------------------------------

    def run(
        self, by: Implementation, needs: Needs | None = None, *, unread: float = math.nan
    ) -> tuple[Named, Any]:
        """Return (what it is, for messages; tensor) for each output, and all gradients as they
        came; backward is given ``unread`` where it may read nothing but the shape.
        """
        y, kept = by.forward(*self.tensors, **self.options)
        grad_y = self.grad_ys[0] if len(self.grad_ys) == 1 else self.grad_ys
        grads: Any = tuple(None for _ in self.tensors)
        if self.grad_ys:
            given = self._for_backward(unread)
            grads = by.backward(grad_y, kept, *given, **self.options, needs=needs or self.needs)
        outputs = y if isinstance(y, tuple) else (y,)
        names = ["output"] if len(outputs) == 1 else [f"output {i}" for i in range(len(outputs))]
        return [(f"{n} of {self}", t) for n, t in zip(names, outputs, strict=True)], grads

    def _for_backward(self, unread: float) -> tuple[Tensor | None, ...]:
        return tuple(
            t.new_full((), unread).expand(t.shape)
            if t is not None and t is not original and t.is_floating_point()
            else original
            for t, original in zip(self.op.kept_tensors(self.tensors), self.tensors, strict=True)
        )

    def results(self, by: Implementation, *, unread: float = math.nan) -> Named:
        """Return (what it is, tensor) for each output and each gradient."""
        outputs, grads = self.run(by, unread=unread)
        return outputs + [
            (f"grad_{name} of {self}", grad)
            for name, grad, needed in zip(self.names, grads, self.needs, strict=True)
            if needed
        ]

    @property
    def names(self) -> list[str]:
        """Of the tensors."""
        return self.op.names(len(self.tensors))

    def bounds(self) -> list[Bound]:
        """Return what each of ``results`` should be, and how far it may be from that."""
        of_outputs = forward_bounds(self.op, self.tensors, self.options)
        if not self.grad_ys:
            return of_outputs
        of_grads = backward_bounds(self.op, self.grad_ys, self.tensors, self.options, self.needs)
        return of_outputs + [bound for bound in of_grads if bound is not None]

    # -- changing ----------------------------------------------------------------------------------

    def each(self, change: Callable[[Tensor], Tensor], layout: str | None = None) -> Call:
        """Return the call with every floating-point tensor changed."""

        def changed(tensor: Tensor | None) -> Tensor | None:
            return change(tensor) if tensor is not None and tensor.is_floating_point() else tensor

        return replace(
            self,
            tensors=tuple(map(changed, self.tensors)),
            grad_ys=tuple(map(change, self.grad_ys)),
            layout=layout or self.layout,
        )

    def relaid(self) -> Iterator[Call]:
        """Yield the call with one tensor after the other, and the gradients, lying in memory as
        each of LAYOUTS says.
        """
        from scratchnet.ops.op import LAYOUTS

        for layout in LAYOUTS[1:]:
            for i, tensor in enumerate(self.tensors):
                if tensor is not None:
                    moved = (*self.tensors[:i], _moved(tensor, layout), *self.tensors[i + 1 :])
                    yield replace(self, tensors=moved, layout=f"argument {i} {layout}")
            grads = tuple(_moved(grad, layout) for grad in self.grad_ys)
            yield replace(self, grad_ys=grads, layout=f"gradient {layout}")


def _moved(tensor: Tensor, layout: str) -> Tensor:
    if tensor.dim() == 4:
        return laid_out(tensor, layout)
    if not tensor.is_floating_point() or tensor.dim() == 0:
        return tensor.clone()
    return torch.stack([tensor, torch.full_like(tensor, math.nan)], -1)[..., 0]


def call(op: Op, case: Case, dtype: torch.dtype, values: Values, seed: int = 0) -> Call:
    """Return the call for one case, with tensors from ``values``."""
    most = {"most": 1} if values is whole and op.variadic else {}
    floating = 0

    def tensor(i: int, shape: tuple[int, ...]) -> Tensor:
        if case.dtypes:
            return torch.ones(shape, dtype=case.dtypes[min(i, len(case.dtypes) - 1)])
        if i < len(op.tensors) and op.tensors[i] in op.integers:
            return below(shape, case.below[op.tensors[i]], seed + 1 + i)
        made = values(shape, dtype, seed + 1 + i, **most)
        if op.variadic and values is not whole and i and len(shape) > 1:
            made = made / max(1, made[0].numel()) ** 0.5  # numbers stay near 1 through all stages
        return laid_out(made, case.layout) if i == floating and made.dim() == 4 else made

    tensors = tuple(None if s is None else tensor(i, s) for i, s in enumerate(case.shapes))
    tensors, options = op.bind(tensors, case.options)
    if case.error:
        return Call(op, tensors, options, (), case.layout)
    shapes = op.check(*tensors, **options)
    several = shapes if shapes and isinstance(shapes[0], tuple) else (shapes,)
    if not case.backward:
        several = ()
    grads = [values(s, dtype, seed + 90 + i, **most) for i, s in enumerate(several)]
    if case.layout not in ("contiguous", "sliced"):
        grads = [laid_out(g, case.layout) if g.dim() == 4 else g for g in grads]
    return Call(op, tensors, options, tuple(grads), case.layout)


class Subject:
    """One operation as a backend computes it.

    Attributes:
        op, backend, implementation: what is checked.
    """

    def __init__(self, op: Op, backend: Backend) -> None:
        self.op, self.backend = op, backend
        found = backend.implementation(op)
        assert found is not None
        self.implementation = found
        cases = op.cases()
        self.malformed = [case for case in cases if case.error]
        whole_grid = [case for case in cases if not case.error]
        # of a backend for calls of one kind, that kind; of one that supports nothing, everything
        self.grid = [case for case in whole_grid if self._may_support(case)] or whole_grid

    @property
    def available(self) -> Verdict:
        """True, or why it cannot run on this machine."""
        available = self.backend.available()
        return available if available is not True else self.implementation.available()

    @property
    def some(self) -> list[Case]:
        """About twenty cases of every kind."""
        filled = [case for case in self.grid if not _is_empty(case)]
        return filled[:: max(1, len(filled) // 20)]

    @property
    def few(self) -> list[Case]:
        """The handful that the op names; the first that are not empty if it names none."""
        named = [case for case in self.grid if case.few]
        return named or [case for case in self.grid if not _is_empty(case)][:5]

    @property
    def large(self) -> list[Case]:
        """The two with the most elements: work for several threads."""
        return sorted(self.grid, key=_size)[-2:]

    @property
    def empty(self) -> list[Case]:
        """Those without an image in the batch."""
        return [case for case in self.grid if _is_empty(case)]

    def _may_support(self, case: Case) -> bool:
        """Whether it supports the call's shapes and options in any dtype."""
        for dtype in DTYPES:
            made = call(self.op, case, dtype, _nothing)
            if self.implementation.supports(*made.tensors, **made.options) is True:
                return True
        return False

    def calls(
        self, cases: Sequence[Case], dtypes: Sequence[torch.dtype], values: Values
    ) -> Iterator[Call]:
        """Yield the calls that the implementation supports; at least one.

        Raises:
            ConformanceError: it supports none of them.
        """
        supported, reason = 0, ""
        for case in cases:
            for dtype in dtypes:
                made = call(self.op, case, dtype, values)
                verdict = self.verdict(made)
                if verdict is True:
                    supported += 1
                    yield made
                else:
                    reason = verdict
        if not supported and cases:
            raise ConformanceError(
                f"none of {len(cases)} calls of {self.op.name} is supported, the last because: "
                f"{reason}"
            )

    def verdict(self, made: Call) -> Any:
        """Return what ``supports`` says, if it says it rightly."""
        verdict: Any = self.implementation.supports(*made.tensors, **made.options)
        if verdict is not True and not (
            isinstance(verdict, str) and verdict and "\n" not in verdict
        ):
            raise ConformanceError(
                f"supports({made}) is expected to return True or one line saying why not, "
                f"got {verdict!r}"
            )
        return verdict


def _nothing(shape: Sequence[int], dtype: torch.dtype, seed: int, **bounds: int) -> Tensor:
    return torch.zeros((), dtype=dtype).expand(tuple(shape))


def _is_empty(case: Case) -> bool:
    return any(shape is not None and 0 in shape for shape in case.shapes)


def _size(case: Case) -> int:
    return max(math.prod(shape) for shape in case.shapes if shape is not None)
