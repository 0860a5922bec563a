"""Networks as people write them: from_torch takes them, to_torch gives them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.tensors import normal


class ResNet(nn.Module):
    """Basic blocks with a shortcut, as torchvision writes them: sums in place, flatten."""

    class Block(nn.Module):
        def __init__(self, c: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c, o, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(o)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(o)
            self.downsample = None
            if stride != 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(c, o, 1, stride, bias=False), nn.BatchNorm2d(o)
                )

        def forward(self, x: Tensor) -> Tensor:
            identity = x
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu(out)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(self.Block(8, 8, 1), self.Block(8, 12, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.fc(torch.flatten(self.avgpool(self.layer1(x)), 1))


class DnCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(2):
            layers += [
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
            ]
        self.net = nn.Sequential(*layers, nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.net(x)


class UNet(nn.Module):
    """As in most repositories: double convolutions, padding to the skip's size, torch.cat."""

    class Double(nn.Module):
        def __init__(self, c: int, o: int) -> None:
            super().__init__()
            self.double_conv = nn.Sequential(
                nn.Conv2d(c, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.double_conv(x)

    def __init__(self) -> None:
        super().__init__()
        self.inc, self.down = self.Double(3, 6), self.Double(6, 12)
        self.up = nn.ConvTranspose2d(12, 6, kernel_size=2, stride=2)
        self.last = self.Double(12, 6)
        self.outc = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.inc(x)
        deep = self.up(self.down(F.max_pool2d(skip, 2)))
        down = skip.size()[2] - deep.size()[2]
        across = skip.size()[3] - deep.size()[3]
        pads = [across // 2, across - across // 2, down // 2, down - down // 2]
        return self.outc(self.last(torch.cat([skip, F.pad(deep, pads)], dim=1)))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(60, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        x = self.dropout(F.relu(self.fc1(x)))
        x = F.dropout(torch.tanh(self.fc2(x)), 0.0, training=self.training)
        return F.log_softmax(self.fc3(x), dim=1)


class Inverted(nn.Module):
    """MobileNetV2's block: expand, depthwise, project, and a sum where shapes allow."""

    class Block(nn.Module):
        def __init__(self, c: int, o: int, stride: int) -> None:
            super().__init__()
            self.use_res_connect = stride == 1 and c == o
            self.conv = nn.Sequential(
                nn.Sequential(
                    nn.Conv2d(c, 2 * c, 1, bias=False), nn.BatchNorm2d(2 * c), nn.ReLU6(True)
                ),
                nn.Sequential(
                    nn.Conv2d(2 * c, 2 * c, 3, stride, 1, groups=2 * c, bias=False),
                    nn.BatchNorm2d(2 * c),
                    nn.ReLU6(inplace=True),
                ),
                nn.Conv2d(2 * c, o, 1, bias=False),
                nn.BatchNorm2d(o),
            )

        def forward(self, x: Tensor) -> Tensor:
            if self.use_res_connect:
                return x + self.conv(x)
            return self.conv(x)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), self.Block(6, 6, 1), self.Block(6, 8, 2)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean([2, 3]))


class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(32, 16), nn.ReLU(True), nn.Dropout(0.0), nn.Linear(16, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.conv(x))
        scale = F.adaptive_avg_pool2d(x, 1)
        scale = torch.sigmoid(self.fc2(F.silu(self.fc1(scale))))
        return F.hardswish(scale * x).mean(dim=(2, 3))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(6, 8, 3, 2, 1)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1),
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        return torch.sigmoid(self.decoder(z)), z


MODELS: dict[Callable[[], nn.Module], Tensor] = {
    ResNet: normal((2, 3, 16, 20), torch.float64, 1),
    DnCNN: normal((2, 3, 6, 5), torch.float64, 1),
    UNet: normal((2, 3, 7, 10), torch.float64, 1),
    MLP: normal((3, 3, 4, 5), torch.float64, 1),
    Inverted: normal((2, 3, 8, 10), torch.float64, 1),
    VGG: normal((2, 3, 8, 10), torch.float64, 1),
    SqueezeExcite: normal((2, 3, 6, 5), torch.float64, 1),
    Autoencoder: normal((2, 3, 8, 12), torch.float64, 1),
}


def model(kind: Callable[[], nn.Module]) -> nn.Module:
    """One with statistics that are not those of the start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind().double()
        for buffer in made.buffers():
            if buffer.is_floating_point() and buffer.dim() == 1:
                buffer.uniform_(0.5, 2)
    return made


@pytest.mark.parametrize("kind", MODELS)
def test_training_step(kind: Callable[[], nn.Module]) -> None:
    theirs = model(kind)
    ours = from_torch(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = MODELS[kind]
    leaf = x.clone().requires_grad_(x.is_floating_point())
    expected: Any = theirs(leaf)
    several = expected if isinstance(expected, tuple) else (expected,)
    grads = [normal(y.shape, y.dtype, 5 + i) for i, y in enumerate(several)]
    torch.autograd.backward(several, grads)
    y = ours.forward(x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    grad_x = ours.backward(*grads)
    if x.is_floating_point():
        torch.testing.assert_close(grad_x, leaf.grad, rtol=1e-9, atol=1e-9)
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    given = {name: grad for name, _, grad in ours.named_param()}
    torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.state_dict(), dict(theirs.state_dict()))  # statistics, too


@pytest.mark.parametrize("kind", MODELS)
def test_inference_is_folded(kind: Callable[[], nn.Module]) -> None:
    theirs = model(kind).eval()
    ours = from_torch(theirs)
    assert "BatchNorm" not in repr(ours)
    assert "Dropout" not in repr(ours)
    assert not any(module.training for _, module in ours.named_modules())
    torch.testing.assert_close(ours(MODELS[kind]), theirs(MODELS[kind]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_back_to_torch(kind: Callable[[], nn.Module]) -> None:
    theirs = model(kind)
    back = to_torch(from_torch(theirs))
    assert back.state_dict().keys() == theirs.state_dict().keys()
    assert dict(back.named_parameters()).keys() == dict(theirs.named_parameters()).keys()
    torch.testing.assert_close(back(MODELS[kind]), theirs(MODELS[kind]), rtol=1e-9, atol=1e-9)
