"""What scratchnet is timed against: the same step, inference or convolution by torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet.compare.algebra import with_better_algebra
from scratchnet.errors import ScratchnetError
from scratchnet.interop import to_torch
from scratchnet.layers.containers import Sequential
from scratchnet.layers.module import Module
from scratchnet.testing.twins import torch_twin

RECOMPILATIONS = 64
"""More than a benchmark compiles; beyond torch's own limit of 8 steps would run uncompiled."""


def network(
    model: Sequential, *, channels_last: bool, better_algebra: bool = False, compiled: bool = False
) -> nn.Module:
    """Return torch.nn's counterpart of ``model``, with copies of its weights.

    Args:
        model: built of layers that torch.nn has.
        channels_last: keep the weights in this memory format.
        better_algebra: upsampling rewritten as in scratchnet's kernels.
        compiled: by torch.compile, with its defaults.
    """
    net = with_better_algebra(model) if better_algebra else to_torch(model)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return torch.compile(net) if compiled else net  # type: ignore[return-value]


class TorchStep:
    """A training step by torch.nn, autograd and torch.optim, as torch's tutorials write it.

    Args:
        net: as ``network`` returns it.
        x: images (N, 3, H, W).
        y: what the network should make of them.
        lr: learning rate of plain SGD.
        channels_last: the memory format of the images.
    """

    def __init__(
        self, net: nn.Module, x: Tensor, y: Tensor, *, lr: float, channels_last: bool
    ) -> None:
        self.net, self.mse = net.train(), nn.MSELoss()
        self.x, self.y = (laid_out(t, channels_last) for t in (x, y))
        self.optimizer = torch.optim.SGD(net.parameters(), lr=lr)
        self.loss = x.new_zeros(())

    def run(self) -> None:
        """Forward, loss, backward of all parameters, update."""
        self.optimizer.zero_grad()
        loss = self.mse(self.net(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def gradients(self) -> list[Tensor]:
        """Return the parameters' gradients of the last step, in order."""
        return [p.grad for p in self.net.parameters() if p.grad is not None]


class CompiledStep(TorchStep):
    """As ``TorchStep``, compiled by torch.compile when it first runs, which takes a minute.

    Raises:
        ScratchnetError: it cannot be compiled here.
    """

    def __init__(
        self, net: nn.Module, x: Tensor, y: Tensor, *, lr: float, channels_last: bool
    ) -> None:
        super().__init__(net, x, y, lr=lr, channels_last=channels_last)
        before = [p.detach().clone() for p in net.parameters()]
        try:
            with torch._dynamo.config.patch(
                recompile_limit=RECOMPILATIONS, fail_on_recompile_limit_hit=True
            ):
                self.run()
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ScratchnetError(f"torch.compile failed: {reason}") from error
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), before, strict=True):
                parameter.copy_(value)


class TorchInference:
    """A network's forward without gradients.

    Args:
        net: as ``network`` returns it.
        x: its input.
    """

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        self.net, self.x = net.eval(), x

    def run(self) -> None:
        """Forward."""
        self._forward()

    def outcome(self) -> Mapping[str, Tensor]:
        """Return the output."""
        return {"output": self._forward()}

    def _forward(self) -> Tensor:
        with torch.no_grad():
            y: Tensor = self.net(self.x)
        return y


class TorchConvolution:
    """One convolution, forward and backward, by the operators that autograd itself calls.

    Args:
        x, weight, bias, grad_y: input, parameters, and the gradient of the output.
        geometry: stride, padding, dilation and groups, as in a backend's convolution.
        channels_last: the memory format of x, weight and grad_y.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        grad_y: Tensor,
        geometry: Mapping[str, Any],
        *,
        channels_last: bool,
    ) -> None:
        self.x, self.weight, self.grad_y = (laid_out(t, channels_last) for t in (x, weight, grad_y))
        self.bias = bias
        stride, padding, dilation = (geometry[k] for k in ("stride", "padding", "dilation"))
        self.where = (stride, padding, dilation, False, (0, 0), geometry["groups"])

    def run(self) -> None:
        """Forward and backward of all three."""
        self._forward()
        self._backward()

    def outcome(self) -> Mapping[str, Tensor]:
        """Return output and gradients."""
        names = ("grad_x", "grad_weight", "grad_bias")
        return {"y": self._forward(), **dict(zip(names, self._backward(), strict=True))}

    def _forward(self) -> Tensor:
        y: Tensor = torch.ops.aten.convolution(self.x, self.weight, self.bias, *self.where)
        return y

    def _backward(self) -> tuple[Tensor, ...]:
        grads: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            self.grad_y, self.x, self.weight, [len(self.bias)], *self.where, (True, True, True)
        )
        return grads


class TorchLayer:
    """torch.nn's counterpart of one layer, forward and backward by autograd.

    Args:
        net: with parameters of the layer's values.
        names: of the layer's parameters, in order.
        x: input.
        grad_y: gradient of the output.
    """

    def __init__(self, net: nn.Module, names: Sequence[str], x: Tensor, grad_y: Tensor) -> None:
        self.net, self.names, self.grad_y = net.train(), names, grad_y
        self.x = x.detach().clone().requires_grad_()
        self.y = grad_y

    def run(self) -> None:
        """Forward and backward; gradients of parameters add up, as the layer's do."""
        self.x.grad = None
        self.y = self.net(self.x)
        self.y.backward(self.grad_y)  # type: ignore[no-untyped-call]

    def outcome(self) -> Mapping[str, Tensor]:
        """Return output and gradients."""
        self.net.zero_grad()
        self.run()
        parameters = zip(self.names, self.net.parameters(), strict=True)
        grads = {"the input": self.x.grad, **{name: p.grad for name, p in parameters}}
        named = {f"gradient of {k}": g.clone() for k, g in grads.items() if g is not None}
        return {"output": self.y.detach(), **named}


def has_twin(layer: Module) -> bool:
    """Whether torch.nn has a counterpart of the layer."""
    return torch_twin(layer) is not None


def layer(
    layer: Module, x: Tensor, grad_y: Tensor, *, channels_last: bool, backward: bool
) -> TorchLayer | TorchInference:
    """Return torch.nn's counterpart of a layer that has one, with copies of its parameters.

    Args:
        layer: of scratchnet's.
        x: input.
        grad_y: gradient of the output.
        channels_last: memory format of all.
        backward: with autograd, or the forward alone in eval mode.
    """
    net = torch_twin(layer)
    assert net is not None, "ask has_twin first"
    if x.dim() == 4:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        net = net.to(memory_format=layout)  # type: ignore[call-overload]
        x, grad_y = x.contiguous(memory_format=layout), grad_y.contiguous(memory_format=layout)
    names = [name for name, _, _ in layer.named_param()]
    return TorchLayer(net, names, x, grad_y) if backward else TorchInference(net, x)


def laid_out(tensor: Tensor, channels_last: bool) -> Tensor:
    """Return a 4-D tensor in channels_last memory format, or in the default one."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=layout)
