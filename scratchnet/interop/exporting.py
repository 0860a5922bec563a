"""From scratchnet to torch.nn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from scratchnet.errors import TypeMismatch
from scratchnet.interop.containers import TorchConcat, TorchResidual, complain, names_of
from scratchnet.layers.activation import ReLU, Sigmoid
from scratchnet.layers.containers import Concat, Residual, Sequential
from scratchnet.layers.conv import Conv2d, Convolution, TransposeConv2d
from scratchnet.layers.loss import MSE
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import NearestUpsampling, Upsampling


def to_torch(module: Module) -> nn.Module:
    """Return the torch.nn counterpart of a network, with a copy of its weights.

    Every layer keeps its place, so the state dicts have the same keys, except that an Upsampling at
    place ``i`` becomes ``nn.Sequential(nn.Upsample, nn.Conv2d)`` there, with keys ``i.1.weight``.
    dtype, device and mode (train or eval) are kept.

    Args:
        module: a layer, MSE, or a container (Sequential, Residual, Concat) of them.

    Raises:
        ArgumentError: modules without a counterpart; the message names them all.
        TypeMismatch: not a scratchnet.Module.
    """
    if not isinstance(module, Module):
        raise TypeMismatch(f"to_torch expects a scratchnet.Module, got {type(module).__name__}")
    problems: list[str] = []
    converted = _to_torch(module, "", problems)
    complain(
        "to_torch",
        problems,
        f"known are {names_of(_TO_TORCH)}; as_autograd(layer) puts any layer into a torch.nn model",
    )
    return converted.train(module.training)


def _to_torch(module: Module, path: str, problems: list[str]) -> nn.Module:
    def child(name: str, value: Module) -> nn.Module:
        return _to_torch(value, f"{path}.{name}" if path else name, problems)

    if type(module) is Sequential:
        return nn.Sequential(*(child(name, value) for name, value in module.named_children()))
    if type(module) is Residual:
        return TorchResidual(child("body", module.body))
    if type(module) is Concat:
        return TorchConcat(child("body", module.body))
    if type(module) in _TO_TORCH:
        return _TO_TORCH[type(module)](module)
    problems.append(f"{path or 'the module itself'} ({type(module).__name__})")
    return nn.Identity()


def _torch_conv(kind: Callable[..., nn.Module], layer: Convolution, **arguments: Any) -> nn.Module:
    """Make the torch.nn layer without drawing initial values: that would move torch's generator."""
    like = {"dtype": layer.weight.dtype, "device": layer.weight.device}
    made: nn.Module = nn.utils.skip_init(kind, **arguments, **like)  # type: ignore[no-untyped-call]
    made.load_state_dict(layer.state_dict())
    return made


def _torch_upsampling(layer: Upsampling) -> nn.Module:
    arguments = {k: v for k, v in layer.config().items() if k != "scale_factor"}
    return nn.Sequential(_torch_nearest(layer), _torch_conv(nn.Conv2d, layer, **arguments))


def _torch_nearest(layer: NearestUpsampling | Upsampling) -> nn.Module:
    down, across = layer.scale_factor
    return nn.Upsample(scale_factor=(float(down), float(across)), mode="nearest")


_TO_TORCH: dict[type[Module], Callable[[Any], nn.Module]] = {
    Conv2d: lambda layer: _torch_conv(nn.Conv2d, layer, **layer.config()),
    TransposeConv2d: lambda layer: _torch_conv(nn.ConvTranspose2d, layer, **layer.config()),
    NearestUpsampling: _torch_nearest,
    Upsampling: _torch_upsampling,
    ReLU: lambda layer: nn.ReLU(),
    Sigmoid: lambda layer: nn.Sigmoid(),
    MSE: lambda layer: nn.MSELoss(reduction=layer.reduction),
}
