"""Draws the figures of the walk: `python docs/walk/figures.py` writes them to docs/walk/images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch.nn.functional import fold, unfold

from scratchnet.report.figures import GRID, INK, MUTED, NOISY, OURS

OUT = Path(__file__).parent / "images"
GREEN, PURPLE = "#2a8f6d", "#a8488f"


def save(figure: Figure, name: str) -> None:
    OUT.mkdir(exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=110, metadata={"Software": None})


def blank(axes: Axes, width: float, height: float) -> None:
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.axis("off")


def grid(
    axes: Axes,
    values: np.ndarray,
    x: float,
    y: float,
    cell: float = 1.0,
    *,
    text: bool = True,
    colours: np.ndarray | None = None,
    size: float = 9,
) -> None:
    """Draw a matrix of numbers, its upper left corner at (x, y)."""
    for (row, column), value in np.ndenumerate(values):
        face = "white" if colours is None else colours[row, column]
        left, top = x + column * cell, y - row * cell
        axes.add_patch(
            Rectangle(
                (left, top - cell), cell, cell, facecolor=face, edgecolor=MUTED, linewidth=0.8
            )
        )
        if text and value != "":
            centre = left + cell / 2, top - cell / 2
            axes.text(*centre, f"{value}", ha="center", va="center", fontsize=size, color=INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=13,
            color=colour,
            linewidth=1.6,
            shrinkA=0,
            shrinkB=0,
        )
    )


def chain() -> None:
    """A network as a chain: values to the right, gradients to the left."""
    figure = Figure(figsize=(9.2, 2.5), layout="constrained")
    axes = figure.subplots()
    blank(axes, 23, 6)
    names = ["Conv2d", "ReLU", "Upsampling", "Sigmoid", "MSE"]
    values = ["x", "y₁", "y₂", "y₃", "ŷ", "L"]
    for i, name in enumerate(names):
        left = 1.4 + i * 4.3
        axes.add_patch(
            FancyBboxPatch(
                (left, 2),
                2.9,
                2,
                boxstyle="round,pad=0.02,rounding_size=0.25",
                facecolor="#eef4fb",
                edgecolor=OURS,
            )
        )
        axes.text(left + 1.45, 3, name, ha="center", va="center", fontsize=11, color=INK)
    for i, value in enumerate(values):
        left, right = (0.1 if i == 0 else 4.35 + (i - 1) * 4.3), 1.35 + i * 4.3
        right = min(right, 22.9)
        arrow(axes, (left, 3.55), (right, 3.55), INK)
        arrow(axes, (right, 2.45), (left, 2.45), NOISY)
        middle = (left + right) / 2
        axes.text(middle, 4.2, value, ha="center", fontsize=12, color=INK)
        gradient = "1" if value == "L" else f"∂L/∂{value}"
        axes.text(middle, 1.2, gradient, ha="center", fontsize=10, color=NOISY)
    axes.text(0.1, 5.4, "forward", color=INK, fontsize=11, fontweight="bold")
    axes.text(3.4, 5.4, "backward", color=NOISY, fontsize=11, fontweight="bold")
    save(figure, "chain")


def columns() -> None:
    """Unfold: each receptive field of a 4x4 image becomes a column of 9 numbers."""
    image = torch.arange(16.0).view(1, 1, 4, 4)
    matrix = unfold(image, 3)[0].int().numpy()  # (9, 4)
    figure = Figure(figsize=(9.2, 4.3), layout="constrained")
    axes = figure.subplots()
    blank(axes, 23.5, 11)
    shades = ["#cfe2f6", "#fbe3c8", "#d3eee1", "#f0d9ea"]
    numbers = image[0, 0].int().numpy()
    for i in range(4):
        row, column = divmod(i, 2)
        x, y = 0.3 + column * 4.9, 9.6 - row * 4.9
        face = np.full((4, 4), "white", dtype=object)
        face[row : row + 3, column : column + 3] = shades[i]
        grid(axes, numbers, x, y, 1.0, colours=face)
    axes.text(0.3, 10.2, "x: where the kernel is applied", fontsize=11, color=INK)
    grid(
        axes, np.array([[f"w{i}" for i in range(9)]]), 10.9, 6.1, 0.8, size=8,
        colours=np.full((1, 9), "#eef4fb", dtype=object),
    )  # fmt: skip
    axes.text(10.9, 6.6, "W: a kernel as a row", fontsize=11, color=INK)
    axes.text(18.4, 5.55, "·", fontsize=20, color=INK, ha="center")
    face = np.tile(np.array(shades, dtype=object), (9, 1))
    grid(axes, matrix, 19.0, 9.6, 1.0, colours=face)
    axes.text(19.0, 10.2, "columns(x)", fontsize=11, color=INK)
    axes.text(10.9, 4.3, "y = W · columns(x) + b", fontsize=13, color=OURS)
    axes.text(10.9, 3.4, "four places, four products", fontsize=10, color=MUTED)
    save(figure, "columns")


def overlaps() -> None:
    """Fold adds where receptive fields overlap: how often each pixel is read, for three strides."""
    figure = Figure(figsize=(9.2, 3.3), layout="constrained")
    cases = [(3, 1, 0), (3, 1, 1), (3, 2, 1)]
    for axes, (kernel, stride, padding) in zip(figure.subplots(1, 3), cases, strict=True):
        ones = torch.ones(1, 1, 7, 7)
        read = unfold(ones, kernel, padding=padding, stride=stride)
        count = fold(torch.ones_like(read), (7, 7), kernel, padding=padding, stride=stride)[0, 0]
        axes.imshow(count, cmap="Blues", vmin=0, vmax=20)
        for (row, column), value in np.ndenumerate(count.int().numpy()):
            axes.text(column, row, str(value), ha="center", va="center", color=INK, fontsize=10)
        axes.set_title(f"stride {stride}, padding {padding}", fontsize=11, color=INK)
        axes.axis("off")
    save(figure, "overlaps")


def upsampling() -> None:
    """Output = ((Input · A)ᵀ · B)ᵀ, with the matrices of a 2x3 image."""
    image = np.array([[1, 2, 3], [4, 5, 6]])
    a = np.eye(3, dtype=int).repeat(2, axis=1)
    b = np.eye(2, dtype=int).repeat(2, axis=1)
    wide = image @ a
    tall = (wide.T @ b).T
    palette = np.array(
        ["", "#cfe2f6", "#fbe3c8", "#d3eee1", "#f0d9ea", "#fff3b8", "#dcdff5"], dtype=object
    )
    figure = Figure(figsize=(9.2, 3.2), layout="constrained")
    axes = figure.subplots()
    blank(axes, 26, 8.6)

    def matrix(values: np.ndarray, x: float, y: float, title: str) -> None:
        grid(axes, values, x, y, 0.9, colours=palette[values])
        axes.text(x, y + 0.35, title, fontsize=11, color=INK)

    def selector(values: np.ndarray, x: float, y: float, title: str) -> None:
        face = np.where(values == 1, MUTED, "white").astype(object)
        grid(axes, np.where(values == 1, "1", ""), x, y, 0.9, colours=face)
        axes.text(x, y + 0.35, title, fontsize=11, color=INK)

    matrix(image, 0.3, 6.0, "Input")
    axes.text(3.5, 5.0, "·", fontsize=18, color=INK)
    selector(a, 4.2, 6.5, "A repeats columns")
    axes.text(10.0, 5.0, "=", fontsize=14, color=INK)
    matrix(wide, 10.9, 6.0, "Input · A")
    arrow(axes, (16.7, 5.1), (19.6, 5.1), OURS)
    axes.text(18.1, 5.5, "( · )ᵀ · B, ( · )ᵀ", ha="center", fontsize=10, color=OURS)
    selector(b, 16.4, 3.6, "B repeats rows")
    matrix(tall, 20.3, 6.9, "Output")
    axes.text(
        0.3, 1.2, "backward: the gradients of one colour are summed", fontsize=11, color=NOISY
    )
    save(figure, "upsampling")


def activations() -> None:
    """Two activations and their derivatives."""
    x = np.linspace(-6, 6, 400)
    sigma = 1 / (1 + np.exp(-x))
    figure = Figure(figsize=(9.2, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, sigma, color=OURS, linewidth=2, label="σ(x)")
    left.plot(x, sigma * (1 - sigma), color=NOISY, linewidth=2, label="σ'(x) = σ(x)·(1 − σ(x)) ≤ ¼")
    right.plot(x, np.maximum(x, 0), color=OURS, linewidth=2, label="max(0, x)")
    right.plot(x, x > 0, color=NOISY, linewidth=2, label="1 where x > 0, else 0")
    for axes, title in ((left, "Sigmoid"), (right, "ReLU")):
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=10)
    save(figure, "activations")


def tile() -> None:
    """What the innermost loop keeps in registers: pixels x vectors of out-channels."""
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    axes = figure.subplots()
    blank(axes, 24, 10)
    pixels, lanes, vectors = 6, 4, 2
    axes.text(0.3, 9.4, "6 pixels of x,\none in-channel each", fontsize=10, color=INK, va="top")
    grid(
        axes, np.array([[f"x{i}"] for i in range(pixels)]), 2.2, 7.0, 1.0,
        colours=np.full((pixels, 1), "#cfe2f6", dtype=object),
    )  # fmt: skip
    names = np.array([[f"w{i}" for i in range(lanes * vectors)]])
    axes.text(7.0, 9.4, "a row of packed weights: 2 vectors", fontsize=10, color=INK)
    for v in range(vectors):
        grid(
            axes, names[:, v * lanes : (v + 1) * lanes], 7.0 + v * 4.4, 9.0, 1.0, size=8,
            colours=np.full((1, lanes), "#fbe3c8", dtype=object),
        )  # fmt: skip
        grid(
            axes, np.full((pixels, lanes), ""), 7.0 + v * 4.4, 7.0, 1.0,
            colours=np.full((pixels, lanes), "#d3eee1", dtype=object),
        )  # fmt: skip
    axes.text(
        7.0, 0.2, "sum[pixel][vector]: in registers from the first tap to the last", fontsize=10,
        color=GREEN,
    )  # fmt: skip
    arrow(axes, (3.5, 4.0), (6.7, 4.0), INK)
    arrow(axes, (11.2, 7.9), (11.2, 7.15), INK)
    axes.text(16.6, 6.4, "for every tap and in-channel:", fontsize=10, color=INK)
    axes.text(16.6, 5.2, "load 2 vectors of w", fontsize=10, color=NOISY)
    axes.text(16.6, 4.2, "broadcast 6 values of x", fontsize=10, color=OURS)
    axes.text(16.6, 3.2, "12 multiply-adds", fontsize=10, color=GREEN)
    save(figure, "tile")


def taps() -> None:
    """A 3x3 convolution as nine shifted images, and what a border leaves out."""
    figure = Figure(figsize=(9.2, 3.2), layout="constrained")
    axes = figure.subplots()
    blank(axes, 24, 8.2)
    for k, (row, column, title) in enumerate(
        [(0, 0, "tap (0, 0)"), (1, 1, "tap (1, 1)"), (2, 1, "tap (2, 1)")]
    ):
        x, y = 1.6 + k * 8, 6.6
        face = np.full((5, 5), "white", dtype=object)
        top, left = max(row - 1, 0), max(column - 1, 0)
        bottom, right = min(5 + row - 1, 5), min(5 + column - 1, 5)
        face[top:bottom, left:right] = "#cfe2f6"
        grid(axes, np.full((5, 5), ""), x, y, 1.0, colours=face)
        # where the window of this tap lies: shifted against the image by one pixel or none
        axes.add_patch(
            Rectangle(
                (x + column - 1, y - 5 - (row - 1)), 5, 5, fill=False, edgecolor=NOISY, linewidth=2
            )
        )
        axes.text(x, 7.8, title, fontsize=11, color=INK)
    axes.text(
        0.5, 0.1, "orange: the pixels y needs from this tap; blue: those that exist. The rest is "
        "zero padding, and never computed.", fontsize=10, color=MUTED,
    )  # fmt: skip
    save(figure, "taps")


def winograd() -> None:
    """Two tiles of an image, and one of them on its way through the 16 points."""
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    axes = figure.subplots()
    blank(axes, 30, 11)
    face = np.full((6, 8), "white", dtype=object)
    face[:4, :4] = "#cfe2f6"
    grid(axes, np.full((6, 8), ""), 0.4, 9.2, 0.9, colours=face)
    axes.add_patch(
        Rectangle((0.4 + 1.8, 9.2 - 3.6), 3.6, 3.6, fill=False, edgecolor=NOISY, linewidth=2)
    )
    axes.text(0.4, 9.7, "pixels: tiles of 4x4, 2 apart", fontsize=10, color=INK)
    arrow(axes, (8.0, 7.4), (10.8, 7.4), OURS)
    axes.text(9.4, 7.9, "Bᵀ d B", ha="center", fontsize=11, color=OURS)
    shades = np.array(["#cfe2f6", "#fbe3c8", "#d3eee1", "#f0d9ea"], dtype=object)
    points = np.array([[f"{row}{column}" for column in range(4)] for row in range(4)])
    colours = np.tile(shades, (4, 1))
    grid(axes, points, 11.2, 9.2, 0.9, size=8, colours=colours)
    axes.text(11.2, 9.7, "16 points", fontsize=10, color=INK)
    arrow(axes, (15.2, 7.4), (18.0, 7.4), OURS)
    axes.text(16.6, 7.9, "· G g Gᵀ", ha="center", fontsize=11, color=OURS)
    grid(axes, points, 18.4, 9.2, 0.9, size=8, colours=colours)
    axes.text(18.4, 9.7, "16 products", fontsize=10, color=INK)
    arrow(axes, (22.4, 7.4), (25.2, 7.4), OURS)
    axes.text(23.8, 7.9, "Aᵀ m A", ha="center", fontsize=11, color=OURS)
    grid(
        axes, np.full((2, 2), ""), 25.8, 8.3, 0.9, colours=np.full((2, 2), "#cfe2f6", dtype=object)
    )
    axes.text(25.8, 9.7, "2x2 results", fontsize=10, color=INK)
    axes.text(11.2, 3.6, "For each point, over all channels and a block of tiles:", fontsize=10)
    axes.text(11.2, 2.5, "tiles x C   ·   C x O   =   tiles x O", fontsize=11, color=GREEN)
    axes.text(11.2, 1.4, "a matrix product, whose sums stay in registers", fontsize=10, color=MUTED)
    save(figure, "winograd")


if __name__ == "__main__":
    for draw in (chain, columns, overlaps, upsampling, activations, taps, tile, winograd):
        draw()
