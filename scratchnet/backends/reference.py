"""The reference backend: pure torch, written to be read. It is the specification of every other
backend.

One alphabet: N batch, C in-channels, O out-channels, G groups, H W input size, Kh Kw kernel size, K
= C/G·Kh·Kw the length of one receptive field, L = H_out·W_out the number of places where the kernel
is applied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from scratchnet.backends.base import Backend, Grads, Needs, Pair


class ReferenceBackend(Backend):
    """Convolution by unfold and matrix product, upsampling by two matrix products; any device, any
    float.

    A convolution with fewer out- than in-channels is computed turned around (``_turned``), where it
    is possible: the same three formulas, with x and y in each other's places.
    """

    name = "reference"
    priority = 0

    def conv2d_forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Unfold x so that each receptive field is a column; then y = W · columns + b, a matrix
        product.
        """
        conv = (stride, padding, dilation, groups)
        turned = _turned(weight, *conv)
        if turned is None:
            y = _products(x, weight, *conv)
        else:
            size = _output_size(x, _sides(weight), stride, padding, dilation)
            y = _folded_products(x, turned.weight, size, *turned.conv)
        return y if bias is None else y.add_(bias.view(-1, 1, 1))

    def conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        needs: Needs = (True, True, True),
    ) -> Grads:
        """Chain rule on y = W · columns(x) + b.

        grad_x = fold(Wᵀ · grad_y), fold being the adjoint of unfold: it sums where receptive fields
        overlap; grad_weight = Σ_n grad_y · columnsᵀ;  grad_bias = Σ_{n,l} grad_y.
        """
        conv = (stride, padding, dilation, groups)
        turned = _turned(weight, *conv)
        # Refuses a gradient of another batch or channel count, which might broadcast.
        grad_y = grad_y.reshape(x.shape[0], weight.shape[0], *grad_y.shape[2:])
        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            if turned is None:
                grad_x = _folded_products(grad_y, weight, _sides(x), *conv)
            else:
                grad_x = _products(grad_y, turned.weight, *turned.conv)
        if needs[1]:
            if turned is None:
                grad_weight = _summed_products(grad_y, x, weight, *conv)
            else:
                turned_grad = _summed_products(x, grad_y, turned.weight, *turned.conv)
                grad_weight = _turn(turned_grad, groups)
        if needs[2]:
            grad_bias = grad_y.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias

    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """Output = ((Input · A)ᵀ · B)ᵀ: A repeats the columns, B the rows.

        As in any matrix product, a nan or an infinity spreads over its row and column (0 · inf =
        nan).
        """
        a = _repeat_matrix(x, x.shape[3], scale[1])  # (W, W·s_w)
        b = _repeat_matrix(x, x.shape[2], scale[0])  # (H, H·s_h)
        return ((x @ a).mT @ b).mT.contiguous()

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """The adjoint of the forward: Aᵀ and Bᵀ sum what A and B repeated."""
        a = _repeat_matrix(grad_y, grad_y.shape[3] // scale[1], scale[1])  # (W, W·s_w)
        b = _repeat_matrix(grad_y, grad_y.shape[2] // scale[0], scale[0])  # (H, H·s_h)
        return ((grad_y.mT @ b.mT).mT @ a.mT).contiguous()


def _products(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Return W · columns(x), as images."""
    n, o, kernel = x.shape[0], weight.shape[0], _sides(weight)
    h_out, w_out = _output_size(x, kernel, stride, padding, dilation)

    columns = _unfold(x, kernel, stride, padding, dilation, groups)  # (N, G, K, L)
    rows = _weight_rows(weight, groups)  # (G, O/G, K)
    return (rows @ columns).view(n, o, h_out, w_out)  # (N, G, O/G, L) -> (N, O, H_out, W_out)


def _folded_products(
    grad_y: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return fold(Wᵀ · grad_y), images of this size."""
    grad_rows = _channel_rows(grad_y, groups)  # (N, G, O/G, L)
    grad_columns = _weight_rows(weight, groups).transpose(1, 2) @ grad_rows  # (N, G, K, L)
    images: Tensor = fold(
        grad_columns.flatten(1, 2), size, _sides(weight), dilation, padding, stride
    )  # (N, G·K, L) -> (N, C, H, W)
    return images


def _summed_products(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return Σ_n grad_y · columns(x)ᵀ, in the shape of the weight."""
    grad_rows = _channel_rows(grad_y, groups)  # (N, G, O/G, L)
    columns = _unfold(x, _sides(weight), stride, padding, dilation, groups)  # (N, G, K, L)
    products = grad_rows @ columns.transpose(2, 3)  # (N, G, O/G, K)
    return products.sum(0).view(weight.shape)


@dataclass(frozen=True)
class _Turned:
    """A convolution as the gradient of another: that one's kernel, and its stride, padding,
    dilation and groups.
    """

    weight: Tensor
    conv: tuple[Pair, Pair, Pair, int]


def _turned(
    weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> _Turned | None:
    """Turn a convolution around, if that makes for fewer columns; None if not, or not possible.

    At stride 1 what a pixel of y gets from x is what a pixel of x gets from y, with the kernel
    turned by 180°: y[q] = Σ_t w[t] · x[q + d·t − p] = Σ_t w[k − 1 − t] · x[q − d·t + p′], with
    p′ = d·(k − 1) − p. So y is the grad_x of the convolution with the turned kernel, in- and
    out-channels exchanged and padding p′, whose grad_y is x. It has a column entry for each
    out-channel, where the convolution itself has one for each in-channel.
    """
    (kh, kw) = _sides(weight)
    other = (dilation[0] * (kh - 1) - padding[0], dilation[1] * (kw - 1) - padding[1])
    fewer = weight.shape[0] < weight.shape[1] * groups
    if not fewer or stride != (1, 1) or min(other) < 0:
        return None
    return _Turned(_turn(weight, groups), (stride, other, dilation, groups))


def _turn(weight: Tensor, groups: int) -> Tensor:
    """Turn kernels by 180° and exchange channels: (O, C/G, Kh, Kw) -> (C, O/G, Kh, Kw)."""
    o, c, *kernel = weight.shape
    exchanged = weight.view(groups, o // groups, c, *kernel).transpose(1, 2)
    return exchanged.flip(-2, -1).reshape(groups * c, o // groups, *kernel)


def _output_size(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[int, int]:
    h_out, w_out = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    )
    return h_out, w_out


def _unfold(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Return the receptive fields as columns: (N, C, H, W) -> (N, C·Kh·Kw, L) -> (N, G, K, L)."""
    columns: Tensor = unfold(x, kernel, dilation, padding, stride)
    n, rows, places = columns.shape
    return columns.view(n, groups, rows // groups, places)


def _sides(tensor: Tensor) -> Pair:
    """Return height and width, of images or of kernels."""
    return tensor.shape[-2], tensor.shape[-1]


def _channel_rows(images: Tensor, groups: int) -> Tensor:
    """Return each channel as a row: (N, O, H, W) -> (N, G, O/G, L)."""
    n, o, h, w = images.shape
    return images.reshape(n, groups, o // groups, h * w)


def _weight_rows(weight: Tensor, groups: int) -> Tensor:
    """Return each output channel's kernel as a row: (O, C/G, Kh, Kw) -> (G, O/G, K)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _repeat_matrix(like: Tensor, size: int, scale: int) -> Tensor:
    """Return the (size, size·scale) matrix M: x · M repeats each entry of x ``scale`` times."""
    identity = torch.eye(size, dtype=like.dtype, device=like.device)
    return identity.repeat_interleave(scale, dim=1)
