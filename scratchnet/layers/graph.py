"""Graph: a network with branches, written down as in torch.nn, its backward by hand."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.layers.checks import check_grad
from scratchnet.layers.containers import Sequential
from scratchnet.layers.functions import FUNCTIONS
from scratchnet.layers.module import Module
from scratchnet.layers.value import Network, Ref, Step, Value, Wiring, leaves, mapped
from scratchnet.ops.op import shape_only


class Graph(Module):
    """A network with branches: modules, and the functions of functions.FUNCTIONS between them.

    Write a subclass: make the modules in ``__init__``, and say in ``connect`` how they follow each
    other, as in the ``forward`` of a torch.nn module. It is called once for each number of inputs,
    with values (value.py) for tensors, so it holds no condition on them; it may use ``self``'s
    modules, parameters and buffers, ``+ - * / @ **``, slices, and functions such as ``torch.cat``
    and ``x.flatten(1)``::

        class Block(Graph):
            def __init__(self, channels: int) -> None:
                self.conv1 = Conv2d(channels, channels, 3, padding=1)
                self.conv2 = Conv2d(channels, channels, 3, padding=1)
                self.relu = ReLU()

            def connect(self, x: Value) -> Value:
                y = self.relu(self.conv1(x))
                return self.relu(self.conv2(y) + x)

    Backward goes through the steps from the last to the first; the gradient of a value is the sum
    of the gradients from all steps that read it. Neighbouring modules that a backend can run as one
    are (fuse.py).
    """

    _networks: dict[int, Network] | None = None
    _parts: dict[int, tuple[list[Module | None], list[_Part]]] | None = None

    def connect(self, *inputs: Any) -> Any:
        """Write down the steps: return the value that is the output, or a tuple of several."""
        raise NotImplementedError(f"{type(self).__name__} does not define connect()")

    def network(self, inputs: int = 1) -> Network:
        """Return the steps for so many inputs.

        Raises:
            ArgumentError: ``connect`` does not take so many, or uses what is not the network's.
        """
        networks = self._networks = self._networks or {}
        if inputs not in networks:
            wiring = Wiring(self, inputs)
            given = wiring.inputs()
            try:
                inspect.signature(self.connect).bind(*given)
            except TypeError as error:
                raise ArgumentError(f"{type(self).__name__}: {inputs} inputs: {error}") from error
            with self._as_values(wiring):
                networks[inputs] = wiring.network(self.connect(*given))
        return networks[inputs]

    @contextmanager
    def _as_values(self, wiring: Wiring) -> Iterator[None]:
        """Let the attributes that are parameters and buffers stand for them, as values."""
        names = [n for n in (*self._parameters, *self._buffers) if getattr(self, n) is not None]
        tensors = {name: getattr(self, name) for name in names}
        vars(self).update({name: Value(wiring, name) for name in names})
        try:
            yield
        finally:
            vars(self).update(tensors)

    @property
    def networks(self) -> dict[int, Network]:
        """The steps by number of inputs: those asked for so far, or as ``connect`` takes them."""
        if not self._networks:
            self.network(len(inspect.signature(self.connect).parameters))
        assert self._networks is not None
        return self._networks

    def forward(self, *inputs: Any) -> Any:
        """Run the steps one after the other, and drop each value after the last that reads it."""
        network = self.network(len(inputs))
        parts = self._planned(network)
        values = dict(enumerate(map(_detached, inputs)))
        kept: list[Any] = []
        keeps = self.keeps
        for part in parts:
            arguments = self._given(part.step.arguments, values)
            options = self._given(part.step.options, values) if part.step.options else {}
            if part.module is not None:
                if part.chain:
                    part.module.training = self.training
                y = part.module.forward(*arguments, **options)
                of_part: Any = mapped(_shape_only, y) if keeps else None
            else:
                y, of_part = FUNCTIONS[part.step.function].forward(*arguments, **options)
            values[part.result] = y
            if keeps:
                kept.append(of_part)
            for number in part.last:
                del values[number]
        memory = {_memory(x) for x in inputs if isinstance(x, Tensor)}
        output = mapped(
            lambda y: y.clone() if isinstance(y, Tensor) and _memory(y) in memory else y,
            self._given(network.output, values),
        )
        self.save(
            network,
            parts,
            kept,
            [*map(_shape_only, inputs)],
            [shape_only(y) for y in leaves(output)],
        )
        return output

    def backward(self, *grad_outputs: Any) -> Any:
        """∂L/∂v = Σ Jᵀ ∂L/∂w over the steps w = f(v, ...) that read v: the chain rule, from the
        last step to the first.
        """
        grads, inputs = self._backward(grad_outputs, needs_input=True)
        found: list[Tensor | None] = []
        memory = {_memory(grad) for grad in grad_outputs}
        for i, x in enumerate(inputs):
            grad = grads.get(i)
            if isinstance(x, Tensor) and x.is_floating_point():
                grad = torch.zeros_like(x) if grad is None else grad
                grad = grad.clone() if _memory(grad) in memory else grad
                memory.add(_memory(grad))
                found.append(grad)
            else:
                found.append(None)
        return found[0] if len(found) == 1 else tuple(found)

    def backward_parameters(self, *grad_outputs: Any) -> None:
        """As backward, but the first modules need not compute the gradient of the input."""
        self._backward(grad_outputs, needs_input=False)

    def _backward(
        self, grad_outputs: tuple[Any, ...], needs_input: bool
    ) -> tuple[dict[int, Any], list[Any]]:
        network, parts, kept, inputs, outputs = self.saved
        grad_outputs = tuple(
            check_grad(self, grad, y.shape, y.dtype)
            for grad, y in zip(grad_outputs, outputs, strict=True)
        )
        grads: dict[int, Any] = {}
        several = isinstance(network.output, tuple) and not isinstance(network.output, Ref)
        self._give(grads, network.output if several else [network.output], grad_outputs)
        for part, of_part in zip(reversed(parts), reversed(kept), strict=True):
            grad = grads.pop(part.result, None)
            if part.module is not None:
                filled = _filled(grad, of_part)
                above = filled if isinstance(filled, tuple) else (filled,)
                if needs_input or part.inside:
                    given = part.module.backward(*above)
                    given = given if isinstance(given, tuple) else (given,)
                else:
                    part.module.backward_parameters(*above)
                    continue
            else:
                function = FUNCTIONS[part.step.function]
                if grad is None or function.backward is None:
                    continue
                given = function.backward(grad, *of_part)
            self._give(grads, part.step.arguments, given)
        return grads, inputs

    def _give(self, grads: dict[int, Any], arguments: Iterable[Any], given: Iterable[Any]) -> None:
        """Add gradients to what is known of the values, or to the buffers of the parameters."""
        for argument, grad in zip(arguments, given, strict=False):
            if grad is None:
                continue
            if isinstance(argument, Ref) and isinstance(argument.of, int):
                grads[argument.of] = _sum(grads.get(argument.of), grad)
            elif isinstance(argument, Ref):
                module, name = self._home(str(argument.of))
                if name in module._parameters:
                    buffer = getattr(module, f"grad_{name}")
                    buffer += grad
            elif isinstance(argument, list | tuple):
                self._give(grads, argument, grad)

    # -- what the steps name -----------------------------------------------------------------------

    def _given(self, arguments: Any, values: dict[int, Any]) -> Any:
        def value(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            if isinstance(leaf.of, int):
                return values[leaf.of]
            module, name = self._home(leaf.of)
            return getattr(module, name).detach()

        return mapped(value, arguments)

    def _home(self, name: str) -> tuple[Module, str]:
        path, _, leaf = name.rpartition(".")
        return self.get_submodule(path), leaf

    def get_submodule(self, path: str) -> Module:
        """Return the module at these dots, as torch.nn's method."""
        module: Module = self
        for name in path.split(".") if path else ():
            child = getattr(module, name, None)
            module = child if isinstance(child, Module) else dict(module.named_children())[name]
        return module

    def _planned(self, network: Network) -> list[_Part]:
        """Return the parts to run, made anew where a module has been replaced."""
        modules = [self.get_submodule(s.module) if s.module else None for s in network.steps]
        plans = self._parts = self._parts or {}
        known = plans.get(network.inputs)
        if known is None or any(a is not b for a, b in zip(known[0], modules, strict=True)):
            plans[network.inputs] = known = modules, _parts(network, modules)
        return known[1]

    def _forget(self) -> None:
        self._parts = None  # chains keep what their modules gave
        super()._forget()

    def __repr__(self) -> str:
        """As any layer's; of one without a class of its own its modules and steps."""
        if type(self) is not Graph:
            return super().__repr__()
        networks = (self._networks or {}).values()
        used = dict.fromkeys(s.module for net in networks for s in net.steps if s.module)
        lines = [f"({path}): {self.get_submodule(path)!r}" for path in used]
        lines += map(str, networks)
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"Graph(\n  {body}\n)" if body else "Graph()"


