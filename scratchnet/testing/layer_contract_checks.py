"""Checks of how a layer behaves as a Module: buffers, aliasing, modes, copies, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import scratchnet
from scratchnet.errors import ScratchnetError
from scratchnet.module import API_VERSION, Module
from scratchnet.testing.closeness import ConformanceError, assert_close, assert_same_bits
from scratchnet.testing.subject import Subject


def contract(s: Subject) -> str:
    """forward and backward return tensors of the shapes and dtypes that Module promises."""
    for example in s.examples:
        layer = s.make()
        if layer.api_version != API_VERSION:
            raise ConformanceError(f"api_version is {layer.api_version}, expected {API_VERSION}")
        step = s.step(layer, example)
        if step.y.dtype != example[0].dtype:
            raise ConformanceError(f"the output of {example[0].dtype} inputs is {step.y.dtype}")
        for i, (x, grad) in enumerate(zip(example, step.grads, strict=False)):
            if grad.shape != x.shape or grad.dtype != x.dtype:
                raise ConformanceError(
                    f"backward is expected to return a gradient like input {i}, "
                    f"{tuple(x.shape)} {x.dtype}; got {tuple(grad.shape)} {grad.dtype}"
                )
    return ""


# -- parameters and their buffers ------------------------------------------------------------------


def parameters(s: Subject) -> str:
    """param() is a flat list of (parameter, zeroed gradient), each with memory of its own."""
    layer = s.make()
    pairs = layer.param()
    if not isinstance(pairs, list):
        raise ConformanceError(f"param() is expected to return a list, got {type(pairs).__name__}")
    owners: dict[int, str] = {}
    for number, pair in enumerate(pairs):
        if not (isinstance(pair, tuple) and [isinstance(t, Tensor) for t in pair] == [True] * 2):
            raise ConformanceError(
                f"param()[{number}] is expected to be (parameter, gradient), got {pair!r:.80}"
            )
    for (name, value, grad), (listed, listed_grad) in zip(layer.named_param(), pairs, strict=True):
        if listed is not value or listed_grad is not grad:
            raise ConformanceError(f"param() and named_param() list different tensors for {name}")
        if value.shape != grad.shape or value.dtype != grad.dtype:
            raise ConformanceError(
                f"the gradient of {name} is expected like it, {tuple(value.shape)} {value.dtype}; "
                f"got {tuple(grad.shape)} {grad.dtype}"
            )
        for what, tensor in ((name, value), (f"gradient of {name}", grad)):
            address = tensor.untyped_storage().data_ptr()
            if tensor.numel() and address in owners:
                raise ConformanceError(
                    f"the {what} shares its memory with the {owners[address]}: writing to one "
                    "changes the other"
                )
            owners[address] = what
        if bool((grad != 0).any()):
            raise ConformanceError(f"the gradient of {name} is not 0 in a fresh layer")
    return f"{len(pairs)} parameters, {sum(value.numel() for value, _ in pairs)} numbers"


def gradient_buffers(s: Subject) -> str:
    """The tensors that an optimizer got from param() are those that backward writes, forever."""
    for example in s.examples:
        layer = s.make()
        held = [(name, value, grad) for name, value, grad in layer.named_param()]
        s.step(layer, example)
        _assert_same_objects(layer, held, "after backward")
        layer.zero_grad()
        _assert_same_objects(layer, held, "after zero_grad")
        s.step(layer, example)
        layer.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()})
        layer.eval().train()
        _assert_same_objects(layer, held, "after load_state_dict, eval and train")
    return ""


def _assert_same_objects(layer: Module, held: list[tuple[str, Tensor, Tensor]], when: str) -> None:
    for (name, value, grad), (_, now, grad_now) in zip(held, layer.named_param(), strict=True):
        if now is not value:
            raise ConformanceError(
                f"{name} is another tensor {when}: an optimizer still changes the old one; "
                "change it in place"
            )
        attribute = getattr(layer, f"grad_{name}", grad_now) if "." not in name else grad_now
        if grad_now is not grad or attribute is not grad:
            raise ConformanceError(
                f"the gradient of {name} is another tensor {when}: an optimizer never sees it; "
                f"write grad_{name} += ..., not grad_{name} = ..."
            )


def accumulation(s: Subject) -> str:
    """Gradients of two backwards add up: of two batches, and of one forward gone back twice."""
    for example in s.examples:
        layer = s.make()
        step = s.step(layer, example)
        first = _gradients(layer)
        layer.zero_grad()
        s.step(layer, example, seed=1)
        second = _gradients(layer)
        layer.zero_grad()
        s.step(layer, example)
        s.step(layer, example, seed=1)
        _assert_sums(layer, first, second, "two batches")
        layer.zero_grad()
        layer.forward(*example)
        layer.backward(step.grad_y)
        layer.backward(step.grad_y)
        _assert_sums(layer, first, first, "one forward and two backwards")
    return ""


def _assert_sums(
    layer: Module, first: dict[str, Tensor], second: dict[str, Tensor], when: str
) -> None:
    for name, _, grad in layer.named_param():
        rtol = 64 * torch.finfo(grad.dtype).eps
        total = first[name] + second[name]
        if bool((second[name] != 0).any()) and torch.equal(grad, second[name]):
            raise ConformanceError(
                f"the gradient of {name} after {when} is the last one alone: it is overwritten; "
                f"write grad_{name} += ..., not = ..."
            )
        assert_close(grad, total, f"gradient of {name} after {when} (expected: the sum)", rtol=rtol)


def zero_grad(s: Subject) -> str:
    """zero_grad zeroes every gradient."""
    layer = s.make()
    s.step(layer, s.examples[0])
    layer.zero_grad()
    for name, _, grad in layer.named_param():
        if bool((grad != 0).any()):
            raise ConformanceError(f"the gradient of {name} is not 0 after zero_grad")
    return ""


def changes_of_dtype(s: Subject) -> str:
    """to(dtype=) converts parameters and gradients and keeps the tensor objects."""
    layer = s.make(torch.float32)
    held = list(layer.named_param())
    before = {name: value.clone() for name, value, _ in held}
    if layer.to(dtype=torch.float64) is not layer:
        raise ConformanceError("to() is expected to return the layer itself")
    _assert_same_objects(layer, held, "after to(dtype=)")
    for name, value, grad in layer.named_param():
        if value.dtype != torch.float64 or grad.dtype != torch.float64:
            raise ConformanceError(f"{name} or its gradient is not float64 after to(float64)")
        assert_same_bits(value, before[name].double(), f"{name} after to(float64)")
    return ""


# -- side effects ----------------------------------------------------------------------------------


def inputs_untouched(s: Subject) -> str:
    """forward writes to no input, backward to no gradient given to it, neither to parameters."""
    for example in s.examples:
        layer = s.make()
        kept = [x.clone() for x in example]
        values = {name: value.clone() for name, value, _ in layer.named_param()}
        y = layer.forward(*example)
        grad_y = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
        kept_grad = grad_y.clone()
        for i, (x, same) in enumerate(zip(example, kept, strict=True)):
            assert_same_bits(x, same, f"forward wrote to input {i}")
        layer.backward(grad_y)
        assert_same_bits(grad_y, kept_grad, "backward wrote to the gradient it was given")
        for i, (x, same) in enumerate(zip(example, kept, strict=True)):
            assert_same_bits(x, same, f"backward wrote to input {i}")
        for name, value, _ in layer.named_param():
            assert_same_bits(value, values[name], f"forward or backward wrote to {name}")
    return ""


def no_aliases(s: Subject) -> str:
    """Output and input gradients share no memory with inputs, parameters or gradient buffers."""
    for example in s.examples:
        layer = s.make()
        step = s.step(layer, example)
        own = {"a parameter": [v for v, _ in layer.param()]}
        own["a gradient buffer"] = [g for _, g in layer.param()]
        for what, results, others in (
            ("the output", (step.y,), {"the input": list(example), **own}),
            (
                "the input's gradient",
                step.grads,
                {"the gradient it was given": [step.grad_y], **own},
            ),
        ):
            for result in results:
                for owner, tensors in others.items():
                    if any(_shared(result, tensor) for tensor in tensors):
                        raise ConformanceError(
                            f"{what} shares memory with {owner}: writing to one changes the other"
                        )
    return ""


def _shared(a: Tensor, b: Tensor) -> bool:
    return bool(a.numel()) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def no_graph(s: Subject) -> str:
    """Nothing that comes out belongs to an autograd graph, even if the inputs do."""
    for example in s.examples:
        layer = s.make()
        y = layer.forward(*((x.clone().requires_grad_() * 1) for x in example))
        if y.requires_grad:
            raise ConformanceError(
                "the output has a grad_fn: the layer computes on an input that requires a "
                "gradient; check_tensor() detaches it"
            )
        for grad in s.backward(layer, torch.ones_like(y).requires_grad_() * 1):
            if grad.requires_grad:
                raise ConformanceError(
                    "the input's gradient has a grad_fn: check_grad() detaches what is given"
                )
        for name, value, buffer in layer.named_param():
            if value.requires_grad or buffer.requires_grad:
                raise ConformanceError(f"{name} or its gradient requires a gradient")
    return ""


def global_state(s: Subject) -> str:
    """torch's default dtype, grad mode, threads and random numbers are left alone."""
    layer = s.make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8191)  # a state that no layer will happen to set
        before, random = _global_state(), torch.get_rng_state()
        s.step(layer, s.examples[0])
        if _global_state() != before:
            raise ConformanceError(f"torch's settings were {before}, and are {_global_state()}")
        if not torch.equal(torch.get_rng_state(), random):
            raise ConformanceError("forward or backward seeds torch's global generator or draws")
    return ""


