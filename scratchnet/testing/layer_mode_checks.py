"""Checks of when a layer may go back: after a forward, in training mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError, assert_same_bits
from scratchnet.testing.subject import Subject


def backward_before_forward(s: Subject) -> str:
    """backward without a forward is one clear error."""
    zeros = [torch.zeros_like(y) for y in s.forward(s.make(), s.examples[0])]
    _assert_order_error(lambda: s.make().backward(*zeros), "before forward")
    return ""


def eval_mode(s: Subject) -> str:
    """eval() gives the same output (unless eval_differs: then only one output, whatever the noise),
    keeps nothing and changes no buffer; train() brings backward back.
    """
    for example in s.examples:
        layer = s.make()
        outputs = s.forward(layer, example)
        zeros = [torch.zeros_like(y) for y in outputs]
        if layer.eval() is not layer or _in_training(layer):
            raise ConformanceError("eval() is expected to return the layer, with training False")
        held = _tensors_held(layer)
        copies = tuple(x.clone() for x in example)
        before = [(name, b, b.clone()) for name, b in layer.named_buffers()]
        evaluated = s.forward(layer, copies, noise=1)
        for (name, old, value), (_, now) in zip(before, layer.named_buffers(), strict=True):
            if now is not old or not torch.equal(now, value):
                raise ConformanceError(
                    f"buffer {name} changed in eval mode: change it only if self.training"
                )
        hint = "output in eval mode (it may differ if eval_differs = True)"
        if s.has("eval_differs"):
            outputs, hint = s.forward(layer, copies, noise=2), "a second output in eval mode"
        for actual, expected in zip(evaluated, outputs, strict=True):
            assert_same_bits(actual, expected, hint)
        new = _tensors_held(layer).keys() - held.keys()
        if new:
            names = ", ".join(sorted({_tensors_held(layer)[i] for i in new}))
            raise ConformanceError(
                f"forward in eval mode keeps a tensor in {names}: use save(), which does not"
            )
        _assert_order_error(partial(layer.backward, *zeros), "in eval mode")
        if layer.train() is not layer or not _in_training(layer):
            raise ConformanceError("train() is expected to return the layer, with training True")
        s.forward(layer, example)
        layer.backward(*zeros)
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
