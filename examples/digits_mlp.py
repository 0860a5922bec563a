"""Handwritten digits by a multi-layer perceptron: `python examples/digits_mlp.py`.

1,797 scans of 8x8 pixels that scikit-learn ships, three quarters of them to learn from.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from scratchnet import Adam, CrossEntropyLoss, Dropout, Flatten, Linear, Module, ReLU, Sequential

EPOCHS, BATCH, RATE = 40, 32, 1e-3
loss = CrossEntropyLoss


def data(small: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images (N, 1, 8, 8) in 0..1 and digits (N,): to learn from, and to test with."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[: 96 if small else 1347], order[1347:]
    return x[train], y[train], x[test], y[test]


def model(generator: torch.Generator) -> Module:
    """Return the network, (N, 1, 8, 8) -> (N, 10)."""
    return Sequential(
        Flatten(),
        Linear(64, 128, generator=generator),
        ReLU(),
        Dropout(0.2),
        Linear(128, 64, generator=generator),
        ReLU(),
        Linear(64, 10, generator=generator),
    )


def optimizer(params: object) -> Adam:
    """Return what changes the parameters."""
    return Adam(params, lr=RATE)


def score(output: Tensor, y: Tensor) -> float:
    """Return the share of digits that are recognised, in per cent."""
    return 100 * float((output.argmax(1) == y).float().mean())


def main(small: bool = False) -> float:
    """Train, and return the score on the test images."""
    x, y, test_x, test_y = data(small)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the dropout
    net, criterion = model(generator), loss()
    adam = optimizer(net.param())
    for epoch in range(1 if small else EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            total += float(criterion.forward(net.forward(x[batch]), y[batch])) * len(batch)
            net.zero_grad()
            net.backward_parameters(criterion.backward())
            adam.step()
        print(f"epoch {epoch + 1}: loss {total / len(x):.4f}")
    result = score(net.eval().forward(test_x), test_y)
    print(f"{result:.1f} % of {len(test_x)} digits that it has not seen are recognised")
    return result


if __name__ == "__main__":
    main()
