"""ImageLayer: the base class of layers that map images to images."""

from __future__ import annotations

from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.layers.checks import check_grad, check_images, check_tensor
from scratchnet.layers.module import Module


class ImageLayer(Module):
    """A layer on (N, C, H, W), or on one image (C, H, W), computed by operations.

    Subclasses write ``forward_images`` and ``backward_images`` for checked 4-D tensors.

    Attributes:
        in_channels: C, or None where any number will do.
        backend: name or object of the backend for this layer; None for what is selected when
            forward runs.
    """

    in_channels: int | None = None
    backend: str | Backend | None = None

    def forward_images(self, x: Tensor) -> Tensor:
        """Return the output for ``x`` (N, C, H, W)."""
        raise NotImplementedError

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """Return the gradient with respect to the input, for ``grad_y`` of the output's shape."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        """Check the input and return the layer's output for it.

        Raises:
            ShapeError: wrong rank or channels, or images smaller than the kernel.
            TypeMismatch: not a tensor of the parameters' dtype and device.
            BackendError: the selected backend does not support this call.
        """
        (x,) = inputs
        weight = getattr(self, "weight", None)
        dtype, device = (None, None) if weight is None else (weight.dtype, weight.device)
        x = check_tensor(self, x, dtype=dtype, device=device)
        if x.dim() == 3:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        check_images(self, x, channels=self.in_channels)
        y = self.forward_images(x)
        if self.training:
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
        if isinstance(grad_y, Tensor) and grad_y.dim() == 3:
            return self.backward(grad_y.unsqueeze(0)).squeeze(0)
        return self.backward_images(check_grad(self, grad_y, *self.record.output))
