"""Modules of torch.nn with a forward of their own, traced by torch.fx and made a Graph."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from scratchnet.errors import ArgumentError
from scratchnet.interop.functionals import module_for, name_of
from scratchnet.layers.functions import FUNCTIONS, called
from scratchnet.layers.graph import Graph
from scratchnet.layers.module import Module
from scratchnet.layers.value import Ref, Step, Wiring, leaves, mapped

Convert = Callable[[nn.Module, str], Module]
"""Makes a layer of one of torch's modules, with its place for messages."""

_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


def traced(root: nn.Module, path: str, converts: Callable[[nn.Module], bool], convert: Convert,
           problems: list[str]) -> Module:  # fmt: skip
    """Return a Graph of what the module's forward does, its modules and parameters under the names
    that they have there.

    Args:
        root: the module.
        path: its place, for messages.
        converts: whether a module inside it has a counterpart, so that its own forward need not be
            looked into.
        convert: makes the counterpart.
        problems: gets a line for each step without a counterpart.

    Raises:
        ArgumentError: its forward cannot be traced.
    """
    tracer = _Tracer(converts)
    try:
        steps = tracer.trace(root)
    except Exception as error:  # whatever the module's own code raises
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ArgumentError(f"{tracer.inside}its forward cannot be traced: {reason}") from error
    return _Importer(root, path, convert, problems).run(steps)


class _Proxy(fx.Proxy):
    """Notes ``x += y`` as what it is: afterwards x is another."""


for _function in _IN_PLACE:

    def _in_place(self: fx.Proxy, other: Any, _function: Any = _function) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", _function, (self, other), {})

    setattr(_Proxy, f"__{_function.__name__}__", _in_place)


