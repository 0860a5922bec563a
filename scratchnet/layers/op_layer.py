"""OpLayer: the base class of layers that are one operation on their inputs and parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.layers.checks import check_grad
from scratchnet.layers.module import Module
from scratchnet.ops.op import Op


class OpLayer(Module):
    """A layer that is one operation: its tensors are the inputs and then the parameters, in the
    order of ``add_parameter``.

    Attributes:
        op: the operation; it has one output.
        backend: name or object of the backend for this layer; None for what is selected when
            forward runs.
    """

    op: Op
    backend: str | Backend | None = None

    def run(self, *inputs: Tensor, **options: Any) -> Tensor:
        """Return the output for checked inputs, and keep what backward needs."""
        parameters = [getattr(self, name) for name in self._parameters]
        y, back = dispatch.run(self.op, *inputs, *parameters, backend=self.backend, **options)
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Any:
        """The formulas stand beside the operation, in scratchnet/ops."""
        grads = self._back(grad_outputs[0], inputs_too=True)
        return grads[0] if len(grads) == 1 else grads

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """As backward, without the gradients of the inputs."""
        self._back(grad_outputs[0], inputs_too=False)

    def _back(self, grad_y: Tensor, *, inputs_too: bool) -> tuple[Tensor | None, ...]:
        (back,) = self.saved
        grad_y = check_grad(self, grad_y, *back.output)
        buffers = [getattr(self, f"grad_{name}") for name in self._parameters]
        inputs = self.op.tensors[: len(self.op.tensors) - len(buffers)]
        needs = (
            *(inputs_too and name not in self.op.integers for name in inputs),
            *(buffer is not None for buffer in buffers),
        )
        into = (*(None for _ in inputs), *buffers)
        grads: tuple[Tensor | None, ...] = back.add_to(into, grad_y, needs=needs)
        return grads[: len(inputs)]
