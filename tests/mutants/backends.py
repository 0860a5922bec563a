"""Faulty backends. Each is the reference with one thing wrong."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.backends.base import Backend
from scratchnet.ops.conv import conv2d
from scratchnet.ops.upsample import upsample_conv2d, upsample_nearest

conv = conv2d.reference
nearest = upsample_nearest.reference
upsampled_conv = upsample_conv2d.reference


class Mutant(Backend):
    """The reference under another name, one operation at a time: no graph.

    Methods such as ``conv2d_forward`` and ``conv2d_supports`` are what subclasses do otherwise.
    """

    name = "mutant"

    def __init__(self) -> None:
        super().__init__(self.name)
        for name in ops.names():
            if name != "graph":
                parts = ("forward", "backward", "supports")
                own = {part: getattr(self, f"{name}_{part}", None) for part in parts}
                self.implement(ops.get(name), **own)


class HeightForWidth(Mutant):
    """Height and width of the stride are exchanged."""

    def conv2d_forward(self, x: Any, weight: Any, bias: Any, *, stride: Any, **rest: Any) -> Any:
        turned = {name: rest[name][::-1] for name in ("padding", "dilation")}
        flipped = (x.mT, weight.mT, bias)
        y, kept = conv.forward(*flipped, stride=stride, groups=rest["groups"], **turned)
        return y.mT, kept


class OneSidedPadding(Mutant):
    """All of the padding is put at the bottom and the right."""

    def conv2d_forward(self, x: Tensor, *args: Any, padding: Any, **options: Any) -> Any:
        p, q = padding
        padded = torch.constant_pad_nd(x, (0, 2 * q, 0, 2 * p))
        return conv.forward(padded, *args, padding=(0, 0), **options)


class SingleInside(Mutant):
    """float64 is computed in float32."""

    def conv2d_forward(self, x: Tensor, weight: Tensor, bias: Any, **options: Any) -> Any:
        narrow = None if bias is None else bias.float()
        y, kept = conv.forward(x.float(), weight.float(), narrow, **options)
        return y.to(x.dtype), kept


class SingleOutput(Mutant):
    """Whatever comes in, float32 comes out."""

    def upsample_nearest_forward(self, x: Tensor, **options: Any) -> Any:
        return nearest.forward(x, **options)[0].float(), None


class AveragedUpsampling(Mutant):
    """The gradients of a block are averaged."""

    def upsample_nearest_backward(self, *args: Any, scale: Any, needs: Any) -> Any:
        (grad_x,) = nearest.backward(*args, scale=scale, needs=needs)
        return (None if grad_x is None else grad_x / (scale[0] * scale[1]),)


class NoDilationInWeightGradient(Mutant):
    """The weight's gradient ignores the dilation."""

    def conv2d_backward(
        self, grad_y: Tensor, kept: Any, x: Tensor, weight: Tensor, bias: Any, **options: Any
    ) -> Any:
        grads = conv.backward(grad_y, kept, x, weight, bias, **options)
        if grads[1] is None or options["dilation"] == (1, 1) or grad_y.numel() == 0:
            return grads
        d, kernel = options["dilation"], weight.shape[2:]
        room = [d[i] * (kernel[i] - 1) - (kernel[i] - 1) for i in (0, 1)]
        plain = x[:, :, : x.shape[2] - room[0], : x.shape[3] - room[1]]
        if min(plain.shape[2:]) < 1:
            return grads
        undilated = {**options, "dilation": (1, 1)}
        try:
            wrong = conv.backward(grad_y, kept, plain, weight, bias, **undilated)
        except RuntimeError:
            return grads
        return grads[0], wrong[1], grads[2]