class _Tracer(fx.Tracer):
    """Looks into every module that has no counterpart; notes where each step comes from."""

    proxy_buffer_attributes = True  # a slice of a buffer may depend on a size

    def __init__(self, converts: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.converts = converts
        self.inside = ""  # which module's forward is run, for messages

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Arguments that have a default keep it: they decide which way the code goes."""
        args: list[Any] = [self.root]
        for name, parameter in list(inspect.signature(root_fn).parameters.items())[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.kind is parameter.KEYWORD_ONLY:
                root_fn = partial(root_fn, **{name: parameter.default})
            elif parameter.default is parameter.empty:
                args.append(self.create_proxy("placeholder", name, (), {}))
            else:
                args.append(parameter.default)
        return root_fn, args

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self.converts(m)

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.is_leaf_module(m, ""):
            return super().call_module(m, forward, args, kwargs)
        before = self.inside
        self.inside = f"in {self.path_of_module(m)} ({type(m).__name__}) "
        result = forward(*args, **kwargs)
        self.inside = before
        return result

    def proxy(self, node: fx.Node) -> fx.Proxy:
        node.meta["inside"] = self.inside
        return _Proxy(node, self)


def built_in(module: nn.Module) -> bool:
    """Whether a module is torch's own, and more than a row of others."""
    return type(module).__module__.startswith("torch.nn") and type(module) is not nn.Sequential


def hooked(module: nn.Module) -> bool:
    """Whether something else than its forward runs when it is called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


class _Importer:
    """Makes a Graph of what was traced."""

    def __init__(self, root: nn.Module, path: str, convert: Convert, problems: list[str]) -> None:
        self.root, self.path, self.convert, self.problems = root, path, convert, problems
        self.graph = Graph()
        self.graph.training = root.training
        self.known: dict[fx.Node, Any] = {}
        self.made: set[str] = set()

    def run(self, steps: fx.Graph) -> Graph:
        places = [node for node in steps.nodes if node.op == "placeholder"]
        self.wiring = Wiring(self.graph, len(places))
        self.known = {node: Ref(i) for i, node in enumerate(places)}
        output: Any = None
        for node in steps.nodes:
            if node.op == "output":
                output = self.of(node.args[0])
            elif node.op != "placeholder":
                before = len(self.problems)
                try:
                    self.known[node] = self.step(node)
                except ArgumentError as reason:
                    where = f"{self.path or 'the module itself'} ({type(self.root).__name__})"
                    inside = node.meta["inside"]
                    self.problems.append(f"{where}: {inside}the step {node.name}: {reason}")
                if len(self.problems) > before:
                    self.known[node] = Ref(0)
        if not self.problems:
            self.graph._networks = {len(places): self.wiring.network(output)}
        return self.graph

    def of(self, arguments: Any) -> Any:
        """Return arguments with what is known of the nodes among them."""
        return mapped(
            lambda leaf: self.known[leaf] if isinstance(leaf, fx.Node) else leaf,
            _plain(arguments),
        )

    def step(self, node: fx.Node) -> Any:
        """Return the Ref for what a node computes."""
        args, kwargs = self.of(node.args), self.of(node.kwargs)
        if node.op == "get_attr":
            return self.tensor(str(node.target))
        if node.op == "call_module":
            module = self.root.get_submodule(str(node.target))
            result = self.call(str(node.target), module, args, kwargs)
            inplace = getattr(module, "inplace", False)
        elif node.target is getattr:
            return self.function(str(args[1]), args[:1], {})
        else:
            name = name_of(node.target)
            marked = isinstance(node.target, str) and node.target.endswith("_")
            inplace = kwargs.get("inplace") or marked or node.target in _IN_PLACE
            result = self.functional(node, name, args, kwargs)
        changed = node.args[0] if inplace else None
        if isinstance(changed, fx.Node):
            _refuse_views(changed, node)
            self.known[changed] = result  # is what later steps read
        return result

    def call(
        self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Note the call of a module, which is made at its first."""
        if path not in self.made:
            self.made.add(path)
            self.place(path, self.convert(module, f"{self.path}.{path}" if self.path else path))
        return self.note(Step(path, "", args, kwargs))

    def functional(
        self, node: fx.Node, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Note a call of a function: as a module, or as one of FUNCTIONS."""
        if name == "linear":
            x, weight, *bias = args
            y = self.function("matmul", (x, self.function("transpose", (weight, 0, 1), {})), {})
            bias = [*bias, *kwargs.values()]
            return self.function("add", (y, bias[0]), {}) if bias and bias[0] is not None else y
        x, *others = args
        given = (tuple(others), tuple(kwargs.values()))
        constant = not any(isinstance(leaf, Ref) for leaf in leaves(given))
        module = module_for(name, tuple(others), kwargs) if constant else None
        if module is None:
            return self.function(called(node.target), args, kwargs)
        if "dropout" in name and module.training != self.root.training:
            if module.training:
                raise ArgumentError("it drops in eval mode, too")
            return x
        return self.call(self.free(name), module, (x,), {})

    def function(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name not in FUNCTIONS:
            called(name)  # says so
        return self.note(Step("", name, args, kwargs))

    def note(self, step: Step) -> Ref:
        return Ref(self.wiring.add(step).number)

    def tensor(self, path: str) -> Any:
        """Give the graph a parameter or buffer of the module, or return another attribute."""
        home, _, name = path.rpartition(".")
        owner = self.root.get_submodule(home)
        value = getattr(owner, name)
        if not isinstance(value, Tensor):
            return value
        place = self.folder(home)
        if name not in (*place._parameters, *place._buffers):
            if isinstance(value, nn.Parameter):
                place.add_parameter(name, value.detach().clone(), value.requires_grad)
            else:
                kept = name in owner._buffers and name not in owner._non_persistent_buffers_set
                place.add_buffer(name, value.detach().clone(), kept)
        return Ref(path)

    # -- places ------------------------------------------------------------------------------------

    def folder(self, path: str) -> Module:
        """Return the module at this path, with empty ones made on the way."""
        module: Module = self.graph
        for name in path.split(".") if path else ():
            if not isinstance(getattr(module, name, None), Module):
                setattr(module, name, Module())
            module = getattr(module, name)
        return module

    def place(self, path: str, layer: Module) -> None:
        home, _, name = path.rpartition(".")
        setattr(self.folder(home), name, layer)

    def free(self, name: str) -> str:
        """Return a name that no module has yet."""
        taken = {*self.made, *dict(self.root.named_children())}
        names = (f"{name}_{i}" if i else name for i in range(len(taken) + 1))
        return next(name for name in names if name not in taken)


def _refuse_views(changed: fx.Node, by: fx.Node) -> None:
    """Raise ArgumentError if a view of what is changed in place, or what it is a view of, is read
    afterwards: its values would have changed, too.
    """
    base = changed.args[0] if _is_view(changed) else None
    related = [base] if isinstance(base, fx.Node) else []
    related += [user for user in changed.users if user < by and _is_view(user)]
    if any(by < user for other in related for user in other.users):
        raise ArgumentError("it changes in place what is read afterwards through a view")


def _is_view(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and name_of(node.target) in _VIEWS


_VIEWS = ("view", "reshape", "flatten", "unsqueeze", "squeeze", "permute", "transpose", "expand",
          "getitem", "chunk", "split")  # fmt: skip


def _plain(value: Any) -> Any:
    """Return fx's immutable collections as plain ones."""
    if isinstance(value, slice):
        return slice(*(_plain(v) for v in (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(map(_plain, value)) if type(value) is tuple else list(map(_plain, value))
    return value
