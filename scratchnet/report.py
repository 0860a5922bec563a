"""Figures: PSNR over the epochs, and sheets of pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scratchnet.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]
"""A picture as matplotlib shows it: (H, W, 3) or (H, W), uint8."""

# One quiet palette for all figures; the two colours can be told apart by colour-blind readers.
INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
OURS, NOISY = "#1668b8", "#d9822b"
DPI = 100


def psnr_curve(
    path: str | Path,
    epochs: Sequence[int],
    psnr: Sequence[float],
    *,
    noisy_psnr: float,
    title: str,
    target_is_clean: bool = True,
) -> None:
    """Plot validation PSNR over the epochs, with the noisy input's as a line, into a PNG file.

    Args:
        path: where to.
        epochs: their numbers.
        psnr: pooled validation PSNR after each, in dB.
        noisy_psnr: PSNR of the noisy input itself, in dB.
        title: what was trained on what.
        target_is_clean: False if the PSNR is against a second noisy picture; the axis says so.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.2), dpi=140, layout="constrained")
    axes = figure.subplots()
    axes.axhline(noisy_psnr, color=NOISY, linewidth=1.5, linestyle=(0, (5, 3)))
    axes.plot(
        epochs, psnr, color=OURS, linewidth=2, marker="o", markersize=4 if len(epochs) < 40 else 0
    )
    axes.annotate(
        f"noisy input {noisy_psnr:.2f} dB",
        (0.01, noisy_psnr),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        color=NOISY,
    )
    if psnr:
        axes.annotate(
            f"{psnr[-1]:.2f} dB",
            (epochs[-1], psnr[-1]),
            xytext=(0, -8),
            textcoords="offset points",
            color=OURS,
            ha="right",
            va="top",
            fontweight="bold",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.15)
    axes.set_xlabel("epoch", color=INK)
    target = "clean" if target_is_clean else "a second noisy picture"
    axes.set_ylabel(f"validation PSNR against {target} (dB)", color=INK)
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def sheet(
    path: str | Path,
    rows: Sequence[tuple[str, Sequence[Pixels], Sequence[str]]],
    *,
    title: str = "",
    cell: int = 160,
) -> None:
    """Save pictures in labelled rows, enlarged without smoothing, as a PNG file.

    Args:
        path: where to.
        rows: (name, pictures, a label under each) from top to bottom, equally many pictures in each.
        title: a line above all.
        cell: width of a picture on the sheet, in pixels.
    """
    from matplotlib.figure import Figure

    columns = max(len(pictures) for _, pictures, _ in rows)
    aspect = rows[0][1][0].shape[0] / rows[0][1][0].shape[1]
    left, gap, caption, top = 110, 8, 22, 40 if title else 8
    height = round(cell * aspect)
    total_w = left + columns * (cell + gap)
    total_h = top + len(rows) * (height + caption + gap)
    figure = Figure(figsize=(total_w / DPI, total_h / DPI), dpi=DPI)
    for row, (name, pictures, labels) in enumerate(rows):
        # Placed by hand and not by a layout engine, so that every cell is the same whole number of pixels.
        y = total_h - top - row * (height + caption + gap) - height
        figure.text(
            8 / total_w, (y + height / 2) / total_h, name, color=INK, va="center", fontsize=11
        )
        for column, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            x = left + column * (cell + gap)
            axes = figure.add_axes((x / total_w, y / total_h, cell / total_w, height / total_h))
            axes.imshow(
                picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto"
            )
            axes.axis("off")
            figure.text(
                (x + cell / 2) / total_w,
                (y - 4) / total_h,
                label,
                ha="center",
                va="top",
                color=MUTED,
                fontsize=9,
            )
    if title:
        figure.text(8 / total_w, 1 - 14 / total_h, title, color=INK, fontsize=12, va="center")
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    with atomic(path) as temporary:
        # No timestamp or version inside: the same figure is the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
