"""Faulty layers. Each is a right one with one thing wrong."""

from __future__ import annotations

import copy

import torch
from rightlayers import L1, BatchNorm, Dropout, Embedding
from torch import Tensor

import scratchnet
from scratchnet.layers.checks import check_grad, check_tensor


class ViewedWeightGradient(scratchnet.TransposeConv2d):
    """The weight's gradient is viewed in the shape it should have been transposed to."""

    def backward_images(self, grad_y: Tensor) -> Tensor:
        before = self.grad_weight.clone()
        grad_x = super().backward_images(grad_y)
        right = self.grad_weight - before
        wrong = right.transpose(0, 1).contiguous().view(right.shape)
        self.grad_weight.copy_(before + wrong)
        return grad_x


class AveragingUpsampling(scratchnet.NearestUpsampling):
    """The gradients of a block are averaged, not summed."""

    def backward_images(self, grad_y: Tensor) -> Tensor:
        return super().backward_images(grad_y) / (self.scale_factor[0] * self.scale_factor[1])


class PlainSigmoid(scratchnet.Sigmoid):
    """Sigmoid without an operation; this one is right."""

    def forward(self, *inputs: Tensor) -> Tensor:
        y = torch.sigmoid(check_tensor(self, inputs[0]))
        self.save(y)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (y,) = self.saved
        return check_grad(self, grad_outputs[0], y.shape, y.dtype) * (y * (1 - y))


class PlainReLU(scratchnet.ReLU):
    """ReLU without an operation; this one is right."""

    def forward(self, *inputs: Tensor) -> Tensor:
        y = torch.relu(check_tensor(self, inputs[0]))
        self.save(y)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (y,) = self.saved
        return check_grad(self, grad_outputs[0], y.shape, y.dtype).masked_fill(y <= 0, 0)


class SigmoidAtTheGradient(PlainSigmoid):
    """The derivative is taken at the incoming gradient."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (y,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], y.shape, y.dtype)
        s = torch.sigmoid(grad_y)
        return s * (1 - s)


class LeakyReLU(scratchnet.Module):
    """y = x where x > 0, else slope · x; this one is right."""

    def __init__(self, slope: float = 0.1) -> None:
        self.slope = slope

    def config(self) -> dict:
        return {"slope": self.slope}

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        self.save(x)
        return torch.where(x > 0, x, self.slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.slope).masked_fill(x > 0, 1.0)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (x,) = self.saved
        return check_grad(self, grad_outputs[0], x.shape, x.dtype) * self.derivative(x)


class DerivativeAlone(LeakyReLU):
    """The derivative is returned without the incoming gradient."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (x,) = self.saved
        check_grad(self, grad_outputs[0], x.shape, x.dtype)
        return self.derivative(x)


class FreshGradients(scratchnet.Conv2d):
    """Every backward makes new gradient tensors."""

    def _accumulate(self, grad_weight: Tensor | None, grad_bias: Tensor | None) -> None:
        self.grad_weight = self.grad_weight + grad_weight
        self.grad_bias = self.grad_bias + grad_bias


class OverwrittenGradients(scratchnet.Conv2d):
    """Every backward forgets what was there."""

    def _accumulate(self, grad_weight: Tensor | None, grad_bias: Tensor | None) -> None:
        self.grad_weight.copy_(grad_weight)
        self.grad_bias.copy_(grad_bias)


class NothingForParametersAlone(scratchnet.Conv2d):
    """The way without the input's gradient forgets the parameters', too."""

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        _ = self.saved


