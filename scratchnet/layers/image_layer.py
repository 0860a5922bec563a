"""ImageLayer: the base class of layers that map images to images."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.layers.checks import check_grad, check_images, check_tensor
from scratchnet.layers.module import Module


class ImageLayer(Module):
    """A layer on (N, C, H, W), or on one image (C, H, W), computed by operations.

    Subclasses write ``forward_images`` and ``backward_images`` for checked tensors with a batch
    axis.

    Attributes:
        axes: those of an image; other than H and W for sequences and volumes.
        in_channels: C, or None where any number will do.
        backend: name or object of the backend for this layer; None for what is selected when
            forward runs.
    """

    axes: ClassVar[str] = "H, W"
    in_channels: int | None = None
    backend: str | Backend | None = None

    @property
    def _rank(self) -> int:
        """Axes of one image, the channels among them."""
        return self.axes.count(",") + 2

    def forward_images(self, x: Tensor) -> Tensor:
        """Return the output for ``x`` (N, C, H, W); what else forward was given comes behind it."""
        raise NotImplementedError

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """Return the gradient with respect to the input, for ``grad_y`` of the output's shape."""
        raise NotImplementedError

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Check the input and return the layer's output for it.

        Raises:
            ShapeError: wrong rank or channels, or images smaller than the kernel.
            TypeMismatch: not a tensor of the parameters' dtype and device.
            BackendError: the selected backend does not support this call.
        """
        x, *rest = inputs
        weight = getattr(self, "weight", None)
        dtype, device = (None, None) if weight is None else (weight.dtype, weight.device)
        x = check_tensor(self, x, dtype=dtype, device=device)
        if x.dim() == self._rank:
            return self.forward(x.unsqueeze(0), *rest, **options).squeeze(0)
        check_images(self, x, channels=self.in_channels, axes=self.axes)
        y = self.forward_images(x, *rest, **options)
        if self.keeps:
            self.record.output = y.shape, y.dtype
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """Check the gradient, add the parameters' gradients, return the input's.

        Raises:
            ShapeError: the gradient has another shape than the last output.
            TypeMismatch: it is not a tensor of the output's dtype.
            OrderError: there was no forward in training mode before.
        """
        (grad_y,) = grad_outputs
        if isinstance(grad_y, Tensor) and grad_y.dim() == self._rank:
            return self.backward(grad_y.unsqueeze(0)).squeeze(0)
        return self.backward_images(check_grad(self, grad_y, *self.record.output))
