"""Values: what stands for a tensor while a network's connections are written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.layers.functions import FUNCTIONS, called

if TYPE_CHECKING:
    from scratchnet.layers.module import Module


class Ref(NamedTuple):
    """Where a step's argument comes from: the value of this number, or the parameter or buffer of
    this name.
    """

    of: int | str

    def __repr__(self) -> str:
        return f"v{self.of}" if isinstance(self.of, int) else self.of


class Step(NamedTuple):
    """One step of a network: a module inside it, or a function, and what it is given.

    Attributes:
        module: its name among ``named_modules()``; "" for a function.
        function: its name in ``functions.FUNCTIONS``; "" for a module.
        arguments: constants and Refs, also in tuples, lists, dicts and slices.
        options: keyword arguments, likewise.
    """

    module: str
    function: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        given = [*map(repr, self.arguments), *(f"{k}={v!r}" for k, v in self.options.items())]
        return f"{self.module or self.function}({', '.join(given)})"


class Network(NamedTuple):
    """What a Graph computes: steps over numbered values, of which the inputs are the first.

    Attributes:
        inputs: how many.
        steps: each reads values before its own, and its result is the next.
        output: a Ref, or a tuple of them.
    """

    inputs: int
    steps: tuple[Step, ...]
    output: Any

    def __str__(self) -> str:
        lines = [f"v{i} = {step}" for i, step in enumerate(self.steps, start=self.inputs)]
        return "\n".join([*lines, f"return {self.output!r}"])


class Wiring:
    """The steps of a network, as they are written down.

    Args:
        owner: the network; its modules, parameters and buffers are what steps may use.
        inputs: how many it takes: they are the values 0, 1, ...
    """

    def __init__(self, owner: Module, inputs: int) -> None:
        self.count = inputs
        self.steps: list[Step] = []
        self._owner = owner
        self._modules = {id(module): path[:-1] for path, module in owner.named_modules()}
        tensors = (*owner._tensors("_parameters"), *owner._tensors("_buffers"))
        self._tensors = {id(value): name for name, value, _, _ in tensors}

    def inputs(self) -> list[Value]:
        """Return what stands for the inputs."""
        return [Value(self, i) for i in range(self.count)]

    def call(self, module: Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> Value:
        """Write down a call of a module."""
        path = self._modules.get(id(module), "")
        if not path:
            raise ArgumentError(
                f"{type(self._owner).__name__}.connect uses a {type(module).__name__} that is none "
                "of its modules: make it in __init__ and keep it as an attribute"
            )
        return self.add(Step(path, "", self.refs(arguments), self.refs(options)))

    def function(self, name: str, *arguments: Any, **options: Any) -> Value:
        """Write down a call of a function."""
        return self.add(Step("", name, self.refs(arguments), self.refs(options)))

    def add(self, step: Step) -> Value:
        """Write down a step, and return what stands for its result."""
        self.steps.append(step)
        return Value(self, self.count + len(self.steps) - 1)

    def network(self, output: Any) -> Network:
        """Return what has been written down, with this value, or tuple of values, as output."""
        found = self.refs(output)
        if not all(isinstance(leaf, Ref) for leaf in leaves(found)):
            raise ArgumentError(
                f"{type(self._owner).__name__}.connect returns {output!r}: expected a value, or a "
                "tuple of values"
            )
        return Network(self.count, tuple(self.steps), found)

    def refs(self, given: Any) -> Any:
        """Return arguments with a Ref for each value, parameter and buffer among them.

        Raises:
            ArgumentError: a value of another network, or a tensor that is none of the owner's.
        """

        def ref(value: Any) -> Any:
            if isinstance(value, Value):
                if value.wiring is not self:
                    raise ArgumentError(
                        f"{type(self._owner).__name__}.connect uses a value of another network"
                    )
                return Ref(value.number)
            if isinstance(value, Tensor):
                if id(value) not in self._tensors:
                    raise ArgumentError(
                        f"{type(self._owner).__name__}.connect uses a tensor that is none of its "
                        "parameters or buffers: make it one with add_parameter or add_buffer"
                    )
                return Ref(self._tensors[id(value)])
            return value

        return mapped(ref, given)


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Return arguments with every leaf of their tuples, lists, dicts and slices changed."""
    if isinstance(value, list):
        return [mapped(change, v) for v in value]
    if isinstance(value, tuple) and not isinstance(value, Ref):
        return tuple(mapped(change, v) for v in value)
    if isinstance(value, dict):
        return {name: mapped(change, v) for name, v in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(change, v) for v in (value.start, value.stop, value.step)))
    return change(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the leaves of arguments."""
    found: list[Any] = []
    mapped(found.append, value)
    return iter(found)


class Value:
    """What stands for a tensor (or a size) in :meth:`Graph.connect`.

    Modules, operators and torch's functions and methods of functions.FUNCTIONS may be applied to
    it: nothing is computed, the step is written down.
    """

    def __init__(self, wiring: Wiring, number: int | str) -> None:
        self.wiring, self.number = wiring, number  # or the name of a parameter or buffer

    def __repr__(self) -> str:
        return f"Value({self.number})"

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let torch.cat([x, y], 1) and the like be written down."""
        name = called(function)
        value = next(v for v in leaves((*args, *(kwargs or {}).values())) if isinstance(v, cls))
        return value.wiring.function(name, *args, **(kwargs or {}))

    @property
    def shape(self) -> Value:
        """The sizes."""
        return self.wiring.function("shape", self)

    @property
    def device(self) -> Value:
        """Where it is."""
        return self.wiring.function("device", self)

    def __iter__(self) -> Iterator[Value]:
        raise ArgumentError(
            "how many values there are is not known yet: take them by [0], [1], ..."
        )

    def __bool__(self) -> bool:
        raise ArgumentError(
            "connect is called once, to write the steps down: a condition cannot depend on a value"
        )

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS or name.startswith("_"):
            raise AttributeError(
                f"a Value has no {name!r}: known are {', '.join(FUNCTIONS)}, and any module"
            )
        return lambda *args, **kwargs: self.wiring.function(name, self, *args, **kwargs)


def _operator(name: str, swapped: bool = False) -> Callable[..., Value]:
    def apply(self: Value, *others: Any) -> Value:
        given = (*others, self) if swapped else (self, *others)
        return self.wiring.function(name, *given)

    return apply


for _special, _name in {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "matmul": "matmul", "pow": "pow",
    "floordiv": "floor_divide",
}.items():  # fmt: skip
    setattr(Value, f"__{_special}__", _operator(_name))
    setattr(Value, f"__r{_special}__", _operator(_name, swapped=True))
for _special, _name in {"neg": "neg", "getitem": "getitem"}.items():
    setattr(Value, f"__{_special}__", _operator(_name))