class GradientInTheWeight(scratchnet.Conv2d):
    """The gradient's buffer is a view of the weight."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.grad_weight = self.weight.view_as(self.weight)


class Flipped(scratchnet.Conv2d):
    """Height and width are exchanged in stride and padding, forward and back alike."""

    @property
    def options(self) -> dict:
        right = super().options
        return {**right, "stride": right["stride"][::-1], "padding": right["padding"][::-1]}


class RightForSquares(scratchnet.NearestUpsampling):
    """The output is viewed with width before height: right where they are the same."""

    def forward_images(self, x: Tensor) -> Tensor:
        y = super().forward_images(x).contiguous()
        n, c, h, w = y.shape
        return y.view(n, c, w, h)

    def backward_images(self, grad_y: Tensor) -> Tensor:
        n, c, w, h = grad_y.shape
        return super().backward_images(grad_y.contiguous().view(n, c, h, w))


class PaddedOnOneSide(scratchnet.Conv2d):
    """All of the padding is put at the top and the left."""

    def forward_images(self, x: Tensor) -> Tensor:
        p, q = self.padding
        moved = torch.constant_pad_nd(x, (q, -q, p, -p))
        return super().forward_images(moved)

    def backward_images(self, grad_y: Tensor) -> Tensor:
        p, q = self.padding
        return torch.constant_pad_nd(super().backward_images(grad_y), (-q, q, -p, p))


class RemembersTheLastBatch(scratchnet.Conv2d):
    """What was kept for backward is added up over forwards."""

    kept: Tensor | None = None

    def forward_images(self, x: Tensor) -> Tensor:
        y = super().forward_images(x)
        if self.kept is not None and self.kept.shape == x.shape:
            super().forward_images(x + 0.1 * self.kept)  # keeps the wrong one
        self.kept = x
        return y


class NormalizedByTheFirstBatch(LeakyReLU):
    """The scale is taken from the first batch and kept."""

    scale: Tensor | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        y = super().forward(*inputs)
        if self.scale is None and y.numel():
            self.scale = y.abs().max()
        return y if self.scale is None else y / self.scale.to(y.dtype)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        grad = super().backward(*grad_outputs)
        return grad if self.scale is None else grad / self.scale.to(grad.dtype)


class BiasOfOneImage(scratchnet.Conv2d):
    """The bias's gradient is that of the first image."""

    def backward_images(self, grad_y: Tensor) -> Tensor:
        before = self.grad_bias.clone()
        grad_x = super().backward_images(grad_y)
        self.grad_bias.copy_(before + grad_y[:1].sum((0, 2, 3)))
        return grad_x


class InPlaceReLU(PlainReLU):
    """The input is overwritten, and handed out as the output."""

    def forward(self, *inputs: Tensor) -> Tensor:
        y = check_tensor(self, inputs[0]).relu_()
        self.save(y)
        return y


class OutputIsAView(scratchnet.Module):
    """The output is the input itself, under another shape."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        self.save(x.shape, x.dtype)
        return x.view_as(x)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        shape, dtype = self.saved
        return check_grad(self, grad_outputs[0], shape, dtype).clone()


class SinglePrecision(PlainSigmoid):
    """Computes in float32 and converts back."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        y = torch.sigmoid(x.float()).to(x.dtype)
        self.save(y)
        return y


class CopiesOfParameters(scratchnet.Conv2d):
    """param() hands out copies."""

    def named_param(self, prefix: str = "") -> object:
        for name, value, grad in super().named_param(prefix):
            yield name, value.clone(), grad.clone()


class GradientWrittenInPlace(PlainSigmoid):
    """backward multiplies into the gradient it is given."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (y,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], y.shape, y.dtype)
        return grad_y.mul_(y * (1 - y))


class KeepsInEval(LeakyReLU):
    """forward keeps its input in eval mode, too, so backward silently works there."""

    def forward(self, *inputs: Tensor) -> Tensor:
        y = super().forward(*inputs)
        self.kept = (inputs[0],)
        return y


class CopyIsItself(scratchnet.Conv2d):
    """deepcopy shares the parameters."""

    def __deepcopy__(self, memo: dict) -> scratchnet.Conv2d:
        return copy.copy(self)


class ForgetsItsSlope(LeakyReLU):
    """config leaves an argument out."""

    def config(self) -> dict:
        return {}


class CentredOverTheBatch(scratchnet.Module):
    """Subtracts the mean of the batch from each image."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        self.save(x.shape, x.dtype)
        return x - x.mean(0) if x.shape[0] else x.clone()

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        shape, dtype = self.saved
        grad_y = check_grad(self, grad_outputs[0], shape, dtype)
        return grad_y - grad_y.mean(0) if shape[0] else grad_y.clone()


