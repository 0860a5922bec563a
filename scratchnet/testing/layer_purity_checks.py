"""Checks of what a layer must leave alone: inputs, memory of others, autograd, torch's state."""

from __future__ import annotations

import torch

from scratchnet.testing.closeness import ConformanceError, assert_same_bits
from scratchnet.testing.subject import Subject
from scratchnet.testing.tensors import shares_memory


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
                    if any(shares_memory(result, tensor) for tensor in tensors):
                        raise ConformanceError(
                            f"{what} shares memory with {owner}: writing to one changes the other"
                        )
    return ""


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
            if _recorded(value) or _recorded(buffer):
                raise ConformanceError(f"{name} or its gradient requires a gradient")
    return ""


def _recorded(tensor: torch.Tensor) -> bool:
    """Whether autograd follows it; ``requires_grad`` of a Parameter says something else."""
    return bool(getattr(torch.Tensor, "requires_grad").__get__(tensor))  # noqa: B009


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
