"""Op: an operation, declared once: what it computes, what it accepts, and how it is tested.

To add an operation, write its ``forward``, ``backward``, ``check`` and ``cases`` in a file of this
folder and make an :class:`Op` of them. Everything generic – dispatch, ``explain``, trace, the
runtime cross-check, replay, the conformance kit, ``bench --op``, ``scratchnet info`` – works on it
from then on. Implementations by other backends are registered with :meth:`Op.implement`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch

API_VERSION = 2

LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed", "expanded", "offset")
"""How a tensor may lie in memory; scratchnet.testing.tensors makes them."""

Verdict = Literal[True] | str
Shape = tuple[int, ...]
Needs = tuple[bool, ...]
Gradients = tuple[Tensor | None, ...]


def _always(*tensors: Tensor | None, **options: Any) -> Verdict:
    return True


def _runs(*tensors: Tensor | None, **options: Any) -> str:
    return "runs"


@dataclass(frozen=True)
class Implementation:
    """One way to compute an op.

    Attributes:
        forward: ``(*tensors, **options) -> (y, kept)``; y is a tensor, or a tuple of them. ``kept``
            is whatever ``backward`` needs besides its arguments, opaque to everyone else.
        backward: ``(grad_y, kept, *tensors, **options, needs) -> gradients``: one for each tensor,
            None where ``needs`` is false; grad_y is a tuple if y is.
        supports: ``(*tensors, **options)`` -> True if it would run, else a line saying why not.
        how: ``(*tensors, **options)`` -> how a supported call would run, in a few words.
        available: returns True if it can run on this machine at all, else why not and what to do,
            in one line; such as that it was not compiled.
        accumulates: whether ``backward`` takes ``into``, too: for each tensor a contiguous buffer
            of its shape, to which the gradient is added instead of being returned, or None.

    All are pure: they hold no state, write to no argument and accept any strides; outputs have the
    dtype and device of the inputs.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Gradients]
    supports: Callable[..., Verdict] = _always
    how: Callable[..., str] = _runs
    available: Callable[[], Verdict] = _always
    accumulates: bool = False


