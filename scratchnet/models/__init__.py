"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from scratchnet import layers
from scratchnet.errors import ArgumentError, ScratchnetError
from scratchnet.layers.activation import ReLU
from scratchnet.layers.containers import Concat, Residual, Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.module import Module
from scratchnet.layers.smooth import Sigmoid
from scratchnet.layers.upsampling import Upsampling
from scratchnet.models import owncode
from scratchnet.models.images import mlp, mobilenet_v2, resnet18, resnet34, resnet50, vgg11
from scratchnet.models.owncode import is_own_code
from scratchnet.registry import Registry, function


def noise2noise(*, generator: torch.Generator | None = None) -> Sequential:
    """Return the paper's network: two convolutions down, two upsamplings back, 20,259 parameters.

    Input (N, 3, H, W) in [0, 1] with H and W divisible by 4; output of the same size, in [0, 1].

    Args:
        generator: source of the initial weights.
    """
    return Sequential(
        Conv2d(3, 32, 3, stride=2, padding=1, generator=generator),
        ReLU(),
        Conv2d(32, 32, 3, stride=2, padding=1, generator=generator),
        ReLU(),
        Upsampling(32, 32, 3, scale_factor=2, padding=1, generator=generator),
        ReLU(),
        Upsampling(32, 3, 3, scale_factor=2, padding=1, generator=generator),
        Sigmoid(),
    )


def residual(
    *, channels: int = 32, depth: int = 5, generator: torch.Generator | None = None
) -> Residual:
    """Return a network that adds a correction to its input, so that it starts out near the
    identity.

    ``depth`` 3x3 convolutions at full resolution; input and output (N, 3, H, W) of any H and W,
    values around [0, 1].
    Source: Zhang et al., "Beyond a Gaussian Denoiser" (DnCNN, 2016), without the batch
    normalisation.

    Args:
        channels: width of the hidden layers.
        depth: number of convolutions, at least 2.
        generator: source of the initial weights.
    """
    if depth < 2:
        raise ArgumentError(f"residual expects a depth of at least 2 convolutions, got {depth}")
    widths = [3, *[channels] * (depth - 1), 3]
    body: list[Module] = []
    for i in range(depth):
        body.append(Conv2d(widths[i], widths[i + 1], 3, padding=1, generator=generator))
        body.append(ReLU())
    return Residual(Sequential(*body[:-1]))


def unet(
    *, channels: int = 32, deep: int = 64, generator: torch.Generator | None = None
) -> Residual:
    """Return a U-Net of seven 3x3 convolutions that adds a correction to its input.

    Two convolutions of stride 2 see ever larger surroundings, two upsamplings lead back, and
    skips by concatenation pass the fine detail on. Input and output (N, 3, H, W) with H and W
    divisible by 4, values around [0, 1].
    Source: Ronneberger et al., "U-Net" (2015), with strided convolutions for its pooling, nearest
    upsampling for its transposed convolutions, and one convolution where it has two.

    Args:
        channels: width at full resolution.
        deep: width at half and a quarter of it.
        generator: source of the initial weights.
    """

    def conv(c: int, o: int, stride: int = 1) -> list[Module]:
        return [Conv2d(c, o, 3, stride=stride, padding=1, generator=generator), ReLU()]

    def up(c: int, o: int) -> list[Module]:
        return [Upsampling(c, o, 3, scale_factor=2, padding=1, generator=generator), ReLU()]

    quarter = Sequential(*conv(deep, deep, stride=2), *up(deep, deep))
    half = Sequential(*conv(channels, deep, stride=2), Concat(quarter), *up(2 * deep, channels))
    full = Sequential(
        *conv(3, channels),
        Concat(half),
        *conv(2 * channels, channels),
        Conv2d(channels, 3, 3, padding=1, generator=generator),
    )
    return Residual(full)


registry: Registry[Callable[..., Module]] = Registry(
    "scratchnet.networks", kind="network", prepare=function
)
names, get = registry.names, registry.get

__all__ = [
    "build", "get", "mlp", "mobilenet_v2", "names", "noise2noise", "residual", "resnet18",
    "resnet34", "resnet50", "unet", "vgg11",
]  # fmt: skip


def build(name: str, **arguments: Any) -> Module:
    """Make the network called ``name``, or one of the user's own code.

    Args:
        name: one of :func:`names`, or the name of a layer that is a whole network, as a plugin may
            bring it, or ``"FILE.py"``, which is run and is to define
            ``model(*, generator=None, ...)``, or ``"FILE.py:FUNCTION"`` or
            ``"package.module:FUNCTION"``.
        arguments: of the network; a ``generator`` goes to a layer only if it takes one.

    Raises:
        ArgumentError: there is none of that name, it does not take these arguments, or it makes no
            network.
        PluginError: the layer cannot be loaded.
    """
    maker: Callable[..., Module]
    if is_own_code(name):
        maker = owncode.function(name)
    elif name in names():
        maker = get(name)
    elif name in layers.names():
        maker = layers.get(name)
        if "generator" not in inspect.signature(maker).parameters:
            arguments.pop("generator", None)
    else:
        raise ArgumentError(
            f"there is no network {name!r}: known are {', '.join(names())} and the layers that "
            "`scratchnet info` lists; or give a FILE.py that defines model(*, generator=None)"
        )
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise ArgumentError(f"network {name!r}: {error}") from error
    try:
        model = maker(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ScratchnetError):
            raise
        reason = str(error).partition("\n")[0]
        raise ArgumentError(f"network {name!r}: {reason}") from error
    if not isinstance(model, Module):
        raise ArgumentError(
            f"network {name!r} is expected to be a scratchnet.Module, got {type(model).__name__}"
        )
    return model