def _global_state() -> tuple[object, ...]:
    return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()


# -- modes and order -------------------------------------------------------------------------------


def backward_before_forward(s: Subject) -> str:
    """backward without a forward is one clear error."""
    usual = s.make()
    y = usual.forward(*s.examples[0])
    _assert_order_error(lambda: s.make(y.dtype).backward(torch.zeros_like(y)), "before forward")
    return ""


def eval_mode(s: Subject) -> str:
    """eval() gives the same output and keeps nothing; train() brings backward back."""
    for example in s.examples:
        layer = s.make()
        y = layer.forward(*example)
        if layer.eval() is not layer or _in_training(layer):
            raise ConformanceError("eval() is expected to return the layer, with training False")
        held = _tensors_held(layer)
        assert_same_bits(layer.forward(*example), y, "output in eval mode")
        new = _tensors_held(layer).keys() - held.keys()
        if new:
            names = ", ".join(sorted({_tensors_held(layer)[i] for i in new}))
            raise ConformanceError(
                f"forward in eval mode keeps a tensor in {names}: use save(), which does not"
            )
        _assert_order_error(partial(layer.backward, torch.zeros_like(y)), "in eval mode")
        if layer.train() is not layer or not _in_training(layer):
            raise ConformanceError("train() is expected to return the layer, with training True")
        layer.forward(*example)
        layer.backward(torch.zeros_like(y))
    return ""


