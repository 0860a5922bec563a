"""Networks for images, with torchvision's names and keys where it has them: its weights load."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from scratchnet.errors import ArgumentError
from scratchnet.layers.activation import ReLU, ReLU6
from scratchnet.layers.batch_norm import BatchNorm2d
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.conv_transposed import TransposeConv2d
from scratchnet.layers.dropout import Dropout
from scratchnet.layers.graph import Graph
from scratchnet.layers.linear import Linear
from scratchnet.layers.module import Module
from scratchnet.layers.pool import AdaptiveAvgPool2d, MaxPool2d
from scratchnet.layers.shape import Flatten
from scratchnet.layers.value import Value

Generator = torch.Generator | None


def mlp(
    *, widths: Sequence[int] = (64, 128, 10), dropout: float = 0.0, generator: Generator = None
) -> Sequential:
    """Return linear maps with ReLU between them: (N, ...) to (N, last width).

    Args:
        widths: of the input, flattened, of the hidden layers and of the output.
        dropout: behind each ReLU.
        generator: source of the initial weights.

    Raises:
        ArgumentError: fewer than two widths.
    """
    if len(widths) < 2:
        raise ArgumentError(f"mlp expects at least two widths, got {list(widths)}")
    found: list[Module] = [Flatten()]
    for i, (before, after) in enumerate(pairwise(widths)):
        if i:
            found += [ReLU(), *([Dropout(dropout)] if dropout else [])]
        found.append(Linear(before, after, generator=generator))
    return Sequential(*found)


class DnCNN(Graph):
    """y = x − f(x), where f is a row of convolutions with batch norms; f(x) is the noise.

    Input and output (N, C, H, W). ``fold_batch_norm(model)`` is for inference. Source: Zhang
    et al., "Beyond a Gaussian Denoiser" (2016).

    Args:
        channels: C.
        depth: number of convolutions, at least 3.
        width: channels of the hidden layers.
        generator: source of the initial weights.

    Raises:
        ArgumentError: depth is less than 3.
    """

    def __init__(
        self, channels: int = 3, depth: int = 17, width: int = 64, *, generator: Generator = None
    ) -> None:
        if depth < 3:
            raise ArgumentError(f"DnCNN expects a depth of at least 3 convolutions, got {depth}")
        self.channels, self.depth, self.width = channels, depth, width
        row: list[Module] = [Conv2d(channels, width, 3, padding=1, generator=generator), ReLU()]
        for _ in range(depth - 2):
            conv = Conv2d(width, width, 3, padding=1, bias=False, generator=generator)
            row += [conv, BatchNorm2d(width), ReLU()]
        self.net = Sequential(*row, Conv2d(width, channels, 3, padding=1, generator=generator))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"channels": self.channels, "depth": self.depth, "width": self.width}

    def connect(self, x: Value) -> Any:
        """x − f(x)."""
        return x - self.net(x)


def _kaiming(conv: Conv2d, generator: Generator) -> Conv2d:
    """Draw the weights as torchvision's networks do: N(0, 2 / fan_out)."""
    fan_out = conv.out_channels // conv.groups * conv.weight[0, 0].numel()
    conv.weight.normal_(0, (2 / fan_out) ** 0.5, generator=generator)
    if conv.bias is not None:
        conv.bias.zero_()
    return conv


def _conv(
    c: int, o: int, k: int, stride: int = 1, *, groups: int = 1, generator: Generator
) -> Conv2d:
    """A convolution that keeps the size, or divides it by the stride, without a bias."""
    conv = Conv2d(c, o, k, stride, k // 2, groups=groups, bias=False, generator=generator)
    return _kaiming(conv, generator)


class BasicBlock(Graph):
    """y = relu(x + f(x)) with two 3x3 convolutions, or their shortcut where the shape changes.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2015), figure 5.

    Args:
        inplanes: channels of the input.
        planes: channels of the output.
        stride: of the first convolution.
        generator: source of the initial weights.
    """

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, *, generator: Generator = None
    ) -> None:
        self.arguments = {"inplanes": inplanes, "planes": planes, "stride": stride}
        self._convolutions(inplanes, planes, stride, generator)
        self.relu = ReLU()
        self.downsample = None
        if stride != 1 or inplanes != planes * self.expansion:
            self.downsample = Sequential(
                _conv(inplanes, planes * self.expansion, 1, stride, generator=generator),
                BatchNorm2d(planes * self.expansion),
            )

    def _convolutions(self, inplanes: int, planes: int, stride: int, generator: Generator) -> None:
        self.conv1 = _conv(inplanes, planes, 3, stride, generator=generator)
        self.bn1 = BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, generator=generator)
        self.bn2 = BatchNorm2d(planes)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def body(self, x: Any) -> Any:
        """f(x)."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))

    def connect(self, x: Value) -> Any:
        """relu(f(x) + x)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.body(x) + shortcut)