class _Part(NamedTuple):
    """One step, or several modules in a row run as one.

    Attributes:
        step: what it reads; of several the first.
        module: which runs; None for a function.
        chain: whether the module is several in a row.
        result: the number of the value that it computes.
        inside: whether it reads anything but the network's inputs.
        last: the numbers of the values that nobody reads afterwards.
    """

    step: Step
    module: Module | None
    chain: bool
    result: int
    inside: bool
    last: tuple[int, ...]


def _parts(network: Network, modules: list[Module | None]) -> list[_Part]:
    """Return the steps, with modules of which each reads nothing but the one before as one."""
    readers: dict[int, int] = {}
    for read in (*((s.arguments, s.options) for s in network.steps), network.output):
        for number in _numbers(read):
            readers[number] = readers.get(number, 0) + 1
    first = 0
    ends = []
    for i, step in enumerate(network.steps, start=1):
        number = network.inputs + i - 1
        follower = network.steps[i] if i < len(network.steps) else None
        joined = (
            follower is not None
            and modules[i - 1] is not None
            and modules[i] is not None
            and follower.arguments == (Ref(number),)
            and not (step.options or follower.options)
            and readers.get(number) == 1
        )
        if not joined:
            ends.append((first, i))
            first = i
    seen = set(_numbers(network.output))
    found = []
    for begin, end in reversed(ends):
        step, inside = network.steps[begin], [m for m in modules[begin:end] if m is not None]
        module = Sequential(*inside) if end - begin > 1 else modules[begin]
        reads, result = set(_numbers((step.arguments, step.options))), network.inputs + end - 1
        last = reads - seen | ({result} - seen)
        seen |= reads
        deeper = any(n >= network.inputs for n in reads)
        found.append(_Part(step, module, end - begin > 1, result, deeper, tuple(last)))
    return found[::-1]


def _numbers(arguments: Any) -> Iterator[int]:
    for leaf in leaves(arguments):
        if isinstance(leaf, Ref) and isinstance(leaf.of, int):
            yield leaf.of


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) and x.requires_grad else x


def _shape_only(x: Any) -> Any:
    return shape_only(x) if isinstance(x, Tensor) else x


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _sum(a: Any, b: Any) -> Any:
    """The sum of two gradients: of tensors, or of tuples of them, in which None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tuple):
        return tuple(map(_sum, a, b))
    return a + b


def _filled(grad: Any, like: Any) -> Any:
    """A gradient with zeros where nobody read the result."""
    if isinstance(like, tuple):
        return tuple(map(_filled, grad or [None] * len(like), like))
    return torch.zeros_like(like) if grad is None and isinstance(like, Tensor) else grad