def _in_training(layer: Module) -> bool:
    return layer.training


def _tensors_held(layer: Module) -> dict[int, str]:
    """Return {id: attribute} of the tensors in the layer's attributes."""
    found = {}
    for name, value in vars(layer).items():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, Tensor):
                found[id(item)] = name
    return found


def _assert_order_error(call: Callable[[], object], when: str) -> None:
    try:
        call()
    except (ScratchnetError, RuntimeError) as error:
        if "forward" not in str(error):
            raise ConformanceError(
                f"backward {when} says {str(error)!r}: say that forward is missing (reading "
                "self.saved does)"
            ) from error
    except Exception as error:
        raise ConformanceError(
            f"backward {when} raised {type(error).__name__}: {error}; expected an OrderError, as "
            "reading self.saved raises it"
        ) from error
    else:
        raise ConformanceError(f"backward {when} is expected to raise, and returned")


# -- saving and copying ----------------------------------------------------------------------------


def state_dict(s: Subject) -> str:
    """A state goes from one layer into another, which then gives the same output."""
    first, second = s.make(), s.make()
    state = first.state_dict()
    if list(state) != [name for name, _, _ in first.named_param()]:
        raise ConformanceError(f"state_dict() has the keys {list(state)}, not the parameters'")
    second.load_state_dict({name: value.clone() for name, value in state.items()})
    example = s.examples[0]
    what = "output after load_state_dict"
    assert_same_bits(second.forward(*example), first.forward(*example), what)
    if state:
        try:
            second.load_state_dict({})
        except ScratchnetError:
            pass
        else:
            raise ConformanceError("load_state_dict({}) is expected to raise, and returned")
    return ""


def copies(s: Subject) -> str:
    """deepcopy and pickle give an equal layer that is independent of the first."""
    makers: dict[str, Callable[[Module], Module]] = {"deepcopy": copy.deepcopy}
    if "<locals>" not in type(s.make()).__qualname__:
        makers["pickle"] = lambda layer: pickle.loads(pickle.dumps(layer))
    example = s.examples[0]
    for how, make in makers.items():
        layer = s.make()
        s.step(layer, example)
        twin = make(layer)
        if twin is layer:
            raise ConformanceError(f"{how} returned the layer itself")
        y = layer.forward(*example)
        assert_same_bits(twin.forward(*example), y, f"output of the {how}")
        for (name, value, grad), (_, other, other_grad) in zip(
            layer.named_param(), twin.named_param(), strict=True
        ):
            if _shared(value, other) or _shared(grad, other_grad):
                raise ConformanceError(f"the {how} shares the memory of {name} with its original")
        twin.backward(torch.ones_like(y))
    return ""


