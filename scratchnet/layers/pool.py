"""Pooling layers: the largest value, the mean, or a p-norm of windows of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError
from scratchnet.layers import init
from scratchnet.layers.checks import sizes
from scratchnet.layers.image_layer import ImageLayer
from scratchnet.ops import pool
from scratchnet.ops.op import Op

Sizes = int | Sequence[int]
OutputSize = int | None | Sequence[int | None]


class Pooling(ImageLayer):
    """What the pooling layers share: an operation on images, of which signals (N, C, L) are those
    with one row.
    """

    op: ClassVar[Op]

    def options_for(self, x: Tensor) -> dict[str, Any]:
        """Return the options of the operation for images x."""
        raise NotImplementedError

    def places(self, x: Tensor) -> Tensor | None:
        """Return for each output where it comes from, if the layer was asked for that."""
        return None

    def _of_image(self, value: tuple[int, ...], of_row: int) -> tuple[int, int]:
        """Return a pair: (vertical, horizontal), where the only row of a signal has ``of_row``."""
        return (value[0], value[1]) if len(value) == 2 else (of_row, value[0])

    def forward(self, *inputs: Tensor) -> Any:
        """Return the pooled images; with ``return_indices`` also int64 indices of the same shape.

        Raises:
            ShapeError: wrong rank, or images smaller than the kernel.
            TypeMismatch: not a floating-point tensor.
            BackendError: the selected backend does not support this call.
        """
        (x,) = inputs
        if isinstance(x, Tensor) and x.dim() == self._rank:
            found = self.forward(x.unsqueeze(0))
            return tuple(y.squeeze(0) for y in found) if type(found) is tuple else found.squeeze(0)
        y = super().forward(x)
        places = self.places(x if x.dim() == 4 else x.unsqueeze(2))
        return y if places is None else (y, places.view(y.shape))

    def forward_images(self, x: Tensor) -> Tensor:
        """Apply the operation; see scratchnet.ops.pool."""
        image = x if x.dim() == 4 else x.unsqueeze(2)
        y, back = dispatch.run(self.op, image, backend=self.backend, **self.options_for(image))
        self.save(back)
        result: Tensor = y if x.dim() == 4 else y.squeeze(2)
        return result

    def backward(self, *grad_outputs: Tensor | None) -> Tensor:
        """The gradient of the image; what is given for indices, which have none, is not read."""
        grad_x: Tensor = super().backward(*grad_outputs[:1])  # type: ignore[arg-type]
        return grad_x

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """Each window gives its gradient back to where its value came from; see
        scratchnet.ops.pool.
        """
        (back,) = self.saved
        grad_x: Tensor = back(grad_y if grad_y.dim() == 4 else grad_y.unsqueeze(2))[0]
        return grad_x if grad_y.dim() == 4 else grad_x.squeeze(2)


class Sliding(Pooling):
    """What poolings with sliding windows share: kernel, stride, padding."""

    def _set(
        self, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool
    ) -> None:
        name, axes = type(self).__name__, self._rank - 1
        self.kernel_size = sizes(name, "kernel_size", kernel_size, axes, least=1)
        given = kernel_size if stride is None else stride
        self.stride = sizes(name, "stride", given, axes, least=1)
        self.padding = sizes(name, "padding", padding, axes, least=0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ArgumentError(
                f"{name} expects a padding of at most half the kernel, got {padding} for "
                f"{kernel_size}"
            )
        self.ceil_mode = ceil_mode

    def options_for(self, x: Tensor) -> dict[str, Any]:
        """Return the options of the operation for images x."""
        return {
            "kernel_size": self._of_image(self.kernel_size, 1),
            "stride": self._of_image(self.stride, 1),
            "padding": self._of_image(self.padding, 0),
            "ceil_mode": self.ceil_mode,
        }

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
        }

    def to_torch_config(self) -> dict[str, Any]:
        """Return the arguments of torch's module, which takes no rows of one in all places."""
        config = self.config()
        return {k: v[0] if type(v) is tuple and len(v) == 1 else v for k, v in config.items()}


class MaxPooling(Sliding):
    """What MaxPool1d and MaxPool2d share."""

    op = pool.max_pool2d

    @classmethod
    def example(cls) -> tuple[MaxPooling, Tensor]:
        """Return a small one, and an input for it."""
        return cls(3, 2, 1), init.example_images(cls.axes)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        self._set(kernel_size, stride, padding, ceil_mode)
        name, axes = type(self).__name__, self._rank - 1
        self.dilation = sizes(name, "dilation", dilation, axes, least=1)
        self.return_indices, self.backend = return_indices, backend

    def options_for(self, x: Tensor) -> dict[str, Any]:
        """Return the options of the operation for images x."""
        return {**super().options_for(x), "dilation": self._of_image(self.dilation, 1)}

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        more = {"dilation": self.dilation, "return_indices": self.return_indices}
        return {**super().config(), **more}

    def places(self, x: Tensor) -> Tensor | None:
        """Return for each output the number of its pixel, if ``return_indices``."""
        return pool.max_places(x, **self.options_for(x)) if self.return_indices else None


