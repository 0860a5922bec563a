"""Checks of a layer's parameters: the buffers of their gradients, and that those add up."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.layers.module import API_VERSION, Module
from scratchnet.layers.parameter import Parameter
from scratchnet.testing.closeness import (
    ConformanceError,
    assert_close,
    assert_same_bits,
    rounding,
)
from scratchnet.testing.subject import Subject, dtype_of


def contract(s: Subject) -> str:
    """forward and backward return tensors of the shapes and dtypes that Module promises."""
    for example in s.examples:
        layer = s.make()
        if layer.api_version != API_VERSION:
            raise ConformanceError(f"api_version is {layer.api_version}, expected {API_VERSION}")
        step = s.step(layer, example)
        floating = (x.dtype for x in example if x.is_floating_point())
        dtype = next(floating, None) or dtype_of(layer)
        for y in step.outputs:
            if dtype is not None and y.dtype != dtype:
                raise ConformanceError(f"the output of {dtype} inputs is {y.dtype}")
        for i, (x, grad) in enumerate(zip(example, step.grads, strict=False)):
            if not x.is_floating_point():
                if grad is not None:
                    raise ConformanceError(
                        f"backward is expected to return None as the gradient of input {i}, which "
                        f"is of {x.dtype}: integers have no derivative; got {grad.dtype}"
                    )
            elif grad is None:
                raise ConformanceError(f"backward returned None as the gradient of input {i}")
            elif grad.shape != x.shape or grad.dtype != x.dtype:
                raise ConformanceError(
                    f"backward is expected to return a gradient like input {i}, "
                    f"{tuple(x.shape)} {x.dtype}; got {tuple(grad.shape)} {grad.dtype}"
                )
    return ""


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
        if not isinstance(value, Parameter):
            raise ConformanceError(f"{name} is a plain tensor: create it with add_parameter()")
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
        if value.grad is not grad:
            raise ConformanceError(
                f"{name}.grad is not the buffer grad_{name}: add_parameter() makes both; replace "
                "neither"
            )
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
        s.forward(layer, example)
        s.backward(layer, step.grad_outputs)
        s.backward(layer, step.grad_outputs)
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


def _gradients(layer: Module) -> dict[str, Tensor]:
    return {name: grad.clone() for name, _, grad in layer.named_param()}


def parameters_alone(s: Subject) -> str:
    """backward_parameters adds what backward adds."""
    for example in s.examples:
        layer = s.make()
        step = s.step(layer, example)
        alone = s.like(layer)
        s.forward(alone, example)
        alone.backward_parameters(*step.grad_outputs)
        for (name, _, grad), (_, _, expected) in zip(
            alone.named_param(), layer.named_param(), strict=True
        ):
            what = f"gradient of {name} by backward_parameters (expected: backward's)"
            assert_close(grad, expected, what, rtol=rounding(expected.dtype))
    return ""


def frozen(s: Subject) -> str:
    """Frozen parameters are not in param(), and neither a pass nor an optimizer moves them; thawed
    they are there again.
    """
    layer = s.make()
    pairs = layer.param()
    before = [(name, value, value.clone()) for name, value in layer.named_parameters()]
    layer.requires_grad_(False)
    for name, _, _ in layer.named_param():
        raise ConformanceError(
            f"param() lists {name}, which is frozen: an optimizer would move it; leave "
            "named_param() as Module has it"
        )
    s.step(layer, s.examples[0])
    if before:
        torch.optim.SGD(layer.parameters(), 0.5, weight_decay=0.5).step()
    for name, value, old in before:
        assert_same_bits(value, old, f"{name}, which is frozen, after a step (expected: as before)")
    layer.requires_grad_()
    if [id(value) for value, _ in layer.param()] != [id(value) for value, _ in pairs]:
        raise ConformanceError("param() lists other parameters after freezing and thawing")
    return ""


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
