"""The functions that may stand between the modules of a network (graph.py), with their gradients.

Each is a pair: ``forward(*arguments)`` returns the result and what backward needs;
``backward(grad, *kept)`` returns a gradient for each argument, None where there is none: for a
number, or for whole numbers. A list of tensors gets a list of gradients. Names and arguments are
torch's. Source of the formulas: Petersen and Pedersen, "The Matrix Cookbook" (2012), section 2; of
a rearrangement the gradient goes back the way that the elements came.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError

Kept = tuple[Any, ...]
Grads = tuple[Any, ...]


class Function(NamedTuple):
    """One function.

    Attributes:
        forward: ``(*arguments) -> (result, kept)``.
        backward: ``(grad, *kept) -> gradients``; None for one that has none, such as a size.
        torch: the same in torch.
    """

    forward: Callable[..., tuple[Any, Kept]]
    backward: Callable[..., Grads] | None
    torch: Callable[..., Any]


FUNCTIONS: dict[str, Function] = {}


def called(function: Callable[..., Any] | str) -> str:
    """Return the name in FUNCTIONS of a function or method of torch's, or of an operator.

    Raises:
        ArgumentError: it is none of them.
    """
    name = function if isinstance(function, str) else getattr(function, "__name__", str(function))
    name = name.strip("_")
    name = _ALIASES.get(name, name)
    if name not in FUNCTIONS:
        raise ArgumentError(
            f"there is no function {name!r} with a gradient by hand between modules: known are "
            f"{', '.join(FUNCTIONS)}; what has parameters or is an activation is a module"
        )
    return name


_ALIASES = {
    "view": "reshape", "truediv": "div", "true_divide": "div", "divide": "div", "itruediv": "div",
    "concat": "cat", "concatenate": "cat", "iadd": "add", "radd": "add", "isub": "sub",
    "subtract": "sub", "imul": "mul", "rmul": "mul", "multiply": "mul", "negative": "neg",
    "floordiv": "floor_divide", "bmm": "matmul", "swapaxes": "transpose",
}  # fmt: skip


def _shape(value: Any) -> Any:
    """The shape of a tensor; None for a number."""
    return value.shape if isinstance(value, Tensor) else None


def _summed(grad: Tensor, shape: torch.Size | None) -> Tensor | None:
    """The gradient of what was broadcast: the sum over all places where an element went."""
    return None if shape is None else grad.sum_to_size(shape)


# -- arithmetic ------------------------------------------------------------------------------------


def _add(a: Any, b: Any) -> tuple[Any, Kept]:
    """y = a + b, broadcast."""
    return a + b, (_shape(a), _shape(b))


def _add_backward(grad: Tensor, a: Any, b: Any) -> Grads:
    """∂L/∂a = ∂L/∂b = ∂L/∂y."""
    return _summed(grad, a), _summed(grad, b)


def _sub(a: Any, b: Any) -> tuple[Any, Kept]:
    """y = a − b, broadcast."""
    return a - b, (_shape(a), _shape(b))


def _sub_backward(grad: Tensor, a: Any, b: Any) -> Grads:
    """∂L/∂a = ∂L/∂y;  ∂L/∂b = −∂L/∂y."""
    return _summed(grad, a), None if b is None else _summed(-grad, b)


def _mul(a: Any, b: Any) -> tuple[Any, Kept]:
    """y = a · b, broadcast."""
    return a * b, (a, b)


def _mul_backward(grad: Tensor, a: Any, b: Any) -> Grads:
    """∂L/∂a = ∂L/∂y · b;  ∂L/∂b = ∂L/∂y · a."""
    return (
        _summed(grad * b, a.shape) if isinstance(a, Tensor) else None,
        _summed(grad * a, b.shape) if isinstance(b, Tensor) else None,
    )


def _div(a: Any, b: Any) -> tuple[Any, Kept]:
    """y = a / b, broadcast."""
    y = a / b
    return y, (_shape(a), b, y if isinstance(b, Tensor) else None)


def _div_backward(grad: Tensor, a: Any, b: Any, y: Any) -> Grads:
    """∂L/∂a = ∂L/∂y / b;  ∂L/∂b = −∂L/∂y · y / b."""
    of_b = _summed(-grad * y / b, b.shape) if isinstance(b, Tensor) else None
    return _summed(grad / b, a), of_b


def _pow(x: Tensor, exponent: Any) -> tuple[Any, Kept]:
    """y = xᵖ, p a number."""
    if isinstance(exponent, Tensor):
        raise ArgumentError("pow expects a number for its exponent, got a tensor")
    return x**exponent, (x, exponent)


def _pow_backward(grad: Tensor, x: Tensor, exponent: Any) -> Grads:
    """∂L/∂x = ∂L/∂y · p · xᵖ⁻¹."""
    return grad * exponent * x ** (exponent - 1) if exponent else torch.zeros_like(x), None


def _matmul(a: Tensor, b: Tensor) -> tuple[Any, Kept]:
    """y = a b: matrices in the last two dimensions, the others broadcast."""
    if min(a.dim(), b.dim()) < 2:
        raise ArgumentError(
            f"matmul expects at least two dimensions, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return a @ b, (a, b)


def _matmul_backward(grad: Tensor, a: Tensor, b: Tensor) -> Grads:
    """∂L/∂a = ∂L/∂y bᵀ;  ∂L/∂b = aᵀ ∂L/∂y."""
    return _summed(grad @ b.mT, a.shape), _summed(a.mT @ grad, b.shape)


def _neg(x: Any) -> tuple[Any, Kept]:
    """y = −x."""
    return -x, ()


def _neg_backward(grad: Tensor) -> Grads:
    """∂L/∂x = −∂L/∂y."""
    return (-grad,)


# -- sums ------------------------------------------------------------------------------------------

Dims = int | Sequence[int] | None


def _sum(x: Tensor, dim: Dims = None, keepdim: bool = False) -> tuple[Any, Kept]:
    """y = Σ x over some dimensions; all if None."""
    given = range(x.dim()) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = sorted(d % x.dim() for d in given)
    return x.sum(dims, keepdim=keepdim), (x.shape, dims, keepdim)


def _sum_backward(grad: Tensor, shape: torch.Size, dims: list[int], keepdim: bool) -> Grads:
    """∂L/∂x = ∂L/∂y, at every element of the sum."""
    if not keepdim:
        for i in dims:
            grad = grad.unsqueeze(i)
    return grad.expand(shape), None, None


def _mean(x: Tensor, dim: Dims = None, keepdim: bool = False) -> tuple[Any, Kept]:
    """y = Σ x / n over some dimensions; all if None."""
    total, kept = _sum(x, dim, keepdim)
    count = x.numel() / max(1, total.numel())
    return total / count, (*kept, count)


def _mean_backward(grad: Tensor, *kept: Any) -> Grads:
    """∂L/∂x = ∂L/∂y / n, at every element."""
    return _sum_backward(grad / kept[-1], *kept[:-1])


# -- rearrangements --------------------------------------------------------------------------------


def _flat(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sizes or dimensions given one by one or as a sequence."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], tuple | list) else values


def _as_before(grad: Tensor, shape: torch.Size) -> Grads:
    """∂L/∂x: the elements of ∂L/∂y, in the shape of x."""
    return (grad.reshape(shape),)


def _reshape(x: Tensor, *shape: Any) -> tuple[Any, Kept]:
    """The same elements in another shape."""
    return x.reshape(_flat(shape)), (x.shape,)


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> tuple[Any, Kept]:
    """Some dimensions made one."""
    return x.flatten(start_dim, end_dim), (x.shape,)


def _unsqueeze(x: Tensor, dim: int) -> tuple[Any, Kept]:
    """A dimension of 1 more."""
    return x.unsqueeze(dim), (x.shape,)


def _squeeze(x: Tensor, dim: int | None = None) -> tuple[Any, Kept]:
    """Without one dimension of 1, or without all."""
    return x.squeeze() if dim is None else x.squeeze(dim), (x.shape,)


def _permute(x: Tensor, *dims: Any) -> tuple[Any, Kept]:
    """The dimensions in another order."""
    order = [d % x.dim() for d in _flat(dims)]
    return x.permute(order), (order,)


def _permute_backward(grad: Tensor, order: list[int]) -> Grads:
    """∂L/∂x: back into the order of before."""
    return (grad.permute([order.index(i) for i in range(len(order))]),)


def _transpose(x: Tensor, dim0: int, dim1: int) -> tuple[Any, Kept]:
    """Two dimensions exchanged."""
    return x.transpose(dim0, dim1), (dim0, dim1)


def _transpose_backward(grad: Tensor, dim0: int, dim1: int) -> Grads:
    """∂L/∂x: exchanged again."""
    return (grad.transpose(dim0, dim1),)


def _expand(x: Tensor, *shape: Any) -> tuple[Any, Kept]:
    """Repeated along dimensions of 1."""
    return x.expand(_flat(shape)), (x.shape,)


def _expand_backward(grad: Tensor, shape: torch.Size) -> Grads:
    """∂L/∂x: the sum over the repetitions."""
    return (_summed(grad, shape),)


def _contiguous(x: Tensor) -> tuple[Any, Kept]:
    """The same, one element behind the other."""
    return x.contiguous(), ()


def _contiguous_backward(grad: Tensor) -> Grads:
    """∂L/∂x = ∂L/∂y."""
    return (grad,)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> tuple[Any, Kept]:
    """One behind the other along a dimension."""
    return torch.cat(list(tensors), dim), ([t.shape[dim] for t in tensors], dim)


def _cat_backward(grad: Tensor, sizes: list[int], dim: int) -> Grads:
    """Each gets the gradient of its part."""
    return list(torch.split(grad, sizes, dim)), None


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> tuple[Any, Kept]:
    """One behind the other along a new dimension."""
    return torch.stack(list(tensors), dim), (dim,)


def _stack_backward(grad: Tensor, dim: int) -> Grads:
    """Each gets the gradient of its part."""
    return list(grad.unbind(dim)), None


def _split(x: Tensor, sizes: int | list[int], dim: int = 0) -> tuple[Any, Kept]:
    """Parts of a size, or of these sizes, along a dimension."""
    parts = torch.split(x, sizes, dim)
    return parts, ([(part.shape, part.dtype) for part in parts], dim)


def _chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Any, Kept]:
    """So many parts of about the same size."""
    parts = x.chunk(chunks, dim)
    return parts, ([(part.shape, part.dtype) for part in parts], dim)


def _parts_backward(grads: Any, parts: list[Any], dim: int) -> Grads:
    """∂L/∂x: the gradients of the parts, one behind the other; zeros for one that nobody reads."""
    like = next(grad for grad in grads if grad is not None)
    filled = [
        like.new_zeros(shape) if grad is None else grad
        for grad, (shape, _) in zip(grads, parts, strict=True)
    ]
    return torch.cat(filled, dim), None, None


def _getitem(x: Any, index: Any) -> tuple[Any, Kept]:
    """A part of a tensor, by numbers and slices; or one of several."""
    if not isinstance(x, Tensor):
        return x[index], (len(x), index) if isinstance(x, tuple) else ()
    given = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Tensor | list) for i in given) and x.is_floating_point():
        raise ArgumentError("a part of a tensor is taken by numbers and slices: use index_select")
    return x[index], (x.shape, index)


def _getitem_backward(grad: Any, whole: Any, index: Any) -> Grads:
    """∂L/∂x: zeros, but at the part that was taken ∂L/∂y."""
    if isinstance(whole, int):
        of_all: list[Any] = [None] * whole
        of_all[index] = grad
        return tuple(of_all), None
    grad_x = grad.new_zeros(whole)
    grad_x[index] = grad
    return grad_x, None


def _masked_fill(x: Tensor, mask: Tensor, value: float) -> tuple[Any, Kept]:
    """A number wherever the mask is true."""
    return x.masked_fill(mask, value), (x.shape, mask)


def _masked_fill_backward(grad: Tensor, shape: torch.Size, mask: Tensor) -> Grads:
    """∂L/∂x = ∂L/∂y where the mask is false, else 0."""
    return _summed(grad.masked_fill(mask, 0), shape), None, None


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """Return x with a number around: so many places before and behind, from the last dimension on;
    negative ones are cut off. As torch's function.
    """
    if mode != "constant":
        raise ArgumentError(f"pad expects mode='constant' between modules, got {mode!r}")
    return torch.constant_pad_nd(x, list(pad), value or 0)


def _pad(x: Tensor, places: Sequence[int], *others: Any, **more: Any) -> tuple[Any, Kept]:
    """As :func:`pad`."""
    return pad(x, places, *others, **more), (list(places),)


def _pad_backward(grad: Tensor, places: list[int]) -> Grads:
    """∂L/∂x: what stands inside the padding; where elements were cut off, 0."""
    return torch.constant_pad_nd(grad, [-n for n in places]), None, None, None


def _plain(function: Callable[..., Any]) -> Function:
    """A function of sizes and whole numbers, which has no gradient."""
    return Function(lambda *args, **options: (function(*args, **options), ()), None, function)


FUNCTIONS |= {
    "add": Function(_add, _add_backward, operator.add),
    "sub": Function(_sub, _sub_backward, operator.sub),
    "mul": Function(_mul, _mul_backward, operator.mul),
    "div": Function(_div, _div_backward, operator.truediv),
    "pow": Function(_pow, _pow_backward, operator.pow),
    "neg": Function(_neg, _neg_backward, operator.neg),
    "matmul": Function(_matmul, _matmul_backward, operator.matmul),
    "sum": Function(_sum, _sum_backward, torch.sum),
    "mean": Function(_mean, _mean_backward, torch.mean),
    "cat": Function(_cat, _cat_backward, torch.cat),
    "stack": Function(_stack, _stack_backward, torch.stack),
    "split": Function(_split, _parts_backward, torch.split),
    "chunk": Function(_chunk, _parts_backward, torch.chunk),
    "getitem": Function(_getitem, _getitem_backward, operator.getitem),
    "reshape": Function(_reshape, _as_before, Tensor.reshape),
    "flatten": Function(_flatten, _as_before, torch.flatten),
    "unsqueeze": Function(_unsqueeze, _as_before, torch.unsqueeze),
    "squeeze": Function(_squeeze, _as_before, torch.squeeze),
    "permute": Function(_permute, _permute_backward, Tensor.permute),
    "transpose": Function(_transpose, _transpose_backward, torch.transpose),
    "expand": Function(_expand, _expand_backward, Tensor.expand),
    "contiguous": Function(_contiguous, _contiguous_backward, Tensor.contiguous),
    "masked_fill": Function(_masked_fill, _masked_fill_backward, torch.masked_fill),
    "pad": Function(_pad, _pad_backward, pad),
    "floor_divide": _plain(operator.floordiv),
    "shape": _plain(operator.attrgetter("shape")),
    "device": _plain(operator.attrgetter("device")),
    "size": _plain(Tensor.size),
    "dim": _plain(Tensor.dim),
    "sqrt": _plain(math.sqrt),
    "arange": _plain(torch.arange),
    "eq": _plain(operator.eq),
    "ne": _plain(operator.ne),
    "lt": _plain(operator.lt),
    "gt": _plain(operator.gt),
}