class MaxPool2d(MaxPooling):
    """The largest value of each window, as torch.nn.MaxPool2d; the first of equal ones.

    y[n,c,i,j] = max over u, v of x[n, c, i·stride − padding + u·dilation, j·…], where the padding
    is −∞. Input (N, C, H, W) or (C, H, W), any floating-point dtype; output with H_out = (H +
    2·padding − dilation·(kernel_size−1) − 1) // stride + 1. A value gets the gradients of all
    windows in which it is the largest.

    Args:
        kernel_size: an int, or a pair (vertical, horizontal), like stride, padding, dilation.
        stride: step between the windows; the kernel size if None.
        padding: what is added on every side, at most half the kernel size.
        dilation: step between the values of a window.
        return_indices: whether forward returns also where in its image each output comes from, as
            the number of the pixel, row by row; it is found in plain torch, in a second pass.
        ceil_mode: whether H_out is rounded up: a last window may reach beyond the padding.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: an argument is outside its range.
        ShapeError: an image smaller than the kernel.
    """

    torch_names = ("torch.nn.MaxPool2d",)


class MaxPool1d(MaxPooling):
    """The same for signals (N, C, L) or (C, L), as torch.nn.MaxPool1d; see :class:`MaxPool2d` for
    formula and arguments.
    """

    axes = "L"
    torch_names = ("torch.nn.MaxPool1d",)


