"""A small GPT that writes letter by letter: `python examples/characters_gpt.py`.

It learns from the help on the language that every Python ships. Source: Radford et al., "Language
Models are Unsupervised Multitask Learners" (2019).
"""

from __future__ import annotations

import math
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

from scratchnet import AdamW, CrossEntropyLoss, Graph, Module, models

EPOCHS, BATCH, RATE, LENGTH = 3, 16, 2e-3, 64
TEXT = "".join(topics.values())
LETTERS = sorted(set(TEXT))
loss = CrossEntropyLoss


def data(small: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return stretches of text (N, 64), as numbers of letters, and the letter that follows each of
    theirs, (N, 64): to learn from, and, of the last tenth of the text, to test with.
    """
    numbers = {letter: number for number, letter in enumerate(LETTERS)}
    text = torch.tensor([numbers[letter] for letter in TEXT[: 20_000 if small else None]])
    rows = (len(text) - 1) // LENGTH
    x, y = (text[i : i + rows * LENGTH].view(rows, LENGTH) for i in (0, 1))
    test = rows // 10
    return x[:-test], y[:-test], x[-test:], y[-test:]


class Writer(Graph):
    """A GPT whose scores of the letters stand where the loss expects them: (N, T) -> (N, V, T)."""

    def __init__(self, generator: torch.Generator) -> None:
        self.gpt = models.build(
            "gpt", vocabulary=len(LETTERS), length=LENGTH, layers=3, heads=4, width=96,
            generator=generator,
        )  # fmt: skip

    def connect(self, x: Any) -> Any:
        """Say how the layers follow each other."""
        return self.gpt(x).transpose(1, 2)


def model(generator: torch.Generator) -> Module:
    """Return the network."""
    return Writer(generator)


def optimizer(params: object) -> AdamW:
    """Return what changes the parameters."""
    return AdamW(params, lr=RATE)


def score(output: Tensor, y: Tensor) -> float:
    """Return how many bits a letter takes, of the log₂ 103 = 6.7 that it has at random."""
    return float(CrossEntropyLoss().forward(output, y)) / math.log(2)


def written(net: Module, start: str, count: int) -> str:
    """Return ``start`` and what the network goes on with."""
    generator = torch.Generator().manual_seed(0)
    text = [LETTERS.index(letter) for letter in start]
    for _ in range(count):
        scores = net.forward(torch.tensor([text[-LENGTH:]]))[0, :, -1]
        text.append(int(torch.multinomial(scores.softmax(0), 1, generator=generator)))
    return "".join(LETTERS[number] for number in text)


def main(small: bool = False) -> float:
    """Train, and return the score on the rest of the text."""
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
        print(f"epoch {epoch + 1}: loss {total / len(x):.4f}")
    result = score(net.eval().forward(test_x), test_y)
    print(f"{result:.2f} bits a letter on text that it has not seen; it writes:")
    print(written(net, "The function ", 40 if small else 200))
    return result


if __name__ == "__main__":
    main()
