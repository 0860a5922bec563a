"""Every operation with a kernel, and whole networks, at sizes of real ones, beside torch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scratchnet import backends, models, ops
from scratchnet.bench import contest, layer, operation
from scratchnet.bench.layer import Subject
from scratchnet.errors import PluginError, ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.ops.op import Case, Op
from scratchnet.testing.tensors import normal

SECTION = "zoo"
IMAGES = (16, 64, 32, 32)
"""N, C, H, W of an operation on images or single numbers, as inside a ResNet."""
_MATRIX = (1024, 192)

# Where the images' sizes do not fit: those of a small GPT, 8 sequences of 128 tokens, 192 wide.
_SIZES: dict[str, Case] = {
    "attention": Case(((8, 6, 128, 32),) * 3 + (None,), {"causal": True}),
    "embedding": Case(((8, 128), (256, 192)), below={"indices": 256}),
    "layer_norm": Case((_MATRIX, (192,), (192,)), {"normalized_shape": (192,)}),
    "rms_norm": Case((_MATRIX, (192,)), {"normalized_shape": (192,)}),
    "linear": Case((_MATRIX, (768, 192), (768,))),
    "softmax": Case(((48, 128, 128),), {"dim": -1}),
    "log_softmax": Case(((1024, 256),), {"dim": -1}),
    "conv2d": operation.SHAPES["64->64 3x3, 56x56"],
}
# Compared elsewhere: in the section `convolutions`, and the graph with the networks below.
_LEFT_OUT = ("graph", "conv2d_input_grad", "conv2d_weight_grad")

_Made = tuple[Module, Tensor]


def _images(name: str, size: tuple[int, ...], **arguments: int) -> Callable[[], _Made]:
    return lambda: (models.build(name, **arguments), normal(size, torch.float32, 0))


def _tokens() -> _Made:
    net = models.build("gpt", layers=6, heads=6, width=192, length=128)
    generator = torch.Generator().manual_seed(0)
    return net, torch.randint(0, 256, (8, 128), generator=generator)


NETWORKS: dict[str, Callable[[], _Made]] = {
    "resnet18, 64x64, batch 16": _images("resnet18", (16, 3, 64, 64)),
    "dncnn, 17 layers, 40x40, batch 16": _images("dncnn", (16, 3, 40, 40)),
    "gpt, 6 layers, 192 wide, 128 tokens, batch 8": _tokens,
    "mobilenet_v2, 64x64, batch 16": _images("mobilenet_v2", (16, 3, 64, 64), dropout=0),
}


def cases(threads: int, dtype: torch.dtype, on: Sequence[str]) -> Iterator[contest.Case]:
    """Yield a case for each operation that a kernel of ours serves, and two for each network."""
    kernels = backends.get("cpp")
    for name in ops.names():
        op = ops.get(name)
        if not ops.info(name).builtin or name in _LEFT_OUT or kernels.implementation(op) is None:
            continue
        if op.twin is not None:
            case = _sized(op)
            title = f"{name} {_shape(case)}"
            yield operation.measure(SECTION, op, case, threads, dtype, on=on, title=title)
    for title, subject in subjects(dtype):
        for made, what in zip(
            layer.cases(subject, threads, on), ("step", "inference"), strict=True
        ):
            yield replace(made, section=SECTION, title=f"{title}: {what}")


def subjects(dtype: torch.dtype) -> Iterator[tuple[str, Subject]]:
    """Yield the networks that there are, by what they are."""
    for title, make in NETWORKS.items():
        if title.partition(",")[0] in models.names():
            net, x = make()
            net.to(dtype=dtype)
            x = x.to(dtype) if x.is_floating_point() else x
            y = net.forward(x)
            yield title, Subject(net, x, normal(y.shape, dtype, 9))


def _shape(case: Case) -> str:
    return ", ".join("x".join(map(str, s)) for s in case.shapes if s)


def _sized(op: Op) -> Case:
    """Return a call of a real network's size; of an operation that takes no images, its largest."""
    if op.name in _SIZES:
        return _SIZES[op.name]
    valid = [case for case in op.cases() if not case.error]
    largest = max(valid, key=lambda c: sum(torch.Size(s).numel() for s in c.shapes if s))
    for case in (largest, *valid):
        shapes = tuple(s if i or s is None else IMAGES for i, s in enumerate(case.shapes))
        if len(case.shapes[0] or ()) == len(IMAGES) and len([s for s in shapes if s]) == 1:
            try:
                op.check(torch.empty(()).expand(IMAGES), **{**op.defaults, **case.options})
            except (ScratchnetError, PluginError):
                continue
            return Case(shapes, case.options)
    return Case(largest.shapes, largest.options)