class Bottleneck(BasicBlock):
    """y = relu(x + f(x)), convolutions 1x1, 3x3 (with the stride), and 1x1 to 4 times the width."""

    expansion = 4

    def _convolutions(self, inplanes: int, planes: int, stride: int, generator: Generator) -> None:
        self.conv1 = _conv(inplanes, planes, 1, generator=generator)
        self.bn1 = BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, stride, generator=generator)
        self.bn2 = BatchNorm2d(planes)
        self.conv3 = _conv(planes, 4 * planes, 1, generator=generator)
        self.bn3 = BatchNorm2d(4 * planes)

    def body(self, x: Any) -> Any:
        """f(x)."""
        y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(y))


class ResNet(Graph):
    """A residual network, (N, 3, H, W) to (N, num_classes), with the keys of torchvision's.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2015), table 1; the stride of
    a bottleneck is at its 3x3 convolution, as in torchvision.

    Args:
        block: what its four layers are made of, BasicBlock or Bottleneck.
        layers: how many blocks each has.
        num_classes: of the output.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        block: type[BasicBlock],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        generator: Generator = None,
    ) -> None:
        self.arguments = {"block": block, "layers": list(layers), "num_classes": num_classes}
        self.conv1 = _kaiming(Conv2d(3, 64, 7, 2, 3, bias=False, generator=generator), generator)
        self.bn1 = BatchNorm2d(64)
        self.relu = ReLU()
        self.maxpool = MaxPool2d(3, 2, 1)
        channels = 64
        for i, (count, planes) in enumerate(zip(layers, (64, 128, 256, 512), strict=True)):
            blocks = []
            for j in range(count):
                stride = 2 if i and not j else 1
                blocks.append(block(channels, planes, stride, generator=generator))
                channels = planes * block.expansion
            setattr(self, f"layer{i + 1}", Sequential(*blocks))
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.fc = Linear(channels, num_classes, generator=generator)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Value) -> Any:
        """The stem, four layers, the mean over the image, a linear map."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(*, num_classes: int = 1000, generator: Generator = None) -> ResNet:
    """Return ResNet-18, 11.7 million parameters; see :class:`ResNet`."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, generator=generator)


def resnet34(*, num_classes: int = 1000, generator: Generator = None) -> ResNet:
    """Return ResNet-34, 21.8 million parameters; see :class:`ResNet`."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, generator=generator)