class NanFromNothing(scratchnet.Conv2d):
    """The bias's gradient is a mean times a number, which is nan for an empty batch."""

    def backward_images(self, grad_y: Tensor) -> Tensor:
        before = self.grad_bias.clone()
        grad_x = super().backward_images(grad_y)
        places = grad_y.numel() // grad_y.shape[1]
        self.grad_bias.copy_(before + grad_y.mean((0, 2, 3)) * places)
        return grad_x


class ReadsMemoryInOrder(LeakyReLU):
    """Takes the numbers as they lie in memory, whatever the strides."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        grad_y = grad_outputs[0]
        start = grad_y.storage_offset()
        dense = grad_y.as_strided(grad_y.shape, torch.empty(grad_y.shape).stride(), start)
        return super().backward(dense)


class MeanOverTheBatch(scratchnet.Conv2d):
    """Parameter gradients are averaged over the batch."""

    def _accumulate(self, grad_weight: Tensor | None, grad_bias: Tensor | None) -> None:
        super()._accumulate(grad_weight / 2, grad_bias / 2)


class NoOrder(scratchnet.Module):
    """Goes round Module's own check, and says nothing of forward when backward comes first."""

    x: Tensor | None = None

    def __init__(self) -> None:
        self.backward = self.go_back

    def forward(self, *inputs: Tensor) -> Tensor:
        self.x = check_tensor(self, inputs[0])
        return self.x * 2

    def go_back(self, *grad_outputs: Tensor) -> Tensor:
        return check_grad(self, grad_outputs[0], self.x.shape, self.x.dtype) * 2


class InAGraph(scratchnet.Module):
    """Computes on the input as it comes, so that autograd records it."""

    def forward(self, *inputs: Tensor) -> Tensor:
        check_tensor(self, inputs[0])
        self.save(inputs[0].shape, inputs[0].dtype)
        return inputs[0] * 2

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        shape, dtype = self.saved
        return check_grad(self, grad_outputs[0], shape, dtype) * 2


class TakesAnything(scratchnet.Module):
    """Does not look at what it is given."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x = torch.as_tensor(0.0 if inputs[0] is None else inputs[0]).detach()
        self.save(x.shape)
        return x * 2

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        _ = self.saved
        return grad_outputs[0].detach() * 2


class ZeroesByReplacing(scratchnet.Conv2d):
    """zero_grad makes new buffers."""

    def zero_grad(self) -> None:
        self.grad_weight = torch.zeros_like(self.weight)
        self.grad_bias = torch.zeros_like(self.bias)


class BorderForgotten(scratchnet.Conv2d):
    """The input's gradient is zero in the last column."""

    def backward_images(self, grad_y: Tensor) -> Tensor:
        grad_x = super().backward_images(grad_y).clone()
        grad_x[..., -1] = 0
        return grad_x


class FlatGradient(LeakyReLU):
    """The input's gradient loses the input's shape."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        return super().backward(*grad_outputs).flatten()


class ZeroesTheWeightsOnly(scratchnet.Conv2d):
    """zero_grad forgets the bias."""

    def zero_grad(self) -> None:
        self.grad_weight.zero_()


class ConvertsToNewTensors(scratchnet.Conv2d):
    """to() makes new parameters, which no optimizer knows."""

    def to(self, **options: object) -> scratchnet.Conv2d:
        self.weight = self.weight.to(options["dtype"], copy=True)
        return super().to(**options)


class StateUnderOtherNames(scratchnet.Conv2d):
    """state_dict has keys of its own."""

    def state_dict(self) -> dict:
        return {f"conv.{name}": value for name, value in super().state_dict().items()}


class SaysTooLittle(LeakyReLU):
    """repr leaves the configuration out in a way that does not evaluate."""

    def __repr__(self) -> str:
        return "SaysTooLittle(slope=...)!"


class BroadcastsGradients(LeakyReLU):
    """Any gradient is accepted that can be broadcast or cut to fit."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (x,) = self.saved
        return grad_outputs[0].detach()[..., : x.shape[-1]] * self.derivative(x)


