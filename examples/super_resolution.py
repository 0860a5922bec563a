"""Photographs of twice the size, by sub-pixel convolution: `python examples/super_resolution.py`.

The network works at the small size, and PixelShuffle lays its four values a pixel side by side: Shi
et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network" (2016). It learns from photographs that scikit-image ships, and adds
its correction to bicubic interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet import Adam, Conv2d, Module, MSELoss, PixelShuffle, ReLU, Sequential, psnr
from scratchnet.data import builtin

EPOCHS, BATCH, RATE = 12, 16, 1e-3
loss = MSELoss


def data(small: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return small images (N, 3, 24, 24) in 0..1 and what is to be added to their enlargement, (N,
    3, 48, 48): to learn from, and, of other photographs, to test with.
    """
    pairs = builtin("gaussian:0", n_train=32 if small else 2000, n_val=8 if small else 200, size=48)

    def task(images: Tensor) -> tuple[Tensor, Tensor]:
        large = images.float() / 255
        x = torch.nn.functional.avg_pool2d(large, 2)
        return x, large - enlarged(x)

    return *task(pairs.noisy_a), *task(pairs.val_target)


def enlarged(x: Tensor) -> Tensor:
    """Return images of twice the size, by bicubic interpolation."""
    return torch.nn.functional.interpolate(x, scale_factor=2, mode="bicubic")


def model(generator: torch.Generator) -> Module:
    """Return the network, (N, 3, H, W) -> (N, 3, 2 H, 2 W)."""
    return Sequential(
        Conv2d(3, 32, 5, padding=2, generator=generator),
        ReLU(),
        Conv2d(32, 32, 3, padding=1, generator=generator),
        ReLU(),
        Conv2d(32, 12, 3, padding=1, generator=generator),
        PixelShuffle(2),
    )


def optimizer(params: object) -> Adam:
    """Return what changes the parameters."""
    return Adam(params, lr=RATE)


def score(output: Tensor, y: Tensor) -> float:
    """Return how much smaller the error is than bicubic interpolation's, in dB."""
    return float(psnr(output, y) - psnr(torch.zeros_like(y), y))


def main(small: bool = False) -> float:
    """Train, and return the score on the test images."""
    x, y, test_x, test_y = data(small)
    generator = torch.Generator().manual_seed(0)
    net, criterion = model(generator), loss()
    adam = optimizer(net.param())
    for epoch in range(1 if small else EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            total += float(criterion.forward(net.forward(x[batch]), y[batch])) * len(batch)
            net.zero_grad()
            net.backward_parameters(criterion.backward())
            adam.step()
        print(f"epoch {epoch + 1}: loss {total / len(x):.6f}")
    result = score(net.eval().forward(test_x), test_y)
    print(f"{result:+.2f} dB of PSNR over bicubic interpolation, on {len(test_x)} images")
    return result


if __name__ == "__main__":
    main()
