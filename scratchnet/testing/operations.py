"""The operations of a backend, as calls that the checks can make, change and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Needs
from scratchnet.testing.cases import (
    CONVOLUTIONS,
    LAYOUTS,
    UPSAMPLED_CONVOLUTIONS,
    Case,
)
from scratchnet.testing.tensors import laid_out, whole

Values = Callable[..., Tensor]
Named = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class Call:
    """One call of one operation.

    Attributes:
        operation: whose call it is.
        case: where its shapes come from.
        args: its positional arguments: tensors, or None for no bias.
        kwargs: its keyword arguments.
    """

    operation: Operation
    case: Case
    args: tuple[Tensor | None, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        shapes = ", ".join("None" if a is None else str(tuple(a.shape)) for a in self.args)
        options = ", ".join(f"{name}={value}" for name, value in self.kwargs.items())
        layout = "" if self.case.layout == "contiguous" else f" [{self.case.layout}]"
        return f"{self.operation.name}({shapes}, {options}; {self.dtype}){layout}"

    @property
    def tensors(self) -> list[Tensor]:
        """The arguments that are tensors."""
        return [a for a in self.args if a is not None]

    @property
    def dtype(self) -> torch.dtype:
        """Of all its tensors."""
        return self.tensors[0].dtype

    @property
    def terms(self) -> int:
        """The largest number of products that are added up into one element of an output."""
        case = self.case
        kernel = case.kernel[0] * case.kernel[1]
        block = case.scale[0] * case.scale[1]
        places = case.n * case.y_shape[2] * case.y_shape[3]
        return max(case.c * kernel, case.o * kernel * block, places, 1)

    # -- running -----------------------------------------------------------------------------------

    def ask(self, backend: Backend) -> object:
        """Return what the backend's ``supports`` says."""
        return backend.supports(self.operation.name, *self.args, **self.kwargs)

    def run(self, backend: Backend) -> Any:
        """Return what the backend returns."""
        return getattr(backend, self.operation.name)(*self.args, **self.kwargs)

    def outputs(self, backend: Backend) -> Named:
        """Return (what it is, for messages; tensor) for each output that is not None."""
        result = self.run(backend)
        outputs = result if isinstance(result, tuple) else (result,)
        return [
            (f"{name} of {self}", output)
            for name, output in zip(self.operation.output_names, outputs, strict=True)
            if output is not None
        ]

    def pairs(self, backend: Backend, reference: Backend) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (what, the backend's output, the reference's) for each output."""
        actual, expected = self.outputs(backend), self.outputs(reference)
        for (what, tensor), (_, same) in zip(actual, expected, strict=True):
            yield what, tensor, same

    def adjoint(self, backend: Backend) -> Iterator[tuple[str, float, float]]:
        """Yield (what, ⟨A·, g⟩, ⟨·, Aᵀ g⟩) for each gradient of this backward call."""
        forward = getattr(backend, self.operation.name.replace("backward", "forward"))
        grads = self.outputs(backend)
        grad_y = self.tensors[0]
        if len(self.args) == 1:
            x = whole(self.case.x_shape, self.dtype, 9)
            yield grads[0][0], _dot(forward(x, **self.kwargs), grad_y), _dot(x, grads[0][1])
            return
        x, weight = self.tensors[1:]
        y = forward(x, weight, None, **self.kwargs)
        yield grads[0][0], _dot(y, grad_y), _dot(x, grads[0][1])
        yield grads[1][0], _dot(y, grad_y), _dot(weight, grads[1][1])
        bias = whole((self.case.o,), self.dtype, 9)
        of_bias = forward(torch.zeros_like(x), weight, bias, **self.kwargs)
        yield grads[2][0], _dot(of_bias, grad_y), _dot(bias, grads[2][1])

    # -- changing ----------------------------------------------------------------------------------

    def magnitudes(self) -> Call:
        """Return the call on absolute values: its outputs are the sums of the terms' magnitudes."""
        return replace(self, args=tuple(None if a is None else a.abs() for a in self.args))

    def in_dtype(self, dtype: torch.dtype) -> Call:
        """Return the call with its tensors converted."""
        return replace(self, args=tuple(None if a is None else a.to(dtype) for a in self.args))

    def contiguous(self) -> Call:
        """Return the call with its tensors contiguous."""
        return replace(
            self,
            case=replace(self.case, layout="contiguous"),
            args=tuple(None if a is None else a.contiguous() for a in self.args),
        )

    def tensor_positions(self) -> list[int]:
        """Return where among the arguments the tensors stand."""
        return [i for i, a in enumerate(self.args) if a is not None]

    def laid_out(self, position: int, layout: str) -> Call:
        """Return the call with one tensor lying in memory as ``layout`` says."""
        tensor = self.args[position]
        assert tensor is not None
        if tensor.dim() == 4:
            moved = laid_out(tensor, layout)
        else:
            moved = torch.stack([tensor, torch.full_like(tensor, float("nan"))], 1)[:, 0]
        return self.replace(position, moved, layout=f"argument {position} {layout}")

    def with_needs(self, needs: Needs) -> Call:
        """Return the call with this mask, and nan wherever only a shape may be read."""
        grad_y, x, weight = self.tensors
        nan = x.new_full((), float("nan"))
        return replace(
            self,
            args=(
                grad_y,
                x if needs[1] else nan.expand(x.shape),
                weight if needs[0] else nan.expand(weight.shape),
            ),
            kwargs={**self.kwargs, "needs": needs},
        )

    def replace(self, position: int, tensor: Tensor | None, layout: str | None = None) -> Call:
        """Return the call with another argument."""
        args = tuple(tensor if i == position else a for i, a in enumerate(self.args))
        return replace(self, args=args, case=replace(self.case, layout=layout or self.case.layout))


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


