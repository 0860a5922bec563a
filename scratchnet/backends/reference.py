"""The reference backend: pure torch, written to be read. It is the specification of every other
backend.

One alphabet: N batch, C in-channels, O out-channels, G groups, H W input size, Kh Kw kernel size, K
= C/G·Kh·Kw the length of one receptive field, L = H_out·W_out the number of places where the kernel
is applied.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from scratchnet.backends.base import Backend, Grads, Needs, Pair


class ReferenceBackend(Backend):
    """Convolution by unfold and matrix product, upsampling by two matrix products; any device, any
    float.
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
        n, o, kernel = x.shape[0], weight.shape[0], (weight.shape[2], weight.shape[3])
        h_out, w_out = _output_size(x, kernel, stride, padding, dilation)

        columns = _unfold(x, kernel, stride, padding, dilation, groups)  # (N, G, K, L)
        rows = _weight_rows(weight, groups)  # (G, O/G, K)
        y = (rows @ columns).view(n, o, h_out, w_out)  # (N, G, O/G, L) -> (N, O, H_out, W_out)
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
        n, (h, w) = x.shape[0], x.shape[2:]
        o, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
        places = grad_y.shape[2] * grad_y.shape[3]
        grad_rows = grad_y.reshape(n, groups, o // groups, places)  # (N, G, O/G, L)

        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            grad_columns = _weight_rows(weight, groups).transpose(1, 2) @ grad_rows  # (N, G, K, L)
            grad_x = fold(
                grad_columns.flatten(1, 2), (h, w), kernel, dilation, padding, stride
            )  # (N, G·K, L) -> (N, C, H, W)
        if needs[1]:
            columns = _unfold(x, kernel, stride, padding, dilation, groups)  # (N, G, K, L)
            products = grad_rows @ columns.transpose(2, 3)  # (N, G, O/G, K)
            grad_weight = products.sum(0).view(weight.shape)
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


def _weight_rows(weight: Tensor, groups: int) -> Tensor:
    """Return each output channel's kernel as a row: (O, C/G, Kh, Kw) -> (G, O/G, K)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _repeat_matrix(like: Tensor, size: int, scale: int) -> Tensor:
    """Return the (size, size·scale) matrix M: x · M repeats each entry of x ``scale`` times."""
    identity = torch.eye(size, dtype=like.dtype, device=like.device)
    return identity.repeat_interleave(scale, dim=1)
