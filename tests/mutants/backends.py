"""Faulty backends. Each is the reference with one thing wrong."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.reference import ReferenceBackend


class Mutant(ReferenceBackend):
    """The reference under another name."""

    name = "mutant"


class HeightForWidth(Mutant):
    """Height and width of the stride are exchanged."""

    def conv2d_forward(self, *args: Any, stride: Any, padding: Any, **kwargs: Any) -> Tensor:
        x, weight, bias = args
        flipped = (x.mT, weight.mT, bias)
        y = super().conv2d_forward(*flipped, stride=stride, padding=padding[::-1], **turned(kwargs))
        return y.mT


def turned(kwargs: dict) -> dict:
    return {**kwargs, "dilation": kwargs["dilation"][::-1]}


class OneSidedPadding(Mutant):
    """All of the padding is put at the bottom and the right."""

    def conv2d_forward(self, x: Tensor, *args: Any, padding: Any, **kwargs: Any) -> Tensor:
        p, q = padding
        padded = torch.constant_pad_nd(x, (0, 2 * q, 0, 2 * p))
        return super().conv2d_forward(padded, *args, padding=(0, 0), **kwargs)


class SingleInside(Mutant):
    """float64 is computed in float32."""

    def conv2d_forward(self, x: Tensor, weight: Tensor, bias: Any, **kwargs: Any) -> Tensor:
        narrow = None if bias is None else bias.float()
        return super().conv2d_forward(x.float(), weight.float(), narrow, **kwargs).to(x.dtype)


class SingleOutput(Mutant):
    """Whatever comes in, float32 comes out."""

    def upsample_nearest_forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return super().upsample_nearest_forward(x, **kwargs).float()


class AveragedUpsampling(Mutant):
    """The gradients of a block are averaged."""

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Any) -> Tensor:
        return super().upsample_nearest_backward(grad_y, scale=scale) / (scale[0] * scale[1])


class NoDilationInWeightGradient(Mutant):
    """The weight's gradient ignores the dilation."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        grads = super().conv2d_backward(grad_y, x, weight, **kwargs)
        if grads[1] is None or kwargs["dilation"] == (1, 1) or grad_y.numel() == 0:
            return grads
        d, kernel = kwargs["dilation"], weight.shape[2:]
        room = [d[i] * (kernel[i] - 1) - (kernel[i] - 1) for i in (0, 1)]
        plain = x[:, :, : x.shape[2] - room[0], : x.shape[3] - room[1]]
        if min(plain.shape[2:]) < 1:
            return grads
        try:
            wrong = super().conv2d_backward(grad_y, plain, weight, **{**kwargs, "dilation": (1, 1)})
        except RuntimeError:
            return grads
        return grads[0], wrong[1], grads[2]


