"""Networks by name: torchvision's keys, equal outputs, and one training step's gradients equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scratchnet
from scratchnet import models
from scratchnet.errors import ArgumentError
from scratchnet.layers.fold import fold_batch_norm
from scratchnet.models import images
from scratchnet.testing.tensors import normal

# -- the twins, as torchvision writes them ---------------------------------------------------------


class Basic(nn.Module):
    def __init__(self, c: int, o: int, stride: int, wide: bool) -> None:
        super().__init__()
        out = 4 * o if wide else o
        sizes = [(c, o, 1), (o, o, 3), (o, out, 1)] if wide else [(c, o, 3), (o, o, 3)]
        self.last = len(sizes)
        for i, (a, b, k) in enumerate(sizes, start=1):
            step = stride if i == (2 if wide else 1) else 1
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, step, k // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.downsample = None
        if stride != 1 or c != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.last + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.last else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(nn.Module):
    def __init__(self, layers: list[int], wide: bool, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        c = 64
        for i, (count, planes) in enumerate(zip(layers, (64, 128, 256, 512), strict=True)):
            blocks = []
            for j in range(count):
                blocks.append(Basic(c, planes, 2 if i and not j else 1, wide))
                c = planes * (4 if wide else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


def conv_norm(c: int, o: int, k: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c, o, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU6())


class TorchInverted(nn.Module):
    def __init__(self, c: int, o: int, stride: int, ratio: int) -> None:
        super().__init__()
        wide = c * ratio
        first = [conv_norm(c, wide, 1)] if ratio != 1 else []
        last = [nn.Conv2d(wide, o, 1, bias=False), nn.BatchNorm2d(o)]
        self.conv = nn.Sequential(*first, conv_norm(wide, wide, 3, stride, wide), *last)
        self.adds = stride == 1 and c == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class TorchMobileNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                 (6, 160, 3, 2), (6, 320, 1, 1)]  # fmt: skip
        row: list[nn.Module] = [conv_norm(3, 32, 3, 2)]
        c = 32
        for ratio, o, count, first in table:
            for i in range(count):
                row.append(TorchInverted(c, o, first if i == 0 else 1, ratio))
                c = o
        self.features = nn.Sequential(*row, conv_norm(c, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class TorchVGG(nn.Module):
    def __init__(self, widths: tuple[int, ...], classes: int, hidden: int) -> None:
        super().__init__()
        row: list[nn.Module] = []
        c = 3
        for o in widths:
            row += [nn.Conv2d(c, o, 3, padding=1), nn.ReLU()] if o else [nn.MaxPool2d(2)]
            c = o or c
        self.features = nn.Sequential(*row)
        maps = [nn.Linear(49 * c, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)]
        self.classifier = nn.Sequential(
            maps[0], nn.ReLU(), nn.Dropout(0.0), maps[1], nn.ReLU(), nn.Dropout(0.0), maps[2]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


SMALL_VGG = (8, 0, 8, 0, 12, 0)
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module]]] = {
    "resnet18": (
        lambda: models.resnet18(num_classes=5),
        lambda: TorchResNet([2, 2, 2, 2], wide=False, classes=5),
    ),
    "resnet34": (
        lambda: models.resnet34(num_classes=5),
        lambda: TorchResNet([3, 4, 6, 3], wide=False, classes=5),
    ),
    "resnet50": (
        lambda: models.resnet50(num_classes=5),
        lambda: TorchResNet([3, 4, 6, 3], wide=True, classes=5),
    ),
    "mobilenet_v2": (
        lambda: models.mobilenet_v2(num_classes=5, dropout=0.0),
        lambda: TorchMobileNet(5),
    ),
    "vgg": (
        lambda: images.VGG(SMALL_VGG, 5, 0.0, hidden=16),
        lambda: TorchVGG(SMALL_VGG, 5, 16),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_torchs_weights_load_and_a_step_is_equal(name: str) -> None:
    ours, theirs = (make() for make in PAIRS[name])
    theirs = theirs.double()
    ours.to(dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for value in (*theirs.parameters(), *theirs.buffers()):
            if value.is_floating_point() and value.dim() == 1:
                value.data.uniform_(0.5, 1.5)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    x = normal((2, 3, 40, 33), torch.float64, 1)
    inference = theirs.eval()(x).detach()
    torch.testing.assert_close(ours.eval()(x), inference, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fold_batch_norm(ours)(x), inference, rtol=1e-9, atol=1e-9)
    single = fold_batch_norm(ours.to(dtype=torch.float32))(x.float())
    torch.testing.assert_close(
        single.double(), inference, rtol=1e-4, atol=1e-5 * inference.abs().max()
    )
    ours.to(dtype=torch.float64).load_state_dict(theirs.state_dict())
    target = torch.tensor([1, 3])
    y = theirs.train()(x)
    F.cross_entropy(y, target).backward()
    logits = ours.train().forward(x)
    torch.testing.assert_close(logits, y.detach(), rtol=1e-9, atol=1e-9)
    grad = (logits.softmax(1) - F.one_hot(target, 5)) / 2
    ours.zero_grad()
    ours.backward_parameters(grad)
    wanted = {n: p.grad for n, p in theirs.named_parameters()}
    scale = max(g.abs().max() for g in wanted.values())
    given = {n: g for n, _, g in ours.named_param()}
    torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-9 * float(scale))


OWN = {
    "mlp": (lambda: models.mlp(widths=(60, 8, 3), dropout=0.1), (4, 3, 4, 5), (4, 3)),
    "dncnn": (lambda: models.build("dncnn", depth=4, width=8), (2, 3, 8, 6), (2, 3, 8, 6)),
    "unet_bn": (lambda: models.build("unet_bn", width=4, depth=2), (2, 3, 8, 12), (2, 3, 8, 12)),
}


@pytest.mark.parametrize("name", OWN)
def test_gradients_are_those_of_its_conversion(name: str) -> None:
    make, size, shape = OWN[name]
    ours = make().to(dtype=torch.float64)
    x = normal(size, torch.float64, 1)
    assert tuple(ours.forward(x).shape) == shape
    if name == "mlp":
        ours.eval()
        assert len(fold_batch_norm(ours)) == 4
        return
    theirs = scratchnet.to_torch(ours)
    leaf = x.clone().requires_grad_()
    y = theirs(leaf)
    grad = normal(shape, torch.float64, 2)
    y.backward(grad)
    ours.zero_grad()
    torch.testing.assert_close(ours.forward(x), y.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.backward(grad), leaf.grad, rtol=1e-9, atol=1e-9)
    plain = ours.eval()(x)
    torch.testing.assert_close(fold_batch_norm(ours)(x), plain, rtol=1e-9, atol=1e-9)
    assert not any("running_mean" in key for key in fold_batch_norm(ours).state_dict())


def test_numbers_of_parameters_are_the_papers() -> None:
    counts = {"resnet18": 11_689_512, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872}
    for name, count in counts.items():
        assert sum(p.numel() for p in models.build(name).parameters()) == count


def test_what_they_refuse() -> None:
    with pytest.raises(ArgumentError, match="at least two widths"):
        models.mlp(widths=(3,))
    with pytest.raises(ArgumentError, match="at least 3 convolutions"):
        models.build("dncnn", depth=2)
