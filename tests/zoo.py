"""One or more of every layer, with an input, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import scratchnet
from scratchnet import Module
from scratchnet.testing.examples import Example, example


@dataclass(frozen=True)
class Specimen:
    make: Callable[[], Module]
    shape: tuple[int, ...] = (2, 4, 7, 5)

    def x(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


ACTIVATIONS = [
    "ReLU6",
    "LeakyReLU",
    "Hardtanh",
    "Hardshrink",
    "Softshrink",
    "Hardsigmoid",
    "Hardswish",
    "LogSigmoid",
    "Tanh",
    "Tanhshrink",
    "Softsign",
    "Softplus",
    "ELU",
    "CELU",
    "SELU",
    "SiLU",
    "Mish",
    "GELU",
    "PReLU",
    "Softmax2d",
]  # those that need no arguments
ZOO = {
    "Conv2d": Specimen(lambda: scratchnet.Conv2d(4, 6, (3, 2), 2, 1, groups=2)),
    "Conv2d_nobias": Specimen(lambda: scratchnet.Conv2d(4, 3, 3, dilation=(1, 2), bias=False)),
    "TransposeConv2d": Specimen(
        lambda: scratchnet.TransposeConv2d(4, 6, 3, 2, 1, (1, 0), 2, dilation=(2, 1))
    ),
    "NearestUpsampling": Specimen(lambda: scratchnet.NearestUpsampling((2, 3))),
    "Upsampling": Specimen(lambda: scratchnet.Upsampling(4, 3, 3, 2, padding=1)),
    "ReLU": Specimen(scratchnet.ReLU),
    "Sigmoid": Specimen(scratchnet.Sigmoid),
    **{name: Specimen(getattr(scratchnet, name)) for name in ACTIVATIONS},
    "Threshold": Specimen(lambda: scratchnet.Threshold(0.1, 20.0)),
    "RReLU": Specimen(scratchnet.RReLU),
    "Softmax": Specimen(lambda: scratchnet.Softmax(1)),
    "LogSoftmax": Specimen(lambda: scratchnet.LogSoftmax(1)),
    "Softmin": Specimen(lambda: scratchnet.Softmin(1)),
    "GLU": Specimen(lambda: scratchnet.GLU(1)),
    "SwiGLU": Specimen(lambda: scratchnet.SwiGLU(1)),
    "Residual": Specimen(lambda: scratchnet.Residual(scratchnet.Conv2d(4, 4, 3, padding=1))),
    "Concat": Specimen(lambda: scratchnet.Concat(scratchnet.Conv2d(4, 3, 3, padding=1))),
}
IMAGE_LAYERS = ["Conv2d", "Conv2d_nobias", "TransposeConv2d", "NearestUpsampling", "Upsampling"]
# and all others as they show themselves: those that take anything else than one tensor of numbers,
# or draw random ones, or look at the whole batch, are left to the kit, which knows about it
OTHERS: dict[str, Example] = {}
_MADE = {type(specimen.make()) for specimen in ZOO.values()}
for _name in sorted(scratchnet.layers.names()):
    if not scratchnet.layers.info(_name).builtin or scratchnet.layers.get(_name) in _MADE:
        continue
    _example = example(_name)
    _modules = [module for _, module in _example.factory().named_modules()]
    if any(m.stochastic or m.couples_batch or m.integer_inputs for m in _modules) or not isinstance(
        _example.inputs[0], torch.Tensor
    ):
        OTHERS[_name] = _example
    else:
        ZOO[_name] = Specimen(_example.factory, tuple(_example.inputs[0].shape))
WITH_PARAMETERS = [name for name, specimen in ZOO.items() if specimen.make().param()]
