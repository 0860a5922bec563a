"""From scratchnet to torch.nn."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from scratchnet.errors import TypeMismatch
from scratchnet.interop.containers import complain, counterparts, torch_class
from scratchnet.layers.containers import Sequential
from scratchnet.layers.functions import FUNCTIONS
from scratchnet.layers.graph import Graph
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import Upsampling
from scratchnet.layers.value import Network, Ref, mapped


def to_torch(module: Module) -> nn.Module:
    """Return the torch.nn counterpart of a network, with a copy of its weights.

    Every layer keeps its place, so the state dicts have the same keys, except that an Upsampling at
    place ``i`` becomes ``nn.Sequential(nn.Upsample, nn.Conv2d)`` there, with keys ``i.1.weight``. A
    :class:`scratchnet.Graph` becomes a torch.fx.GraphModule, whose ``code`` can be read.
    dtype, device, mode (train or eval), frozen parameters, and layers that stand in several places
    are kept.

    Args:
        module: a layer or loss whose class names its counterpart (``torch_names``), or a container
            (Sequential, Graph, ...) of them.

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
    _share(converted, module)
    return converted


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
        result.train(module.training)
    elif isinstance(module, Graph):
        (network, *others) = module.networks.values()
        if others:
            problems.append(f"{path or 'the module itself'}: several numbers of inputs")
        result = fx.GraphModule(_folder(module, child), _steps(network), type(module).__name__)
    elif "torch_names" in vars(type(module)):  # a subclass may compute something else
        config = module.to_torch_config()
        arguments = {k: child(k, v) if isinstance(v, Module) else v for k, v in config.items()}
        result = torch_class(module.torch_names[0])(**arguments)
        _fill(result, module)
    else:
        problems.append(f"{path or 'the module itself'} ({type(module).__name__})")
        result = nn.Identity()
    result.training = module.training
    made[id(module)] = result
    return result


def _folder(module: Module, child: Any) -> nn.Module:
    """Return a module with what is in this one, and no forward."""
    result = nn.Module()
    for name, value in module.named_children():
        made = _folder(value, child) if type(value) is Module else child(name, value)
        result.add_module(name, made)
    for name in (*module._parameters, *module._buffers):
        value = getattr(module, name)
        copied = None if value is None else value.detach().clone()
        if name in module._parameters:
            trained = value is not None and value.requires_grad
            made = None if copied is None else nn.Parameter(copied, trained)
            result.register_parameter(name, made)
        else:
            result.register_buffer(name, copied, name not in module._transient)
    return result


def _steps(network: Network) -> fx.Graph:
    """Return the steps as torch.fx has them."""
    steps = fx.Graph()
    nodes = [steps.placeholder(f"x{i}" if i else "x") for i in range(network.inputs)]

    def node(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        return nodes[leaf.of] if isinstance(leaf.of, int) else steps.get_attr(leaf.of)

    for step in network.steps:
        given = mapped(node, step.arguments)
        options = {name: mapped(node, value) for name, value in step.options.items()}
        if step.module:
            nodes.append(steps.call_module(step.module, given, options))
        elif isinstance(FUNCTIONS[step.function].torch, operator.attrgetter):
            nodes.append(steps.call_function(getattr, (*given, step.function)))
        elif FUNCTIONS[step.function].torch is getattr(Tensor, step.function, None):
            nodes.append(steps.call_method(step.function, given, options))
        else:
            nodes.append(steps.call_function(FUNCTIONS[step.function].torch, given, options))
    steps.output(mapped(node, network.output))
    return steps


def _share(converted: nn.Module, module: Module) -> None:
    """Let parameters be one where the module's are."""
    first: dict[int, str] = {}
    for path, part in module.named_modules():
        for name in part._parameters:
            before = first.setdefault(id(getattr(part, name)), path + name)
            if getattr(part, name) is not None and before != path + name:
                home, _, leaf = (path + name).rpartition(".")
                setattr(converted.get_submodule(home), leaf, converted.get_parameter(before))


def _fill(result: nn.Module, module: Module) -> None:
    own = [getattr(module, name) for name in (*module._parameters, *module._buffers)]
    example = next((value for value in own if value is not None), None)
    if example is not None:  # children, if there are any, are filled already
        result.to(dtype=example.dtype, device=example.device)
        result.load_state_dict(module.state_dict())
        for name, value in module.named_parameters():
            result.get_parameter(name).requires_grad_(value.requires_grad)