class GroupsMixed(Mutant):
    """The groups of the output are put in the order of another memory layout."""

    def conv2d_forward(self, *args: Any, groups: int, **kwargs: Any) -> Tensor:
        y = super().conv2d_forward(*args, groups=groups, **kwargs)
        n, o, h, w = y.shape
        return y.view(n, groups, o // groups, h, w).transpose(1, 2).reshape(n, o, h, w)


class OverlapsForgotten(Mutant):
    """Where receptive fields overlap, only one of them counts in the input's gradient."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        grads = super().conv2d_backward(grad_y, x, weight, **kwargs)
        if grads[0] is None or grad_y.numel() == 0:
            return grads
        ones = torch.ones_like(grad_y)
        counts = super().conv2d_backward(ones, x, torch.ones_like(weight), **kwargs)[0]
        return grads[0] / counts.clamp_min(1), grads[1], grads[2]


class NeedsIgnored(Mutant):
    """All three gradients are computed, always."""

    def conv2d_backward(self, *args: Any, needs: Any = None, **kwargs: Any) -> Any:
        return super().conv2d_backward(*args, **kwargs)


class ReadsWhatItShouldNot(Mutant):
    """Reads the values of x where only its shape may be read."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        grads = super().conv2d_backward(grad_y, x, weight, **kwargs)
        if grads[0] is None:
            return grads
        return grads[0] + 0 * x, grads[1], grads[2]


class ClaimsTooMuch(Mutant):
    """supports says yes to what raises."""

    def conv2d_forward(self, x: Tensor, *args: Any, groups: int, **kwargs: Any) -> Tensor:
        if groups > 1:
            raise NotImplementedError("groups are not done yet")
        return super().conv2d_forward(x, *args, groups=groups, **kwargs)


class ClaimsWithoutAReason(Mutant):
    """supports says False, not why."""

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Any:
        return args[0].dtype in (torch.float32, torch.float64)


class InputHandedOut(Mutant):
    """Upsampling by 1 returns its input."""

    def upsample_nearest_forward(self, x: Tensor, *, scale: Any) -> Tensor:
        return x if scale == (1, 1) else super().upsample_nearest_forward(x, scale=scale)


class WeightTurnedInPlace(Mutant):
    """The weight is flipped in place for the backward, and not flipped back."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        grads = super().conv2d_backward(grad_y, x, weight, **kwargs)
        if weight.stride(0):
            weight.copy_(weight.flip(2, 3))
        return grads


class Race(Mutant):
    """With several of torch's threads, workers add to one sum without a lock."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        workers = min(torch.get_num_threads(), x.shape[0])
        if workers < 2 or not kwargs.get("needs", (1, 1, 1))[1]:
            return super().conv2d_backward(grad_y, x, weight, **kwargs)
        total, barrier = [torch.zeros_like(weight)], threading.Barrier(workers)
        whole = super().conv2d_backward(grad_y, x, weight, **kwargs)
        part = super().conv2d_backward

        def work(i: int) -> None:
            torch.set_num_threads(1)
            own = part(grad_y[i::workers], x[i::workers], weight, **kwargs)[1]
            seen = total[0]
            barrier.wait(10)
            total[0] = seen + own

        before = torch.get_num_threads()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        torch.set_num_threads(before)
        return whole[0], total[0], whole[2]


class SharedWorkspace(Mutant):
    """One workspace for all calls: two at once write over each other."""

    workspace: Tensor | None = None

    def upsample_nearest_forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        self.workspace = super().upsample_nearest_forward(x, **kwargs)
        time.sleep(0.002)
        return self.workspace.clone()


class Strides(Mutant):
    """Takes a gradient to be contiguous."""

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
        start = grad_y.storage_offset()
        stride = torch.empty(grad_y.shape).stride()
        room = grad_y.untyped_storage().nbytes() // grad_y.element_size() - start
        if room >= grad_y.numel():
            grad_y = grad_y.as_strided(grad_y.shape, stride, start)
        return super().conv2d_backward(grad_y, x, weight, **kwargs)


class Unordered(Mutant):
    """Adds in another order each time."""

    calls = 0

    def conv2d_forward(self, x: Tensor, weight: Tensor, bias: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        if self.calls % 2 or kwargs["groups"] > 1:
            return super().conv2d_forward(x, weight, bias, **kwargs)
        return super().conv2d_forward(x.flip(1), weight.flip(1), bias, **kwargs)


class EmptyBatchFails(Mutant):
    """Divides by the size of the batch."""

    def conv2d_backward(self, grad_y: Tensor, *args: Any, **kwargs: Any) -> Any:
        _ = 1 // grad_y.shape[0]
        return super().conv2d_backward(grad_y, *args, **kwargs)


class StaleCache(Mutant):
    """Keeps the last result of each shape."""

    def __init__(self) -> None:
        self.kept: dict = {}

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Any) -> Tensor:
        key = grad_y.shape, grad_y.dtype, scale
        if key not in self.kept:
            self.kept[key] = super().upsample_nearest_backward(grad_y, scale=scale)
        return self.kept[key].clone()


class Permissive(Mutant):
    """Cuts what does not fit until it does."""

    def conv2d_forward(self, x: Tensor, weight: Tensor, bias: Any, **kwargs: Any) -> Tensor:
        return super().conv2d_forward(
            x[:, : weight.shape[1] * kwargs["groups"]], weight, bias, **kwargs
        )


class NoAdjoint(Mutant):
    """The upsampled convolution's backward forgets the factor of one direction."""

    def upsample_conv2d_backward(self, *args: Any, scale: Any, **kwargs: Any) -> Any:
        grads = super().upsample_conv2d_backward(*args, scale=scale, **kwargs)
        return (None if grads[0] is None else grads[0] / scale[1], *grads[1:])


class WrongVersion(Mutant):
    """Written for another contract."""

    api_version = 2