class Noisy(LeakyReLU):
    """Adds a little noise of its own."""

    calls = 0

    def forward(self, *inputs: Tensor) -> Tensor:
        Noisy.calls += 1
        generator = torch.Generator().manual_seed(Noisy.calls)
        x = inputs[0]
        if isinstance(x, Tensor) and x.is_floating_point():
            x = x + 1e-7 * torch.randn(x.shape, generator=generator).to(x.dtype)
        return super().forward(x)


class Seeds(LeakyReLU):
    """Seeds torch's generator."""

    def forward(self, *inputs: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().forward(*inputs)


class StatisticsNotSaved(BatchNorm):
    """The running statistics are plain attributes."""

    def keep(self, name: str, value: Tensor) -> None:
        setattr(self, name, value)

    def to(self, **options: object) -> BatchNorm:
        self.running_mean = self.running_mean.to(options["dtype"])
        self.running_var = self.running_var.to(options["dtype"])
        return super().to(**options)


class FrozenMoves(scratchnet.Conv2d):
    """Frozen parameters are listed as if they were not."""

    def named_param(self, prefix: str = "") -> object:
        for name, value in self.named_parameters():
            yield prefix + name, value, getattr(self, f"grad_{name}")


class StaleMask(Dropout):
    """The mask is drawn for the first batch of each shape."""

    drawn: Tensor | None = None

    def mask(self, x: Tensor) -> Tensor:
        if self.drawn is None or self.drawn.shape != x.shape or self.drawn.dtype != x.dtype:
            self.drawn = super().mask(x)
        return self.drawn


class StatisticsInEval(BatchNorm):
    """The running statistics follow the batches in eval mode, too."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x, y = inputs[0], super().forward(*inputs)
        if not self.training:
            axes = [0, *range(2, x.dim())]
            self.update(x.mean(axes), x.var(axes, correction=0), x.numel() // self.channels)
        return y


class ReductionIgnored(L1):
    """Whatever is asked for, the mean is returned."""

    def reduced(self, losses: Tensor) -> Tensor:
        return losses if self.reduction == "none" else losses.mean()


class GradientNotReduced(L1):
    """The gradient is that of the sum."""

    def grad_each(self, grad_outputs: tuple, losses: Tensor) -> Tensor | float:
        grad = super().grad_each(grad_outputs, losses)
        return grad * losses.numel() if self.reduction == "mean" else grad


class GradientOfIndices(Embedding):
    """Integers get a gradient of zeros."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        super().backward(*grad_outputs)
        return torch.zeros_like(self.saved[0])


class KeepsTheLastInput(LeakyReLU):
    """What backward needs is an attribute, which a second use overwrites."""

    x: Tensor | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        y = super().forward(*inputs)
        self.x = inputs[0].clone() if self.training else None
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        return check_grad(self, grad_outputs[0], self.x.shape, self.x.dtype) * self.derivative(
            self.x
        )


class KeepsWithoutSave(LeakyReLU):
    """What backward needs is kept by itself, so nobody notices that it has been changed."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        y = super().forward(x)
        self.save(lambda: x)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        x = self.saved[0]()
        return check_grad(self, grad_outputs[0], x.shape, x.dtype) * self.derivative(x)


class SwitchesGradMode(LeakyReLU):
    """Turns autograd's recording off, and leaves it off."""

    def forward(self, *inputs: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        return super().forward(*inputs)


class SwitchesDtype(LeakyReLU):
    """Changes the default dtype when it is made."""

    def __init__(self, slope: float = 0.1) -> None:
        torch.set_default_dtype(torch.float64)
        super().__init__(slope)


class SwitchesThreads(LeakyReLU):
    """Computes its gradient on one thread, and leaves it at that."""

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        torch.set_num_threads(1)
        return super().backward(*grad_outputs)


class SwitchesDeterminism(LeakyReLU):
    """Asks torch for deterministic algorithms, for everybody."""

    def forward(self, *inputs: Tensor) -> Tensor:
        torch.use_deterministic_algorithms(True, warn_only=True)
        return super().forward(*inputs)