class GroupsMixed(Mutant):
    """The groups of the output are put in the order of another memory layout."""

    def conv2d_forward(self, *args: Any, groups: int, **options: Any) -> Any:
        y, kept = conv.forward(*args, groups=groups, **options)
        n, o, h, w = y.shape
        mixed = y.view(n, groups, o // groups, h, w).transpose(1, 2)
        return mixed.reshape(n, o, h, w), kept


class OverlapsForgotten(Mutant):
    """Where receptive fields overlap, only one of them counts in the input's gradient."""

    def conv2d_backward(
        self, grad_y: Tensor, kept: Any, x: Tensor, weight: Tensor, bias: Any, **options: Any
    ) -> Any:
        grads = conv.backward(grad_y, kept, x, weight, bias, **options)
        if grads[0] is None or grad_y.numel() == 0:
            return grads
        ones = torch.ones_like(grad_y), kept, x, torch.ones_like(weight), bias
        counts = conv.backward(*ones, **options)[0]
        return grads[0] / counts.clamp_min(1), grads[1], grads[2]


class JustAboveTheTolerance(Mutant):
    """One element is half as far again from the right one as the tolerance allows."""

    def conv2d_forward(self, *args: Any, **options: Any) -> Any:
        from scratchnet.verify.tolerance import forward_bounds

        y, kept = conv.forward(*args, **options)
        if y.numel():
            (bound,) = forward_bounds(conv2d, args, options)
            at = int(bound.allowed.argmax())
            wrong = bound.value.flatten()[at] + 1.5 * bound.allowed.flatten()[at]
            y.view(-1)[at] = wrong.to(y.dtype)
        return y, kept


class NeedsIgnored(Mutant):
    """All gradients are computed, always."""

    def conv2d_backward(self, *args: Any, needs: Any, **options: Any) -> Any:
        return conv.backward(*args, **options, needs=(True, True, args[-1] is not None))


class ReadsWhatItShouldNot(Mutant):
    """Reads the values of the input, of which the operation says that its shape is enough."""

    def upsample_nearest_backward(
        self, grad_y: Tensor, kept: Any, x: Tensor, **options: Any
    ) -> Any:
        (grad_x,) = nearest.backward(grad_y, kept, x, **options)
        return (None if grad_x is None else grad_x + 0 * x,)


class ClaimsTooMuch(Mutant):
    """supports says yes to what raises."""

    def conv2d_forward(self, x: Tensor, *args: Any, groups: int, **options: Any) -> Any:
        if groups > 1:
            raise NotImplementedError("groups are not done yet")
        return conv.forward(x, *args, groups=groups, **options)


class ClaimsWithoutAReason(Mutant):
    """supports says False, not why."""

    def conv2d_supports(self, x: Tensor, *args: Any, **options: Any) -> Any:
        return x.dtype in (torch.float32, torch.float64)


class InputHandedOut(Mutant):
    """Upsampling by 1 returns its input."""

    def upsample_nearest_forward(self, x: Tensor, *, scale: Any) -> Any:
        return (x, None) if scale == (1, 1) else nearest.forward(x, scale=scale)


class WeightTurnedInPlace(Mutant):
    """The weight is flipped in place for the backward, and not flipped back."""

    def conv2d_backward(
        self, grad_y: Tensor, kept: Any, x: Tensor, weight: Tensor, bias: Any, **options: Any
    ) -> Any:
        grads = conv.backward(grad_y, kept, x, weight, bias, **options)
        if weight.stride(0):
            weight.copy_(weight.flip(2, 3))
        return grads


class Race(Mutant):
    """With several of torch's threads, workers add to one sum without a lock."""

    def conv2d_backward(
        self, grad_y: Tensor, kept: Any, x: Tensor, weight: Tensor, bias: Any, **options: Any
    ) -> Any:
        workers = min(torch.get_num_threads(), x.shape[0])
        whole = conv.backward(grad_y, kept, x, weight, bias, **options)
        if workers < 2 or not options["needs"][1]:
            return whole
        total, barrier = [torch.zeros_like(weight)], threading.Barrier(workers)

        def work(i: int) -> None:
            torch.set_num_threads(1)
            part = grad_y[i::workers], kept, x[i::workers], weight, bias
            own = conv.backward(*part, **options)[1]
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

    def upsample_nearest_forward(self, x: Tensor, **options: Any) -> Any:
        self.workspace = nearest.forward(x, **options)[0]
        time.sleep(0.002)
        return self.workspace.clone(), None


class Strides(Mutant):
    """Takes a gradient to be contiguous."""

    def conv2d_backward(self, grad_y: Tensor, *args: Any, **options: Any) -> Any:
        start = grad_y.storage_offset()
        stride = torch.empty(grad_y.shape).stride()
        room = grad_y.untyped_storage().nbytes() // grad_y.element_size() - start
        if room >= grad_y.numel():
            grad_y = grad_y.as_strided(grad_y.shape, stride, start)
        return conv.backward(grad_y, *args, **options)


class Unordered(Mutant):
    """Adds in another order each time."""

    calls = 0

    def conv2d_forward(self, x: Tensor, weight: Tensor, bias: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls % 2 or options["groups"] > 1:
            return conv.forward(x, weight, bias, **options)
        return conv.forward(x.flip(1), weight.flip(1), bias, **options)


class EmptyBatchFails(Mutant):
    """Divides by the size of the batch."""

    def conv2d_backward(self, grad_y: Tensor, *args: Any, **options: Any) -> Any:
        _ = 1 // grad_y.shape[0]
        return conv.backward(grad_y, *args, **options)


class StaleCache(Mutant):
    """Keeps the last result of each shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stale: dict = {}

    def upsample_nearest_backward(self, grad_y: Tensor, *args: Any, **options: Any) -> Any:
        key = grad_y.shape, grad_y.dtype, options["scale"]
        if key not in self.stale:
            self.stale[key] = nearest.backward(grad_y, *args, **options)[0]
        return (self.stale[key].clone(),)


class NoAdjoint(Mutant):
    """The upsampled convolution's backward forgets the factor of one direction."""

    def upsample_conv2d_backward(self, *args: Any, scale: Any, **options: Any) -> Any:
        grads = upsampled_conv.backward(*args, scale=scale, **options)
        return (None if grads[0] is None else grads[0] / scale[1], *grads[1:])


class GradModeOff(Mutant):
    """Turns autograd off, for everyone and for good."""

    def relu_forward(self, x: Tensor) -> Any:
        torch._C._set_grad_enabled(False)
        return ops.get("relu").reference.forward(x)


class ThreadsLeft(Mutant):
    """Leaves torch with one thread."""

    def conv2d_backward(self, *args: Any, **options: Any) -> Any:
        torch.set_num_threads(1)
        return conv.backward(*args, **options)


class Draws(Mutant):
    """Draws random numbers from the generator that everyone uses."""

    def sigmoid_forward(self, x: Tensor) -> Any:
        y, kept = ops.get("sigmoid").reference.forward(x + 0 * torch.rand(()))
        return y, kept


class WrongVersion(Mutant):
    """Written for another contract."""

    api_version = 1
