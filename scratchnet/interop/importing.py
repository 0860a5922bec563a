"""From torch.nn to scratchnet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from scratchnet.errors import TypeMismatch
from scratchnet.interop.containers import TorchConcat, TorchResidual, complain, names_of
from scratchnet.layers.activation import ReLU, Sigmoid
from scratchnet.layers.containers import Concat, Residual, Sequential
from scratchnet.layers.conv import Conv2d, Convolution, TransposeConv2d
from scratchnet.layers.loss import MSE
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import NearestUpsampling, Upsampling
from scratchnet.ops.window import Pair

T = TypeVar("T", bound=Convolution)


class _Unsupported(Exception):
    """Why one module has no counterpart."""


def from_torch(module: nn.Module) -> Module:
    """Return the scratchnet counterpart of a torch.nn network, with a copy of its weights.

    A nearest upsampling directly before an ungrouped nn.Conv2d becomes one Upsampling, which the
    kernels run without building the enlarged image; the layers behind it move up by one place.
    dtype, device and mode (train or eval) are kept. ``requires_grad`` is not copied: freeze the
    layers of the result with ``requires_grad_(False)``.

    Args:
        module: nn.Conv2d, nn.ConvTranspose2d, nn.Upsample or nn.UpsamplingNearest2d (nearest, by
            whole factors), nn.ReLU, nn.Sigmoid, nn.Identity, nn.MSELoss, or an nn.Sequential,
            TorchResidual or TorchConcat of such.

    Raises:
        ArgumentError: modules or arguments without a counterpart; the message names them all.
        TypeMismatch: not an nn.Module.
    """
    if not isinstance(module, nn.Module):
        raise TypeMismatch(f"from_torch expects a torch.nn.Module, got {type(module).__name__}")
    problems = [f"{name} (a parameter that several modules share)" for name in _shared(module)]
    converted = _from_torch(module, "", problems)
    complain(
        "from_torch",
        problems,
        f"known are {names_of(_FROM_TORCH)}, in nn.Sequential; replace the rest",
    )
    return converted.train(module.training)


def _from_torch(module: nn.Module, path: str, problems: list[str]) -> Module:
    children = {
        name: _from_torch(child, f"{path}.{name}" if path else name, problems)
        for name, child in module._modules.items()  # named_children() leaves out repeated modules
        if child is not None and type(module) in _TORCH_CONTAINERS
    }
    try:
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise _Unsupported("it has hooks")
        if type(module) is nn.Sequential:
            return _chain(list(children.values()))
        if type(module) is TorchResidual:
            return Residual(children["body"])
        if type(module) is TorchConcat:
            return Concat(children["body"])
        if type(module) not in _FROM_TORCH:  # a subclass may compute something else
            raise _Unsupported("")
        return _FROM_TORCH[type(module)](module)
    except _Unsupported as reason:
        what = f"{path or 'the module itself'} ({type(module).__name__})"
        problems.append(f"{what}: {reason}" if str(reason) else what)
        return Sequential()


def _chain(layers: list[Module]) -> Module:
    """Return layers in a row, each nearest upsampling merged with the convolution behind it."""
    row: list[Module] = []
    for layer in layers:
        if row and type(row[-1]) is NearestUpsampling and type(layer) is Conv2d:
            merged = _merged(row[-1], layer)
            row[-1:] = [merged] if merged else [row[-1], layer]
        else:
            row.append(layer)
    # The pair that to_torch makes of an Upsampling is the Upsampling again, not a row of one.
    return row[0] if len(layers) == 2 and type(row[0]) is Upsampling else Sequential(*row)


def _merged(nearest: NearestUpsampling, conv: Conv2d) -> Upsampling | None:
    arguments = conv.config()
    if arguments.pop("groups") != 1:
        return None
    return _filled(
        Upsampling(**arguments, scale_factor=nearest.scale_factor, generator=torch.Generator()),
        conv,
    )


def _filled(layer: T, source: Any) -> T:
    layer.to(dtype=source.weight.dtype, device=source.weight.device)
    layer.load_state_dict(source.state_dict())
    return layer


def _from_conv(kind: type[Conv2d] | type[TransposeConv2d], module: Any, **more: Any) -> Module:
    if module.padding_mode != "zeros":
        raise _Unsupported(f"padding_mode={module.padding_mode!r}, expected 'zeros'")
    return _filled(
        kind(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=_padding(module),
            dilation=module.dilation,
            groups=module.groups,
            bias=module.bias is not None,
            generator=torch.Generator(),  # drawing from torch's own would move it
            **more,
        ),
        module,
    )


def _padding(conv: Any) -> Pair:
    """Return torch's padding as numbers; "same" has some where both sides get the same."""
    if conv.padding == "valid":
        return 0, 0
    if conv.padding == "same":
        down, across = (d * (k - 1) for k, d in zip(conv.kernel_size, conv.dilation, strict=True))
        if down % 2 or across % 2:
            raise _Unsupported(
                f"padding='same' with kernel_size={conv.kernel_size} and dilation={conv.dilation} "
                "pads one side more than the other, expected the same on both"
            )
        return down // 2, across // 2
    padding: Pair = conv.padding
    return padding


def _from_upsample(module: nn.Upsample) -> Module:
    # For whole factors nearest-exact picks the same pixels as nearest.
    if module.mode not in ("nearest", "nearest-exact"):
        raise _Unsupported(f"mode={module.mode!r}, expected 'nearest'")
    factor = module.scale_factor
    if factor is None:
        raise _Unsupported(f"size={module.size}, expected a scale_factor")
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    if len(factors) != 2 or any(f != int(f) or f < 1 for f in factors):
        raise _Unsupported(f"scale_factor={factor}, expected one or two whole numbers")
    return NearestUpsampling((int(factors[0]), int(factors[1])))


_TORCH_CONTAINERS = (nn.Sequential, TorchResidual, TorchConcat)

_FROM_TORCH: dict[type[nn.Module], Callable[[Any], Module]] = {
    nn.Conv2d: lambda module: _from_conv(Conv2d, module),
    nn.ConvTranspose2d: lambda module: _from_conv(
        TransposeConv2d, module, output_padding=module.output_padding
    ),
    nn.Upsample: _from_upsample,
    nn.UpsamplingNearest2d: _from_upsample,
    nn.ReLU: lambda module: ReLU(),
    nn.Sigmoid: lambda module: Sigmoid(),
    nn.Identity: lambda module: Sequential(),
    nn.MSELoss: lambda module: MSE(module.reduction),
}


def _shared(module: nn.Module) -> Iterator[str]:
    """Yield the names of parameters that were met under another name before."""
    seen: set[int] = set()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            yield name
        seen.add(id(parameter))