class AvgPooling(Sliding):
    """What AvgPool1d and AvgPool2d share."""

    op = pool.avg_pool2d
    divisor_override: int | None = None

    @classmethod
    def example(cls) -> tuple[AvgPooling, Tensor]:
        """Return a small one, and an input for it."""
        return cls(3, 2, 1), init.example_images(cls.axes)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        self._set(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad, self.backend = count_include_pad, backend

    def options_for(self, x: Tensor) -> dict[str, Any]:
        """Return the options of the operation for images x."""
        return {
            **super().options_for(x),
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {**super().config(), "count_include_pad": self.count_include_pad}


class AvgPool2d(AvgPooling):
    """The mean of each window, as torch.nn.AvgPool2d.

    y[n,c,i,j] = Σ over u, v of x[n, c, i·stride − padding + u, j·stride − padding + v] ÷ count,
    where the padding is 0. Input (N, C, H, W) or (C, H, W), any floating-point dtype; output as of
    :class:`MaxPool2d` without dilation.

    Args:
        kernel_size: an int, or a pair (vertical, horizontal), like stride and padding.
        stride: step between the windows; the kernel size if None.
        padding: zeros added on every side, at most half the kernel size.
        ceil_mode: whether H_out is rounded up: a last window may reach beyond the padding.
        count_include_pad: whether the count has the padding in it; never what is beyond.
        divisor_override: divided by instead of the count; not 0.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: an argument is outside its range.
        ShapeError: an image smaller than the kernel.
    """

    torch_names = ("torch.nn.AvgPool2d",)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        super().__init__(
            kernel_size, stride, padding, ceil_mode, count_include_pad, backend=backend
        )
        if divisor_override == 0:
            raise ArgumentError("AvgPool2d expects a divisor_override that is not 0")
        self.divisor_override = divisor_override

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {**super().config(), "divisor_override": self.divisor_override}


class AvgPool1d(AvgPooling):
    """The same for signals (N, C, L) or (C, L), as torch.nn.AvgPool1d; see :class:`AvgPool2d` for
    formula and arguments (there is no divisor_override).
    """

    axes = "L"
    torch_names = ("torch.nn.AvgPool1d",)


class LPPooling(Sliding):
    """What LPPool1d and LPPool2d share: p-th powers, averaged and rooted."""

    op = pool.avg_pool2d

    @classmethod
    def example(cls) -> tuple[LPPooling, Tensor]:
        """Return a small one, and an input for it."""
        return cls(2, 3, 2), init.example_images(cls.axes)

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        if not norm_type > 0:
            raise ArgumentError(
                f"{type(self).__name__} expects a norm_type above 0, got {norm_type}"
            )
        self._set(kernel_size, stride, 0, ceil_mode)
        self.norm_type, self.backend = norm_type, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        config = {"norm_type": self.norm_type, **super().config()}
        del config["padding"]
        return config

    def forward_images(self, x: Tensor) -> Tensor:
        """y = (K · mean of the window's xᵖ)^(1/p), with the mean by avg_pool2d."""
        mean = super().forward_images(x.pow(self.norm_type))
        y = (mean * self._taps).pow(1 / self.norm_type)
        self.save(*(self.saved if self.training else ()), x, y)
        return y

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x = xᵖ⁻¹ · Σ over the windows of ∂L/∂y · y¹⁻ᵖ (times K/count in windows that reach
        beyond the image); 0 where y is 0, as in torch.
        """
        back, x, y = self.saved
        grad_mean = (grad_y * y.pow(1 - self.norm_type)).masked_fill(y == 0, 0) * self._taps
        of_image = grad_mean if x.dim() == 4 else grad_mean.unsqueeze(2)
        grad_x: Tensor = back(of_image)[0].view_as(x) * x.pow(self.norm_type - 1)
        return grad_x

    @property
    def _taps(self) -> int:
        down, across = self._of_image(self.kernel_size, 1)
        return down * across


class LPPool2d(LPPooling):
    """The p-norm of each window without the magnitude, as torch.nn.LPPool2d.

    y = (Σ over the window of xᵖ)^(1/p): nan where the sum is negative. In a window that reaches
    beyond the image (``ceil_mode``) the sum is that of its values times kernel size ÷ their number,
    as in torch. Input (N, C, H, W) or (C, H, W); output as of :class:`MaxPool2d` without padding
    and dilation. The gradient is 0 where y is 0.

    Args:
        norm_type: p, above 0.
        kernel_size: an int, or a pair (vertical, horizontal), like stride.
        stride: step between the windows; the kernel size if None.
        ceil_mode: whether H_out is rounded up.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: an argument is outside its range.
        ShapeError: an image smaller than the kernel.
    """

    torch_names = ("torch.nn.LPPool2d",)


class LPPool1d(LPPooling):
    """The same for signals (N, C, L) or (C, L), as torch.nn.LPPool1d; see :class:`LPPool2d` for
    formula and arguments.
    """

    axes = "L"
    torch_names = ("torch.nn.LPPool1d",)


class Adaptive(Pooling):
    """What the adaptive poolings share: the size of their output."""

    @classmethod
    def example(cls) -> tuple[Adaptive, Tensor]:
        """Return a small one, and an input for it."""
        return cls(3), init.example_images(cls.axes)

    def __init__(self, output_size: OutputSize, *, backend: str | Backend | None = None) -> None:
        name, axes = type(self).__name__, self._rank - 1
        row = isinstance(output_size, Sequence)
        given: Sequence[int | None] = output_size if row else (output_size,) * axes  # type: ignore[assignment]
        numbers = [1 if size is None else size for size in given]
        sizes(name, "output_size", numbers, axes, least=1)
        self.output_size, self.backend = tuple(given), backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"output_size": self.output_size}

    def options_for(self, x: Tensor) -> dict[str, Any]:
        """Return the options of the operation for images x."""
        own = self.output_size if len(self.output_size) == 2 else (1, *self.output_size)
        down, across = (
            n if size is None else size for n, size in zip(x.shape[2:], own, strict=True)
        )
        return {"output_size": (down, across)}


class AdaptiveAvgPool2d(Adaptive):
    """The mean of each of as many windows as asked for, as torch.nn.AdaptiveAvgPool2d.

    Window i of an axis of n holds ⌊i·n/out⌋ up to ⌈(i + 1)·n/out⌉ − 1. Input (N, C, H, W) or
    (C, H, W), any floating-point dtype; output with the height and width of output_size.

    Args:
        output_size: an int for both axes, or a pair; None for that of the input.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: output_size is not of whole numbers of at least 1.
    """

    op = pool.adaptive_avg_pool2d
    torch_names = ("torch.nn.AdaptiveAvgPool2d",)


class AdaptiveAvgPool1d(Adaptive):
    """The same for signals (N, C, L) or (C, L), as torch.nn.AdaptiveAvgPool1d; see
    :class:`AdaptiveAvgPool2d`.
    """

    axes = "L"
    op = pool.adaptive_avg_pool2d
    torch_names = ("torch.nn.AdaptiveAvgPool1d",)


class AdaptiveMaxPooling(Adaptive):
    """What AdaptiveMaxPool1d and AdaptiveMaxPool2d share."""

    op = pool.adaptive_max_pool2d

    def __init__(
        self,
        output_size: OutputSize,
        return_indices: bool = False,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        super().__init__(output_size, backend=backend)
        self.return_indices = return_indices

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {**super().config(), "return_indices": self.return_indices}

    def places(self, x: Tensor) -> Tensor | None:
        """Return for each output the number of its pixel, if ``return_indices``."""
        return pool.adaptive_max_places(x, **self.options_for(x)) if self.return_indices else None


class AdaptiveMaxPool2d(AdaptiveMaxPooling):
    """The largest value of each of as many windows as asked for, as torch.nn.AdaptiveMaxPool2d; the
    windows are those of :class:`AdaptiveAvgPool2d`.

    Args:
        output_size: an int for both axes, or a pair; None for that of the input.
        return_indices: as of :class:`MaxPool2d`.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: output_size is not of whole numbers of at least 1.
    """

    torch_names = ("torch.nn.AdaptiveMaxPool2d",)


class AdaptiveMaxPool1d(AdaptiveMaxPooling):
    """The same for signals (N, C, L) or (C, L), as torch.nn.AdaptiveMaxPool1d; see
    :class:`AdaptiveMaxPool2d`.
    """

    axes = "L"
    torch_names = ("torch.nn.AdaptiveMaxPool1d",)
