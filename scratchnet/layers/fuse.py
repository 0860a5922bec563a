"""Neighbouring layers of a Sequential run as one, where the selected backend can do that.

A layer that can take part describes itself as data (:meth:`Module.link`). A :class:`Run` is the
longest stretch of such layers, starting with a convolution; whatever a backend cannot run as one
is run layer by layer, with the same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeGuard

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Activation, Chain, Link
from scratchnet.layers.checks import check_grad, output_size
from scratchnet.layers.conv import Convolution
from scratchnet.layers.module import Module


def runs(modules: Sequence[Module]) -> list[Module]:
    """Return the modules, each stretch of two or more that can run as one replaced by a Run."""
    parts: list[Module] = []
    layers: list[Module] = []
    links: list[Link] = []

    def end_run() -> None:
        parts.extend([Run(layers, links)] if len(layers) > 1 else layers)
        layers.clear()
        links.clear()

    for module in modules:
        link = module.link() if module.is_as_written() else None
        if isinstance(link, Link):
            if layers and not _alike(layers[0], module):
                end_run()
            links.append(link)
        elif link is not None and links and links[-1].activation == "none":
            links[-1] = _activated(links[-1], link)
        else:
            end_run()
            parts.append(module)
            continue
        layers.append(module)
    end_run()
    return parts


@lru_cache(maxsize=256)
def _activated(link: Link, activation: Activation) -> Link:
    return replace(link, activation=activation)


@lru_cache(maxsize=256)
def _check_sizes(layers: tuple[str, ...], links: tuple[Link, ...], size: tuple[int, int]) -> None:
    """Raise a ShapeError that names the layer whose input would be smaller than its kernel."""
    for layer, link in zip(layers, links, strict=True):
        if link.scale is not None:
            size = (size[0] * link.scale[0], size[1] * link.scale[1])
        size = output_size(
            layer,
            size,
            kernel_size=link.kernel_size,
            stride=link.stride,
            padding=link.padding,
            dilation=link.dilation,
        )


def _alike(first: Module, other: Module) -> bool:
    """Whether both ask for the same backend and mode, and hold the same kind of numbers."""
    assert isinstance(first, Convolution)
    assert isinstance(other, Convolution)
    return (
        first.backend is other.backend
        and first.training == other.training
        and first.weight.dtype == other.weight.dtype
        and first.weight.device == other.weight.device
    )


class Run(Module):
    """Layers that a backend may run as one.

    Args:
        layers: convolutions, each followed by an activation or not.
        links: one for each convolution.
    """

    def __init__(self, layers: Sequence[Module], links: Sequence[Link]) -> None:
        self.layers, self.links = tuple(layers), tuple(links)
        self.convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
        self.training = layers[0].training
        self._chained = False
        self._one_image = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the layers, one after the other, make of the input; errors are theirs."""
        (x,) = inputs
        chain = None
        if self._fits(x):
            self._one_image = x.dim() == 3
            x = x.detach().unsqueeze(0) if self._one_image else x.detach()
            chain = self._chain(x)
        self._chained = chain is not None
        if chain is None:
            if self._one_image:
                x = x.squeeze(0)
            for layer in self.layers:
                x = layer.forward(x)
            return x
        weights = [layer.weight for layer in self.convolutions]
        biases = [layer.bias for layer in self.convolutions]
        for layer in self.layers:
            layer._forget()  # theirs would be of an earlier input
        y, kept = chain.forward(x, weights, biases, keep=self.training)
        self.save(chain, x, y, kept)
        return y.squeeze(0) if self._one_image else y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """The chain rule through the layers, from the last one to the first."""
        grad_x = self._backward(*grad_outputs, needs_grad_x=True)
        assert grad_x is not None
        return grad_x

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """As backward, without the gradient with respect to the input."""
        self._backward(*grad_outputs, needs_grad_x=False)

    def _backward(self, grad: Tensor, *, needs_grad_x: bool) -> Tensor | None:
        if not self._chained:
            for layer in reversed(self.layers):
                grad = layer.backward(grad)
            return grad
        chain, x, y, kept = self.saved
        if self._one_image:
            grad = grad.unsqueeze(0)
        grad_x: Tensor | None = chain.backward(
            check_grad(self.layers[-1], grad, y.shape, y.dtype),
            x,
            y,
            kept,
            [layer.weight for layer in self.convolutions],
            [layer.grad_weight for layer in self.convolutions],
            [layer.grad_bias for layer in self.convolutions],
            needs_grad_x=needs_grad_x,
        )
        return grad_x.squeeze(0) if grad_x is not None and self._one_image else grad_x

    def _fits(self, x: object) -> TypeGuard[Tensor]:
        """Whether the first layer will accept x; if not, the error is left to that layer."""
        first = self.convolutions[0]
        return (
            isinstance(x, Tensor)
            and x.dim() in (3, 4)
            and x.shape[-3] == first.in_channels
            and x.dtype == first.weight.dtype
            and x.device == first.weight.device
        )

    def _chain(self, x: Tensor) -> Chain | None:
        """Return what runs all layers on ``x``; None if they have to run one by one.

        Raises:
            ShapeError: a layer's input would be smaller than its kernel.
        """
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        for layer in self.convolutions:
            parameters.append(layer.weight)
            gradients.append(layer.grad_weight)
            if layer.bias is not None and layer.grad_bias is not None:
                parameters.append(layer.bias)
                gradients.append(layer.grad_bias)
        channels = x.shape[1]
        for link in self.links:
            if link.in_channels != channels:
                return None
            channels = link.out_channels
        if not all(tensor.is_contiguous() for tensor in (*parameters, *gradients)):
            return None
        first = self.convolutions[0]
        backend = dispatch.resolve("chain", x, self.links, *parameters, backend=first.backend)
        chain = backend.chain(x, self.links)
        if chain is not None:
            names = tuple(type(layer).__name__ for layer in self.convolutions)
            _check_sizes(names, self.links, (x.shape[2], x.shape[3]))
        return chain
