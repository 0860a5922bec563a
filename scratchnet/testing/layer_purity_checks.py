"""Checks of what a layer must leave alone: inputs, memory of others, autograd, torch's state."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scratchnet.testing.closeness import ConformanceError, assert_same_bits
from scratchnet.testing.settings import STATES, current_settings, torch_settings
from scratchnet.testing.subject import Subject, cotangents, dtype_of
from scratchnet.testing.tensors import shares_memory


def inputs_untouched(s: Subject) -> str:
    """forward writes to no input, backward to no gradient given to it, neither to parameters."""
    for example in s.examples:
        layer = s.make()
        kept = [x.clone() for x in example]
        values = {name: value.clone() for name, value, _ in layer.named_param()}
        grad_outputs = cotangents(s.forward(layer, example), 3)
        kept_grads = [g.clone() for g in grad_outputs]
        for i, (x, same) in enumerate(zip(example, kept, strict=True)):
            assert_same_bits(x, same, f"forward wrote to input {i}")
        s.backward(layer, grad_outputs)
        for grad, same in zip(grad_outputs, kept_grads, strict=True):
            assert_same_bits(grad, same, "backward wrote to the gradient it was given")
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
            ("the output", step.outputs, {"the input": list(example), **own}),
            (
                "the input's gradient",
                [grad for grad in step.grads if grad is not None],
                {"the gradient it was given": list(step.grad_outputs), **own},
            ),
        ):
            for result in results:
                for owner, tensors in others.items():
                    if any(shares_memory(result, tensor) for tensor in tensors):
                        raise ConformanceError(
                            f"{what} shares memory with {owner}: writing to one changes the other"
                        )
    return ""


def no_graph(s: Subject) -> str:
    """Nothing that comes out belongs to an autograd graph, even if the inputs do."""
    for example in s.examples:
        layer = s.make()
        recorded = tuple(
            x.clone().requires_grad_() * 1 if x.is_floating_point() else x for x in example
        )
        outputs = s.forward(layer, recorded)
        if any(y.requires_grad for y in outputs):
            raise ConformanceError(
                "the output has a grad_fn: the layer computes on an input that requires a "
                "gradient; check_tensor() detaches it"
            )
        ones = tuple(torch.ones_like(y).requires_grad_() * 1 for y in outputs)
        for grad in s.backward(layer, ones):
            if grad is not None and grad.requires_grad:
                raise ConformanceError(
                    "the input's gradient has a grad_fn: check_grad() detaches what is given"
                )
        for name, value, buffer in layer.named_param():
            if _recorded(value) or _recorded(buffer):
                raise ConformanceError(f"{name} or its gradient requires a gradient")
    return ""


def _recorded(tensor: torch.Tensor) -> bool:
    """Whether autograd follows it; ``requires_grad`` of a Parameter says something else."""
    return bool(getattr(torch.Tensor, "requires_grad").__get__(tensor))  # noqa: B009


def global_state(s: Subject) -> str:
    """torch's settings, and its random numbers unless the layer is stochastic, are left alone: when
    the layer is made, by forward and by backward.
    """
    example, dtype, stochastic = s.examples[0], dtype_of(s.make()), s.has("stochastic")
    for settings in STATES:
        with torch_settings(settings), torch.random.fork_rng(devices=[]):
            before = current_settings()
            layer = s.make(dtype)
            _assert_untouched(before, "making the layer changes")
            torch.manual_seed(8191)  # a state that no layer will happen to set
            random = torch.get_rng_state()
            outputs = s.forward(layer, example)
            _assert_untouched(before, "forward changes")
            s.backward(layer, cotangents(outputs, 17))
            _assert_untouched(before, "backward changes")
            if not stochastic and not torch.equal(torch.get_rng_state(), random):
                raise ConformanceError(
                    "forward or backward seeds torch's global generator or draws from it: a layer "
                    "that draws in forward says stochastic = True"
                )
    return ""


def _assert_untouched(before: Mapping[str, object], what: str) -> None:
    for name, value in current_settings().items():
        if before[name] != value:
            raise ConformanceError(
                f"{what} torch's {name} from {before[name]} to {value}, for everyone: set it back, "
                "or compute without it"
            )
