"""Graphs of stages in C++ against torch's autograd, on whole numbers to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scratchnet import _C

Stage = tuple[str, tuple[int, ...], dict[str, Any]]


def conv(reads: int, out: int, kernel: int = 3, *, scale: int | None = None, **other: Any) -> Stage:
    options = {
        "out_channels": out,
        "kernel_size": (kernel, kernel),
        "stride": (1, 1),
        "padding": (kernel // 2, kernel // 2),
        "dilation": (1, 1),
        "groups": 1,
        **other,
    }
    if scale is None:
        return "conv2d", (reads,), options
    return "upsample_conv2d", (reads,), {**options, "scale": (scale, scale)}


def unet(down: str) -> list[Stage]:
    """Two levels; the skips are concatenated, and the input is added at the end."""
    halves = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    if down == "max_pool2d":
        halves["dilation"] = (1, 1)

    def half(reads: int, out: int) -> Stage:
        if down == "conv2d":
            return conv(reads, out, stride=(2, 2))
        return down, (reads,), halves

    return [
        conv(0, 5),
        ("relu", (1,), {}),
        half(2, 6),
        ("relu", (3,), {}),
        half(4, 6),
        ("sigmoid", (5,), {}),
        conv(6, 7, scale=2),
        ("relu", (7,), {}),
        ("concat", (4, 8), {}),
        conv(9, 4, scale=2),
        ("concat", (2, 10), {}),
        conv(11, 3),
        ("add", (12, 0), {}),
    ]


GRAPHS: dict[str, list[Stage]] = {
    "chain": [conv(0, 4), ("relu", (1,), {}), conv(2, 3, stride=(2, 2)), ("sigmoid", (3,), {})],
    "residual": [
        conv(0, 3),
        ("relu", (1,), {}),
        conv(2, 3),
        ("add", (2, 3), {}),
        ("relu", (4,), {}),
        conv(5, 2, 1),
        ("add", (6, 6, 6), {}),
        ("sigmoid", (7,), {}),
    ],
    "unet": unet("conv2d"),
    "max-pooling unet": unet("max_pool2d"),
    "average-pooling unet": unet("avg_pool2d"),
    "elementwise first": [("relu", (0,), {}), ("sigmoid", (1,), {}), ("sigmoid", (2,), {})],
    "value twice": [conv(0, 2), ("concat", (1, 1, 0), {}), ("relu", (2,), {}), ("add", (3, 2), {})],
    "pooling with padding": [
        (
            "max_pool2d",
            (0,),
            {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1), "dilation": (2, 1)},
        ),
        conv(1, 17, groups=1),
        (
            "avg_pool2d",
            (2,),
            {
                "kernel_size": (2, 2),
                "stride": (2, 1),
                "padding": (1, 0),
                "ceil_mode": True,
                "count_include_pad": False,
            },
        ),
    ],
    "no parameters that are wanted": [
        ("avg_pool2d", (0,), {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
    ],
}


def by_torch(stages: list[Stage], x: Tensor, parameters: list[Tensor | None]) -> Tensor:
    values, left = [x], list(parameters)
    for op, reads, options in stages:
        inputs = [values[i] for i in reads]
        given = {k: v for k, v in options.items() if k != "out_channels"}
        if op in ("conv2d", "upsample_conv2d"):
            scale = given.pop("scale", None)
            kernel = {k: given[k] for k in ("stride", "padding", "dilation", "groups")}
            image = F.interpolate(inputs[0], scale_factor=scale) if scale else inputs[0]
            y = F.conv2d(image, left.pop(0), left.pop(0), **kernel)
        elif op == "concat":
            y = torch.cat(inputs, 1)
        elif op == "add":
            y = torch.stack(inputs).sum(0)
        elif op in ("max_pool2d", "avg_pool2d"):
            y = getattr(F, op)(inputs[0], **given)
        else:
            y = getattr(torch, op)(inputs[0])
        values.append(y)
    return values[-1]


def parameters_of(stages: list[Stage], channels: int, draw: Callable[..., Tensor]) -> list[Any]:
    """Weights and biases in order; every second bias is missing."""
    widths, result = [channels], []
    for op, reads, options in stages:
        width = sum(widths[i] for i in reads) if op == "concat" else widths[reads[0]]
        if "out_channels" in options:
            out, groups = options["out_channels"], options["groups"]
            result.append(draw(out, width // groups, *options["kernel_size"]))
            result.append(draw(out) if len(result) % 4 == 1 else None)
            width = out
        widths.append(width)
    return result


def run(
    stages: list[Stage], x: Tensor, parameters: list[Any], grad_y: Tensor, *, needs_x: bool = True
) -> list[Tensor]:
    graph = _C.Graph(stages, tuple(x.shape[1:]), x.dtype == torch.float64)
    y, again = torch.empty(grad_y.shape, dtype=x.dtype), torch.empty(grad_y.shape, dtype=x.dtype)
    kept = graph.forward(x, parameters, y, True)
    assert graph.forward(x, parameters, again, False) is None
    assert torch.equal(y, again)
    grads = [None if p is None else torch.ones_like(p) for p in parameters]
    grad_x = torch.empty_like(x) if needs_x else None
    graph.backward(x, y, grad_y, kept, parameters, grads, grad_x)
    found = [grad - 1 for grad in grads if grad is not None]
    return [y, *found, *([] if grad_x is None else [grad_x])]


def expected(stages: list[Stage], x: Tensor, parameters: list[Any], grad_y: Tensor) -> list[Tensor]:
    leaves = [x, *(p for p in parameters if p is not None)]
    for leaf in leaves:
        leaf.requires_grad_()
    y = by_torch(stages, x, parameters)
    grads = torch.autograd.grad(y, leaves, grad_y)
    for leaf in leaves:
        leaf.requires_grad_(False)
    return [y.detach(), *grads[1:], grads[0]]


def case(
    name: str, batch: int, draw: Callable[..., Tensor], *, instead_of_sigmoid: str = "sigmoid"
) -> tuple[Any, ...]:
    stages = [(instead_of_sigmoid if op == "sigmoid" else op, *rest) for op, *rest in GRAPHS[name]]
    x = draw(batch, 3, 8, 12)
    parameters = parameters_of(stages, 3, draw)
    with torch.no_grad():
        grad_y = draw(*by_torch(stages, x, parameters).shape)
    return stages, x, parameters, grad_y


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("batch", [1, 5])
def test_a_graph_computes_what_its_stages_do(name: str, batch: int) -> None:
    generator = torch.Generator().manual_seed(batch)
    draw = lambda *shape: torch.randn(shape, dtype=torch.float64, generator=generator)  # noqa: E731
    arguments = case(name, batch, draw)
    for ours, theirs in zip(run(*arguments), expected(*arguments), strict=True):
        assert (ours - theirs).abs().max() <= 1e-13 * theirs.abs().max()


@pytest.mark.parametrize("name", GRAPHS)
def test_whole_numbers_are_computed_exactly(name: str) -> None:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randint(-2, 3, shape, generator=generator).float()

    arguments = case(name, 3, draw, instead_of_sigmoid="relu")
    exact = [t.double() if isinstance(t, Tensor) else t for t in arguments]
    exact[2] = [None if p is None else p.double() for p in arguments[2]]
    for ours, theirs in zip(run(*arguments), expected(*exact), strict=True):
        assert torch.equal(ours.double(), theirs)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("batch", [2, 3, 17])
def test_the_bits_do_not_depend_on_the_threads(name: str, batch: int) -> None:
    generator = torch.Generator().manual_seed(4)
    arguments = case(name, batch, lambda *shape: torch.randn(shape, generator=generator))
    results = []
    for number in (1, 2, 3, 8):
        with threads(number):
            results.append(run(*arguments))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ["unet", "residual", "no parameters that are wanted"])
def test_without_the_gradient_of_the_input_the_others_are_the_same(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    arguments = case(name, 4, lambda *shape: torch.randn(shape, generator=generator))
    *others, _ = run(*arguments)
    alone = run(*arguments, needs_x=False)
    assert all(torch.equal(a, b) for a, b in zip(others, alone, strict=True))


def test_memory_formats_and_slices_change_no_bit() -> None:
    generator = torch.Generator().manual_seed(6)
    stages, x, parameters, grad_y = case(
        "unet", 3, lambda *shape: torch.randn(shape, generator=generator)
    )
    plain = run(stages, x, parameters, grad_y)

    def last(t: Tensor) -> Tensor:
        return t.contiguous(memory_format=torch.channels_last)

    def sliced(t: Tensor) -> Tensor:
        return torch.cat([t, t], 3)[..., : t.shape[3]]

    for change in (last, sliced):
        other = run(stages, change(x), parameters, change(grad_y))
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_an_empty_batch() -> None:
    stages, x, parameters, grad_y = case("unet", 0, lambda *shape: torch.ones(shape))
    y, *grads, grad_x = run(stages, x, parameters, grad_y)
    assert y.shape == grad_x.shape == (0, 3, 8, 12)
    assert all((grad == 0).all() for grad in grads)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least one stage"),
        ([("relu", (1,), {})], "reads value 1, which no stage before it makes"),
        ([("relu", (0,), {}), ("relu", (0,), {})], "nothing reads value 1"),
        ([("swish", (0,), {})], "no kind of stage swish"),
        ([conv(0, 4, groups=2)], "2 groups do not divide 3 and 4 channels"),
        ([conv(0, 4, 13, padding=(0, 0))], "smaller than the kernel"),
        ([conv(0, 4, stride=(0, 1))], "stride and dilation of at least 1"),
        ([conv(0, 4, dilation=(1, 0))], "stride and dilation of at least 1"),
        ([conv(0, 4, scale=0)], "scale of at least 1"),
        ([conv(0, 4), ("add", (0, 1), {})], "inputs of one size"),
        ([conv(0, 4, stride=(2, 2)), ("concat", (0, 1), {})], "inputs of one height and width"),
        ([("conv2d", (0,), {})], "expected an option out_channels"),
    ],
)
def test_graphs_that_cannot_be(stages: list[Stage], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _C.Graph(stages, (3, 8, 8), False)


def test_tensors_that_do_not_fit_are_refused() -> None:
    graph = _C.Graph([conv(0, 4)], (3, 8, 8), False)
    x, weight, y = torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 3, 3), torch.zeros(2, 4, 8, 8)
    kept = graph.forward(x, [weight, None], y, True)
    for wrong in (
        lambda: graph.forward(x[:, :2], [weight, None], y, True),
        lambda: graph.forward(x, [weight, None], y[:1], True),
        lambda: graph.forward(x, [weight], y, True),
        lambda: graph.forward(x, [None, None], y, True),
        lambda: graph.forward(x, [weight, torch.zeros(3)], y, True),
        lambda: graph.forward(x, [weight.transpose(2, 3), None], y, True),
        lambda: graph.forward(x.double(), [weight, None], y, True),
        lambda: graph.backward(x, y, y[:, :3], kept, [weight, None], [weight, None], None),
        lambda: graph.backward(x, y, y, kept, [weight, None], [weight[:3], None], None),
    ):
        with pytest.raises(ValueError, match=r"expected|only a bias"):
            wrong()
    deep = _C.Graph([conv(0, 4), ("relu", (1,), {}), conv(2, 4)], (3, 8, 8), False)
    pair = [weight, None, torch.zeros(4, 4, 3, 3), None]
    with pytest.raises(ValueError, match="what the forward of these images returned"):
        deep.backward(x, y, y, None, pair, [None] * 4, None)
