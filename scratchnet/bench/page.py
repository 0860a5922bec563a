"""The comparison as one self-contained page."""

from __future__ import annotations

import io
from collections.abc import Iterator

from scratchnet.bench import curves
from scratchnet.bench.comparison import Comparison
from scratchnet.bench.contest import OURS
from scratchnet.bench.machine import lines
from scratchnet.report import html

TITLE = "scratchnet and torch.nn, side by side"

_TIME = (
    "Time: every batch is a step of each contestant, in turns within one process, and who begins "
    "rotates; a step is forward, loss, backward and update. Shown are the median step, the median "
    "epoch, and the median ratio of two steps on the same batch. Turning images into floats and "
    "validation are not in it; laying a batch out in another memory layout is."
)
_MEMORY = (
    "Memory: for each contestant a process of its own trains for a few steps, after some on a "
    "single image that load all code. Shown is its largest resident set, interpreter and libraries "
    "included, and how much of that came with the steps: activations, gradients, optimizer state, "
    "workspaces."
)
_TWO_NOISY = (
    " There are no clean images here: the PSNR is against a second noisy one, which ranks "
    "networks in the right order, but is far lower."
)


def parts(result: Comparison, sheet: bytes) -> Iterator[str]:
    """Yield the page from top to bottom; ``sheet`` is a PNG file's contents, some images."""
    config, data = result.config, result.data
    rival = result.fastest_torch
    yield html.paragraph(
        "One network, trained by scratchnet with hand-written gradients and by torch.nn with "
        "autograd, from the same weights on the same batches. A training step of "
        f"{rival} takes {result.times_faster(rival):.1f} times as long as scratchnet's here. "
        f"{result.equality()}",
        lead=True,
    )
    if result.interrupted:
        yield html.paragraph("The comparison was interrupted: this is what had been done.")
    yield html.table(*result.table())
    yield html.paragraph(
        f"The noisy images themselves have {result.noisy_psnr:.2f} dB. PSNR is pooled over "
        f"{len(data.val_noisy)} validation images, after {result.epochs} epochs on "
        f"{len(data.noisy_a)} pairs, as mean ± standard deviation over the seeds "
        f"({data.source}).{'' if data.val_is_clean else _TWO_NOISY}"
    )
    for panel, (title, caption) in curves.PANELS.items():
        yield html.heading(title)
        curves.draw(png := io.BytesIO(), result, [panel])
        yield html.image(png.getvalue(), alt=str(panel.__doc__), caption=caption)
    yield html.heading("Images")
    yield html.image(
        sheet,
        alt="Validation images: noisy, denoised by each, and the target, with their PSNR",
        caption=f"Validation images and their PSNR, after training with seed {config.seed}.",
        wide=True,
    )
    yield html.heading("The same gradients")
    yield html.paragraph(result.equality())
    yield html.paragraph(result.exactness())
    yield html.table(
        ("parameter", "largest gradient", *result.names),
        [
            (row.name, f"{row.largest:.2e}", *(f"{row.errors[n]:.1e}" for n in result.names))
            for row in result.gradients
        ],
    )
    yield html.heading("How this was measured")
    yield html.paragraph(_TIME)
    if result.memory:
        yield html.paragraph(_MEMORY)
    yield html.table(("", "this run"), _settings(result))


def _settings(result: Comparison) -> Iterator[tuple[str, str]]:
    seeds = ", ".join(str(trace.seed) for trace in result.traces[OURS])
    settings = {**result.config.as_dict(), "threads": result.machine["threads"], "seed": seeds}
    for name, value in settings.items():
        if value not in (None, {}):
            yield name.replace("_", " "), str(value)
    yield from (("machine", line) for line in lines(result.machine))
