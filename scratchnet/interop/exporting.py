"""From scratchnet to torch.nn."""

from __future__ import annotations

import torch
from torch import nn

from scratchnet.errors import TypeMismatch
from scratchnet.interop.containers import complain, counterparts, torch_class
from scratchnet.layers.containers import Sequential
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import Upsampling


def to_torch(module: Module) -> nn.Module:
    """Return the torch.nn counterpart of a network, with a copy of its weights.

    Every layer keeps its place, so the state dicts have the same keys, except that an Upsampling at
    place ``i`` becomes ``nn.Sequential(nn.Upsample, nn.Conv2d)`` there, with keys ``i.1.weight``.
    dtype, device, mode (train or eval), frozen parameters, and layers that stand in several places
    are kept.

    Args:
        module: a layer or loss whose class names its counterpart (``torch_names``), or a container
            (Sequential, Residual, Concat) of them.

    Raises:
        ArgumentError: modules without a counterpart; the message names them all.
        TypeMismatch: not a scratchnet.Module.
    """
    if not isinstance(module, Module):
        raise TypeMismatch(f"to_torch expects a scratchnet.Module, got {type(module).__name__}")
    problems: list[str] = []
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and written over
        converted = _to_torch(module, "", problems, {})
    if problems:
        known = ", ".join(kind.__name__ for kind in dict.fromkeys(counterparts().values()))
        cure = f"known are {known}; as_autograd(layer) puts any layer into a torch.nn model"
        complain("to_torch", problems, cure)
    return converted.train(module.training)


def _to_torch(
    module: Module, path: str, problems: list[str], made: dict[int, nn.Module]
) -> nn.Module:
    if id(module) in made:
        return made[id(module)]

    def child(name: str, value: Module) -> nn.Module:
        return _to_torch(value, f"{path}.{name}" if path else name, problems, made)

    result: nn.Module
    if type(module) is Sequential:
        result = nn.Sequential(*(child(name, value) for name, value in module.named_children()))
    elif type(module) is Upsampling:
        result = nn.Sequential(*(_to_torch(part, path, problems, {}) for part in module.parts()))
        result[1].requires_grad_(module.weight.requires_grad)
    elif "torch_names" in vars(type(module)):  # a subclass may compute something else
        config = module.to_torch_config()
        arguments = {k: child(k, v) if isinstance(v, Module) else v for k, v in config.items()}
        result = torch_class(module.torch_names[0])(**arguments)
        _fill(result, module)
    else:
        problems.append(f"{path or 'the module itself'} ({type(module).__name__})")
        result = nn.Identity()
    made[id(module)] = result
    return result


def _fill(result: nn.Module, module: Module) -> None:
    own = [getattr(module, name) for name in (*module._parameters, *module._buffers)]
    example = next((value for value in own if value is not None), None)
    if example is not None:  # children, if there are any, are filled already
        result.to(dtype=example.dtype, device=example.device)
        result.load_state_dict(module.state_dict())
        for name, value in module.named_parameters():
            result.get_parameter(name).requires_grad_(value.requires_grad)