def config(s: Subject) -> str:
    """type(layer)(**layer.config()) is a layer of the same kind."""
    layer = s.make()
    arguments = layer.config()
    try:
        again = type(layer)(**arguments)
    except TypeError as error:
        raise ConformanceError(
            f"config() returned {arguments}, which the constructor does not take: {error}"
        ) from error
    if again.config().keys() != arguments.keys() or repr(again) != repr(layer):
        raise ConformanceError(f"{layer!r} became {again!r} through its config()")
    again.to(dtype=s.examples[0][0].dtype)
    for (name, value, _), (_, other, _) in zip(
        layer.named_param(), again.named_param(), strict=True
    ):
        if value.shape != other.shape:
            raise ConformanceError(
                f"{name} has the shape {tuple(value.shape)}, and {tuple(other.shape)} in a layer "
                "made from config(): an argument is missing there"
            )
        other.copy_(value)
    for example in s.examples:
        y = layer.forward(*example)
        what = "output of a layer made from config() (expected: the layer's)"
        assert_same_bits(again.forward(*example), y, what)
    return ""


def representation(s: Subject) -> str:
    """repr shows the configuration and evaluates back."""
    layer = s.make()
    name, text = type(layer).__name__, repr(layer)
    if not text.startswith(f"{name}("):
        raise ConformanceError(f"repr is expected to start with {name}(, got {text!r}")
    try:
        again = eval(text, {}, _Names({name: type(layer)}))
    except Exception as error:
        raise ConformanceError(f"{text!r} does not evaluate: {error}") from error
    if repr(again) != text:
        raise ConformanceError(f"{text!r} evaluates to {again!r}")
    return ""


class _Names(dict[str, Any]):
    """scratchnet's public names, for eval."""

    def __missing__(self, name: str) -> Any:
        if name in scratchnet.__all__:
            return getattr(scratchnet, name)
        raise KeyError(name)


# -- errors ----------------------------------------------------------------------------------------


def wrong_inputs(s: Subject) -> str:
    """What is not a floating-point tensor is refused in one line that names the layer."""
    layer = s.make()
    rest = s.examples[0][1:]
    first = s.examples[0][0]
    for what, wrong in (
        ("a list", first.flatten()[:3].tolist()),
        ("None", None),
        ("an int64 tensor", first.round().long()),
    ):
        try:
            layer.forward(wrong, *rest)  # type: ignore[arg-type]
        except (ScratchnetError, TypeError, ValueError) as error:
            if "\n" in str(error) or not str(error):
                raise ConformanceError(f"{what}: expected one line, got {str(error)!r}") from error
        except Exception as error:
            raise ConformanceError(
                f"{what} raised {type(error).__name__}: {error}; expected a TypeMismatch, as "
                "scratchnet.layers.checks.check_tensor raises it"
            ) from error
        else:
            raise ConformanceError(
                f"{what} was accepted; expected a TypeMismatch, as "
                "scratchnet.layers.checks.check_tensor raises it"
            )
    return ""


def wrong_gradient(s: Subject) -> str:
    """A gradient of another shape than the output's is refused, and adds nothing."""
    for example in s.examples:
        layer = s.make()
        y = layer.forward(*example)
        if y.dim() == 0:
            continue
        wrong = torch.ones(*y.shape[:-1], y.shape[-1] + 1, dtype=y.dtype)
        try:
            layer.backward(wrong)
        except Exception as error:
            if not str(error):
                raise ConformanceError("a gradient of another shape: the error is empty") from error
        else:
            raise ConformanceError(
                f"a gradient of the shape {tuple(wrong.shape)} was accepted for an output of "
                f"{tuple(y.shape)}; scratchnet.layers.checks.check_grad refuses it"
            )
        for name, _, grad in layer.named_param():
            if bool((grad != 0).any()):
                raise ConformanceError(f"the refused gradient changed the gradient of {name}")
    return ""


def _gradients(layer: Module) -> dict[str, Tensor]:
    return {name: grad.clone() for name, _, grad in layer.named_param()}