@dataclass(frozen=True)
class Case:
    """One call that an op is tested on.

    Attributes:
        shapes: of the tensors; None for one that is left out.
        options: the op's keyword arguments; its defaults for those that are missing.
        layout: how the first tensor and the gradient of the output lie in memory; one of
            LAYOUTS.
        few: whether it is one of the few that the most expensive checks run on.
        error: for a malformed call: a word that the error message must contain.
        dtypes: for a malformed call: dtypes that override the usual one, tensor by tensor.
        backward: false for a call whose options say that no backward will follow.
        below: {tensor of whole numbers: what they are below}; from 0 on.
    """

    shapes: tuple[Shape | None, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "contiguous"
    few: bool = False
    error: str = ""
    dtypes: tuple[torch.dtype, ...] = ()
    backward: bool = True
    below: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = ", ".join("None" if s is None else str(tuple(s)) for s in self.shapes)
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        layout = "" if self.layout == "contiguous" else f" [{self.layout}]"
        return f"({shapes}{options}){layout}"


class Op:
    """An operation on tensors, with hand-written gradients.

    Args:
        name: what ``explain``, trace and the command line call it.
        forward: the specification, in plain torch; see :class:`Implementation`. Its positional
            arguments are the tensors, its keyword arguments the options.
        backward: its gradients, in plain torch.
        check: ``(*tensors, **options) -> shape`` of the output, or a tuple of shapes; raises the
            one clear error where the arguments do not fit. Runs once, before any implementation.
        cases: returns the grid that the op is tested on: edge cases first, malformed calls last.
        exact: whether results on whole numbers have the same bits in whatever order an
            implementation adds; false where it divides or takes roots. May be a function of the
            options.
        multilinear: for an op whose outputs and gradients are sums of products of its tensors (and
            affine in each of them): ``(*tensors, **options)`` -> the most terms that one of these
            sums has. It gives a tight bound of the rounding error; see verify/tolerance.py.
        tiled: whether an implementation may compute neighbours together, as Winograd's algorithm
            does: then their rounding errors are of one size; ``(*tensors, **options) -> bool``.
        bounds: for an op with its own error analysis, the module that does it, as
            ``"package.module"``; see verify/tolerance.py.
        reads: the tensors that backward reads; of the others it gets only the shape and dtype, as
            an expanded scalar, so that they need not be kept. All by default.
        integers: the tensors that hold whole numbers, such as indices; all others are
            floating-point.
        constants: the tensors that have no gradient, such as a loss's target; backward returns None
            for them.
        twin: torch's counterpart ``(*tensors, **options) -> y`` as ``"package.function"``; nothing
            here imports it.
        kinds: {option: function that makes its value from the plain tuples of a file}.
    """

    def __init__(
        self,
        name: str,
        *,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[..., Gradients],
        check: Callable[..., Any],
        cases: Callable[[], list[Case]],
        exact: bool | Callable[..., bool] = False,
        multilinear: Callable[..., int] | None = None,
        tiled: Callable[..., bool] | None = None,
        bounds: str | None = None,
        reads: tuple[str, ...] | None = None,
        integers: tuple[str, ...] = (),
        constants: tuple[str, ...] = (),
        twin: str | None = None,
        kinds: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.name, self._check, self.cases = name, check, cases
        self._exact, self.multilinear, self.bounds, self.twin = exact, multilinear, bounds, twin
        self.tiled = tiled
        self.reference = Implementation(forward, backward)
        self.implementations: dict[str, Implementation] = {}
        parameters = inspect.signature(forward).parameters.values()
        self.tensors = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.optional = {
            p.name for p in parameters if p.name in self.tensors and p.default is not p.empty
        }
        options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in options if p.default is not p.empty}
        self.options = tuple(p.name for p in options)
        self.reads = self.tensors if reads is None else reads
        self.integers, self.constants, self._kinds = integers, constants, dict(kinds or {})
        self.api_version = API_VERSION

    def __repr__(self) -> str:
        return f"Op({self.name!r})"

    def implement(
        self,
        backend: str,
        *,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[..., Gradients],
        supports: Callable[..., Verdict] = _always,
        how: Callable[..., str] = _runs,
        available: Callable[[], Verdict] = _always,
        accumulates: bool = False,
    ) -> None:
        """Register how the backend of this name computes the op; see :class:`Implementation`.

        Raises:
            ArgumentError: the backend has an implementation already.
        """
        if backend in self.implementations or backend == "reference":
            raise ArgumentError(f"op {self.name!r} has an implementation of backend {backend!r}")
        self.implementations[backend] = Implementation(
            forward, backward, supports, how, available, accumulates
        )

    def exact(self, **options: Any) -> bool:
        """Whether all correct implementations give the same bits on whole numbers."""
        return self._exact(**options) if callable(self._exact) else self._exact

    # -- arguments ---------------------------------------------------------------------------------

    def bind(
        self, tensors: tuple[Tensor | None, ...], options: Mapping[str, Any]
    ) -> tuple[tuple[Tensor | None, ...], dict[str, Any]]:
        """Return tensors and options with the defaults filled in.

        Raises:
            ArgumentError: some are missing, or there are too many.
        """
        if len(tensors) < len(self.tensors):
            rest = self.tensors[len(tensors) :]
            missing = [name for name in rest if name not in self.optional]
            if missing:
                raise ArgumentError(f"{self.signature}: {', '.join(missing)} is missing")
            tensors = tensors + (None,) * len(rest)
        elif len(tensors) > len(self.tensors) and self.variadic is None:
            raise ArgumentError(f"{self.signature}: got {len(tensors)} tensors")
        given = {**self.defaults, **options}
        if len(given) != len(self.options) or not given.keys() <= set(self.options):
            wrong = sorted(given.keys() ^ set(self.options))
            what = "is missing" if wrong[0] in self.options else "is no option of it"
            raise ArgumentError(f"{self.signature}: {wrong[0]} {what}")
        return tensors, given

    def prepare(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options that were read from a file as the op takes them."""
        return {k: self._kinds[k](v) if k in self._kinds else v for k, v in options.items()}

    @property
    def signature(self) -> str:
        """How it is called, for messages and tables."""
        tensors = [f"{t}=None" if t in self.optional else t for t in self.tensors]
        options = [f"{o}={self.defaults[o]}" if o in self.defaults else o for o in self.options]
        rest = [f"*{self.variadic or ''}"] if options or self.variadic else []
        return f"{self.name}({', '.join([*tensors, *rest, *options])})"

    def names(self, count: int) -> list[str]:
        """Return the names of ``count`` tensors."""
        extra = [f"{self.variadic}.{i}" for i in range(count - len(self.tensors))]
        return [*self.tensors[:count], *extra]

    def check(self, *tensors: Tensor | None, **options: Any) -> Any:
        """Return the output's shape (or shapes).

        Raises:
            TypeMismatch: not tensors, or of several floating-point dtypes or devices.
            ShapeError: the shapes do not fit each other.
            ArgumentError: an option is outside its range.
        """
        dtype = device = None
        for i, tensor in enumerate(tensors):
            name = self.tensors[i] if i < len(self.tensors) else None  # None: one of any number
            if tensor is None:
                if name is not None and name not in self.optional:
                    raise TypeMismatch(f"{self.name} expects a tensor for {name}, got None")
                continue
            integer = name in self.integers
            if not isinstance(tensor, Tensor):
                raise TypeMismatch(
                    f"{self.name} expects a tensor for {self.names(i + 1)[i]}, got "
                    f"{type(tensor).__name__}"
                )
            if tensor.is_floating_point() == integer:
                wanted = "an integer" if integer else "a floating-point"
                raise TypeMismatch(
                    f"{self.name} expects {wanted} tensor for {self.names(i + 1)[i]}, got "
                    f"{tensor.dtype}"
                )
            if integer:
                continue
            if dtype is None:
                dtype, device = tensor.dtype, tensor.device
            elif tensor.dtype != dtype or tensor.device != device:
                raise TypeMismatch(
                    f"{self.name} expects tensors of one dtype and device: "
                    f"{self.names(i + 1)[i]} is {tensor.dtype} on {tensor.device}, another {dtype} "
                    f"on {device}"
                )
        return self._check(*tensors, **options)

    def kept_tensors(self, tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Return the tensors for backward; of those that it does not read, shape and dtype."""
        if self.reads is self.tensors:
            return tensors
        return tuple(
            tensor if tensor is None or name in self.reads else shape_only(tensor)
            for name, tensor in zip(self.names(len(tensors)), tensors, strict=True)
        )


def shape_only(tensor: Tensor) -> Tensor:
    """Return a tensor of this shape and dtype that takes no memory and has no values."""
    return tensor.new_empty(()).expand(tensor.shape)


def check_rank(op: str, name: str, tensor: Tensor, axes: str) -> None:
    """Raise ShapeError unless the tensor has as many dimensions as ``axes``, e.g. "N, C, H, W"."""
    if tensor.dim() != axes.count(",") + 1:
        raise ShapeError(
            f"{op} expects {name} ({axes}), got {tensor.dim()}-D {tuple(tensor.shape)}"
        )


def check_axis(op: str, x: Tensor, dim: object) -> int:
    """Return ``dim`` counted from the first axis; a single number has one axis, as in torch.

    Raises:
        ArgumentError: it is no axis of x.
    """
    rank = max(x.dim(), 1)
    if isinstance(dim, bool) or not isinstance(dim, int) or not -rank <= dim < rank:
        raise ArgumentError(
            f"{op} expects dim to be an axis of x, an int from {-rank} to {rank - 1}, got {dim!r}"
        )
    return dim % rank