@dataclass(frozen=True)
class Operation:
    """One operation of a backend and the cases it is checked on.

    Attributes:
        name: the method.
        grid: all cases; ``some``, ``few`` and ``large`` are parts of it for the dearer checks.
    """

    name: str
    grid: list[Case] = field(repr=False)
    output_names: tuple[str, ...] = ("output",)

    @property
    def _kind(self) -> tuple[str, bool]:
        family, _, direction = self.name.rpartition("_")
        return family, direction == "backward"

    def has(self, aspect: str) -> bool:
        """Whether the check of this name makes sense for the operation."""
        family, backward = self._kind
        return {"needs": backward and family != "upsample_nearest", "adjoint": backward}.get(
            aspect, True
        )

    @property
    def some(self) -> list[Case]:
        """About twenty cases of every kind."""
        filled = [case for case in self.grid if case.n > 0]
        return filled[:: max(1, len(filled) // 20)]

    @property
    def few(self) -> list[Case]:
        """Five cases, small, odd and grouped."""
        common: dict[str, Any] = {"scale": (2, 3)} if self._kind[0] != "conv2d" else {}
        return [
            Case(2, 3, 7, 5, 4, **common),
            Case(1, 4, 6, 9, 6, (2, 3), (2, 1), (0, 2), groups=2, **common),
            Case(3, 5, 4, 7, 5, (3, 1), (1, 2), (2, 1), (2, 1), groups=5, **common),
            Case(2, 17, 5, 6, 33, (1, 1), padding=(0, 0), bias=False, **common),
            Case(1, 1, 1, 1, 1, **common),
        ]

    @property
    def large(self) -> list[Case]:
        """Two cases with enough work for several threads."""
        common: dict[str, Any] = {"scale": (2, 2)} if self._kind[0] != "conv2d" else {}
        return [
            Case(7, 12, 19, 17, 10, stride=(2, 1), **common),
            Case(1, 16, 33, 29, 24, groups=2, **common),
        ]

    @property
    def empty(self) -> list[Case]:
        """The few cases without a image."""
        return [replace(case, n=0) for case in self.few]

    def calls(
        self, cases: list[Case], dtypes: tuple[torch.dtype, ...], values: Values
    ) -> Iterator[Call]:
        """Yield the call for each case and dtype, with tensors from ``values``."""
        for case in cases:
            for dtype in dtypes:
                yield self.call(case, dtype, values)

    def call(self, case: Case, dtype: torch.dtype, values: Values) -> Call:
        """Return the call for one case."""
        family, backward = self._kind
        scale = {} if family == "conv2d" else {"scale": case.scale}
        if family == "upsample_nearest":
            n, c, h, w = case.x_shape
            shape = (n, c, h * case.scale[0], w * case.scale[1]) if backward else case.x_shape
            only = laid_out(values(shape, dtype, 1), case.layout)
            return Call(self, case, (only,), {"scale": case.scale})
        x = laid_out(values(case.x_shape, dtype, 1), case.layout)
        weight = values(case.weight_shape, dtype, 2)
        kwargs = {**scale, **case.geometry}
        if backward:
            grad_y = laid_out(values(case.y_shape, dtype, 3), case.layout)
            return Call(self, case, (grad_y, x, weight), kwargs)
        bias = values((case.o,), dtype, 4) if case.bias else None
        return Call(self, case, (x, weight, bias), kwargs)

    def malformed(self) -> list[tuple[str, Call]]:
        """Return (what is wrong, call) for calls whose arguments do not fit each other."""
        family, backward = self._kind
        scale = (2, 3) if family != "conv2d" else (1, 1)
        case = Case(2, 4, 6, 5, 6, (3, 2), padding=(0, 0), groups=2, scale=scale)
        call = self.call(case, torch.float32, whole)
        first = call.tensors[0]
        wrong = [("a first argument without a batch axis", call.replace(0, first[0]))]
        if family == "upsample_nearest":
            if backward:
                wrong.append(
                    ("a height that scale does not divide", call.replace(0, first[:, :, 1:]))
                )
            return wrong
        x_at = 1 if backward else 0
        x, weight = call.tensors[x_at : x_at + 2]
        wrong += [
            ("too few channels", call.replace(x_at, x[:, 1:])),
            ("too many channels", call.replace(x_at, torch.cat([x, x], 1))),
            ("groups that do not divide", replace(call, kwargs={**call.kwargs, "groups": 4})),
            ("two dtypes", call.replace(x_at + 1, weight.double())),
            ("a kernel larger than the image", call.replace(x_at, x[:, :, :1, :1][:, :, :, :0])),
        ]
        if backward:
            wrong += [
                ("a grad_y of another height", call.replace(0, first[:, :, 1:])),
                ("a grad_y of another width", call.replace(0, torch.cat([first, first], 3))),
                ("a grad_y of other channels", call.replace(0, first[:, 1:])),
                ("a grad_y of another batch", call.replace(0, first[1:])),
            ]
        else:
            wrong.append(("a bias of another length", call.replace(2, first.new_zeros(5))))
        return wrong


GRADS = ("grad_x", "grad_weight", "grad_bias")


def _scaled(cases: list[Case]) -> list[Case]:
    return [replace(c, scale=SCALES[i % 4]) for i, c in enumerate(cases)]


SCALES = [(2, 2), (1, 3), (3, 1), (2, 1)]
_UPSAMPLED = UPSAMPLED_CONVOLUTIONS + _scaled(CONVOLUTIONS[::8])
_NEAREST = UPSAMPLED_CONVOLUTIONS + [
    Case(2, 3, 5, 7, scale=scale, layout=layout)
    for scale in [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5)]
    for layout in LAYOUTS
]
OPERATIONS = [
    Operation("conv2d_forward", CONVOLUTIONS),
    Operation("conv2d_backward", CONVOLUTIONS, GRADS),
    Operation("upsample_nearest_forward", _NEAREST),
    Operation("upsample_nearest_backward", _NEAREST, ("grad_x",)),
    Operation("upsample_conv2d_forward", _UPSAMPLED),
    Operation("upsample_conv2d_backward", _UPSAMPLED, GRADS),
]
