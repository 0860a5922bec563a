"""Figures: PSNR over the epochs, and sheets of images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from scratchnet.io.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]
"""An image as matplotlib shows it: (H, W, 3) or (H, W), uint8."""

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
        target_is_clean: False if the PSNR is against a second noisy image; the axis says so.
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
            f"{psnr[-1]:.2f} dB ({psnr[-1] - noisy_psnr:+.2f})",
            (epochs[-1], psnr[-1]),
            xytext=(0, 8),
            textcoords="offset points",
            color=OURS,
            ha="right",
            fontweight="bold",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.2)
    target = "clean" if target_is_clean else "a second noisy image"
    dress(axes, title, "epoch", f"validation PSNR against {target} (dB)")
    save(figure, path)


def sheet(
    path: str | Path,
    rows: Sequence[tuple[str, Sequence[Pixels], Sequence[str]]],
    *,
    title: str = "",
    cell: int = 160,
) -> None:
    """Save images in labelled rows, enlarged without smoothing, as a PNG file.

    Args:
        path: where to.
        rows: (name, images, a label under each) from top to bottom, equally many images in
            each.
        title: a line above all.
        cell: width of an image on the sheet, in pixels.
    """
    from matplotlib.figure import Figure

    columns = max(len(images) for _, images, _ in rows)
    aspect = rows[0][1][0].shape[0] / rows[0][1][0].shape[1]
    left, gap, caption, top = 124, 8, 22, 40 if title else 8
    height = round(cell * aspect)
    total_w = left + columns * (cell + gap)
    total_h = top + len(rows) * (height + caption + gap)
    figure = Figure(figsize=(total_w / DPI, total_h / DPI), dpi=DPI)
    for row, (name, images, labels) in enumerate(rows):
        # Placed by hand and not by a layout engine, so that every cell is the same whole number of
        # pixels.
        y = total_h - top - row * (height + caption + gap) - height
        figure.text(
            8 / total_w, (y + height / 2) / total_h, name, color=INK, va="center", fontsize=11
        )
        for column, (image, label) in enumerate(zip(images, labels, strict=True)):
            x = left + column * (cell + gap)
            axes = figure.add_axes((x / total_w, y / total_h, cell / total_w, height / total_h))
            axes.imshow(
                image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto"
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
        figure.text(
            8 / total_w,
            1 - 14 / total_h,
            title,
            color=INK,
            fontsize=12,
            va="center",
            parse_math=False,
        )
    save(figure, path)


def before_after(path: str | Path, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> None:
    """Save an image before and after side by side: whole, and below an enlarged detail.

    Args:
        path: the PNG file to write.
        before, after: (H, W, C) uint8 or uint16 of one shape; alpha is not shown.
    """
    first, second = _shown(before), _shown(after)
    height, width = first.shape[:2]
    side = max(1, min(height, width, 96))
    top, left = _busiest(second, side)
    detail = (slice(top, top + side), slice(left, left + side))
    panel = 640
    rows = [
        [_fitted(image, panel, smooth=max(height, width) > panel) for image in (first, second)],
        [_fitted(image[detail], panel, smooth=False) for image in (first, second)],
    ]
    margin, caption = 12, 34
    sheet_height = caption + sum(row[0].height + margin for row in rows)
    canvas = Image.new("RGB", (3 * margin + 2 * panel, sheet_height), "white")
    draw, y = ImageDraw.Draw(canvas), caption
    for column, name in enumerate(("before", "after")):
        x = margin + column * (panel + margin)
        draw.text((x, 8), name, fill=INK, font=ImageFont.load_default(18))
    for row in rows:
        for column, image in enumerate(row):
            x = margin + column * (panel + margin) + (panel - image.width) // 2
            canvas.paste(image, (x, y))
        y += row[0].height + margin
    written = BytesIO()
    canvas.save(written, format="PNG")
    write_bytes(path, written.getvalue())


def _shown(pixels: npt.NDArray[Any]) -> Pixels:
    colours = pixels[..., :1] if pixels.shape[2] <= 2 else pixels[..., :3]
    eight = (colours >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else colours
    return np.broadcast_to(eight, (*eight.shape[:2], 3))


def _fitted(image: Pixels, panel: int, *, smooth: bool) -> Image.Image:
    """The image as large as a panel holds; enlarged by whole pixels only."""
    drawn = Image.fromarray(np.ascontiguousarray(image))
    scale = min(panel / drawn.width, 1.5 * panel / drawn.height)
    if scale > 1:
        scale = int(scale)
    size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    return drawn.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def _busiest(image: Pixels, side: int) -> tuple[int, int]:
    """Where the square with the most structure lies: the one worth enlarging."""
    height, width = image.shape[:2]
    best, where = -1.0, (0, 0)
    step = max(side // 2, 1, max(height, width) // 64)
    for top in range(0, height - side + 1, step):
        for left in range(0, width - side + 1, step):
            contrast = float(image[top : top + side, left : left + side].std())
            if contrast > best:
                best, where = contrast, (top, left)
    return where


def dress(axes: Axes, title: str, x: str = "", y: str = "", *, across: str = "both") -> None:
    """Give a plot the looks of all: a title, the axes' labels, and a quiet grid.

    Args:
        axes: to dress.
        title: what is shown.
        x: what goes to the right.
        y: what goes up.
        across: the axis that the grid's lines are across from, ``"x"`` or ``"y"``.
    """
    # A title may be a path, and "$" in one begins no formula.
    axes.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(axis=across, color=GRID)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, to: str | Path | IO[bytes]) -> None:
    """Write a figure as PNG, into a file, atomically, or into a buffer.

    No timestamp or version is inside: the same figure is the same file.
    """
    if isinstance(to, str | Path):
        written = BytesIO()
        save(figure, written)
        write_bytes(to, written.getvalue())
    else:
        figure.savefig(to, format="png", metadata={"Software": None})