def resnet50(*, num_classes: int = 1000, generator: Generator = None) -> ResNet:
    """Return ResNet-50, 25.6 million parameters; see :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, generator=generator)


class VGG(Graph):
    """3x3 convolutions and poolings, and three linear maps, with the keys of torchvision's.

    (N, 3, H, W), H and W at least 32, to (N, num_classes). Source: Simonyan and Zisserman, "Very
    Deep Convolutional Networks for Large-Scale Image Recognition" (2014), table 1.

    Args:
        widths: of the convolutions; 0 stands for a pooling.
        num_classes: of the output.
        dropout: between the linear maps.
        hidden: width of the linear maps.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
        num_classes: int = 1000,
        dropout: float = 0.5,
        hidden: int = 4096,
        *,
        generator: Generator = None,
    ) -> None:
        self.arguments = {"widths": tuple(widths), "num_classes": num_classes, "dropout": dropout,
                          "hidden": hidden}  # fmt: skip
        row: list[Module] = []
        channels = 3
        for width in widths:
            if width:
                conv = Conv2d(channels, width, 3, padding=1, generator=generator)
                row += [_kaiming(conv, generator), ReLU()]
                channels = width
            else:
                row.append(MaxPool2d(2, 2))
        self.features = Sequential(*row)
        self.avgpool = AdaptiveAvgPool2d((7, 7))
        maps = [
            Linear(49 * channels, hidden, generator=generator),
            Linear(hidden, hidden, generator=generator),
            Linear(hidden, num_classes, generator=generator),
        ]
        for linear in maps:
            linear.weight.normal_(0, 0.01, generator=generator)
            assert linear.bias is not None
            linear.bias.zero_()
        self.classifier = Sequential(
            maps[0], ReLU(), Dropout(dropout), maps[1], ReLU(), Dropout(dropout), maps[2]
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Value) -> Any:
        """Features, 7x7 means, linear maps."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg11(*, num_classes: int = 1000, dropout: float = 0.5, generator: Generator = None) -> VGG:
    """Return VGG-11 without batch norm, 133 million parameters; see :class:`VGG`."""
    return VGG(num_classes=num_classes, dropout=dropout, generator=generator)


class InvertedResidual(Graph):
    """Expand by a 1x1 convolution, convolve each channel alone, project; plus x where it fits.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018),
    table 1.

    Args:
        inp: channels of the input.
        oup: channels of the output.
        stride: of the depthwise convolution.
        expand_ratio: how many times as many channels inside; 1 leaves the expansion out.
        generator: source of the initial weights.
    """

    def __init__(
        self, inp: int, oup: int, stride: int, expand_ratio: int, *, generator: Generator = None
    ) -> None:
        self.arguments = {"inp": inp, "oup": oup, "stride": stride, "expand_ratio": expand_ratio}
        inside = inp * expand_ratio
        row: list[Module] = []
        if expand_ratio != 1:
            row.append(_conv_norm(inp, inside, 1, generator=generator))
        row.append(_conv_norm(inside, inside, 3, stride, groups=inside, generator=generator))
        row += [_conv(inside, oup, 1, generator=generator), BatchNorm2d(oup)]
        self.conv = Sequential(*row)
        self.adds = stride == 1 and inp == oup

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Value) -> Any:
        """x + f(x), or f(x)."""
        return x + self.conv(x) if self.adds else self.conv(x)


def _conv_norm(
    c: int, o: int, k: int, stride: int = 1, *, groups: int = 1, generator: Generator
) -> Sequential:
    conv = _conv(c, o, k, stride, groups=groups, generator=generator)
    return Sequential(conv, BatchNorm2d(o), ReLU6())


# Expansion, channels, blocks and first stride of each stretch: the paper's table 2.
_STRETCHES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
              (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


class MobileNetV2(Graph):
    """Inverted residuals, (N, 3, H, W) to (N, num_classes), with the keys of torchvision's.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018),
    table 2.

    Args:
        num_classes: of the output.
        dropout: before the linear map.
        generator: source of the initial weights.
    """

    def __init__(
        self, num_classes: int = 1000, dropout: float = 0.2, *, generator: Generator = None
    ) -> None:
        self.arguments = {"num_classes": num_classes, "dropout": dropout}
        row: list[Module] = [_conv_norm(3, 32, 3, 2, generator=generator)]
        channels = 32
        for ratio, width, count, first in _STRETCHES:
            for i in range(count):
                stride = 1 if i else first
                row.append(InvertedResidual(channels, width, stride, ratio, generator=generator))
                channels = width
        self.features = Sequential(*row, _conv_norm(channels, 1280, 1, generator=generator))
        linear = Linear(1280, num_classes, generator=generator)
        linear.weight.normal_(0, 0.01, generator=generator)
        assert linear.bias is not None
        linear.bias.zero_()
        self.classifier = Sequential(Dropout(dropout), linear)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Value) -> Any:
        """Features, their mean over the image, a linear map."""
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2(
    *, num_classes: int = 1000, dropout: float = 0.2, generator: Generator = None
) -> MobileNetV2:
    """Return MobileNetV2, 3.5 million parameters; see :class:`MobileNetV2`."""
    return MobileNetV2(num_classes, dropout, generator=generator)


class UNet(Graph):
    """A U-Net with batch norms, (N, channels, H, W) to (N, classes, H, W), H and W divisible by
    2 to the power of ``depth``.

    Source: Ronneberger et al., "U-Net" (2015), figure 1, with padded convolutions, and batch norms
    as in Çiçek et al., "3D U-Net" (2016).

    Args:
        channels: of the input.
        classes: channels of the output.
        width: channels at full resolution; twice as many at each half of it.
        depth: how often the resolution is halved.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 3,
        width: int = 32,
        depth: int = 3,
        *,
        generator: Generator = None,
    ) -> None:
        self.arguments = {
            "channels": channels, "classes": classes, "width": width, "depth": depth,
        }  # fmt: skip
        self.depth = depth
        self.pool = MaxPool2d(2)
        widths = [width * 2**i for i in range(depth + 1)]
        for i, wide in enumerate(widths):
            before = channels if i == 0 else widths[i - 1]
            setattr(self, f"down{i}", _double(before, wide, generator))
        for i in range(depth):
            up = TransposeConv2d(widths[i + 1], widths[i], 2, stride=2, generator=generator)
            setattr(self, f"up{i}", up)
            setattr(self, f"merge{i}", _double(2 * widths[i], widths[i], generator))
        self.head = Conv2d(width, classes, 1, generator=generator)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Value) -> Any:
        """Down, and up again, with the fine detail by concatenation."""
        skips = []
        for i in range(self.depth):
            x = getattr(self, f"down{i}")(x)
            skips.append(x)
            x = self.pool(x)
        x = getattr(self, f"down{self.depth}")(x)
        for i in reversed(range(self.depth)):
            x = torch.cat([skips[i], getattr(self, f"up{i}")(x)], 1)  # type: ignore[list-item, assignment]
            x = getattr(self, f"merge{i}")(x)
        return self.head(x)


def _double(c: int, o: int, generator: Generator) -> Sequential:
    row: list[Module] = []
    for before in (c, o):
        conv = Conv2d(before, o, 3, padding=1, bias=False, generator=generator)
        row += [conv, BatchNorm2d(o), ReLU()]
    return Sequential(*row)
