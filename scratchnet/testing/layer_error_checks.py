"""Checks of what a layer refuses."""

from __future__ import annotations

import torch

from scratchnet.errors import ScratchnetError
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.subject import Subject


def wrong_inputs(s: Subject) -> str:
    """What is no tensor, or one of the wrong kind, is refused in one line that names the layer."""
    layer = s.make()
    rest = s.examples[0][1:]
    first = s.examples[0][0]
    for what, wrong in (
        ("a list", first.flatten()[:3].tolist()),
        ("None", None),
        (
            ("an int64 tensor", first.round().long())
            if first.is_floating_point()
            else ("a float32 tensor", first.float())
        ),
    ):
        try:
            layer.forward(wrong, *rest)
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
        y, *others = s.forward(layer, example)
        if y.dim() == 0:
            continue
        wrong = torch.ones(*y.shape[:-1], y.shape[-1] + 1, dtype=y.dtype)
        try:
            layer.backward(wrong, *(torch.ones_like(other) for other in others))
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
