"""The comparison as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scratchnet.compare import figures, summary
from scratchnet.compare.contestants import OURS
from scratchnet.compare.result import Comparison
from scratchnet.report import html

TITLE = "scratchnet and torch.nn, side by side"

_PANELS = {
    figures.quality: (
        "Quality",
        "How much do the curves differ, and how much do other seeds change? The bands say what is "
        "chance.",
    ),
    figures.losses: ("Training loss", "All see the same batches in the same order."),
    figures.differences: (
        "How the losses part",
        "Correct programs add in different orders, so their rounding differs, and training at a "
        "high learning rate multiplies the difference from step to step. In float32 torch.nn's own "
        "two memory layouts part in the same way; float64 starts nine digits lower.",
    ),
    figures.speed: (
        "Speed",
        "Median over all training steps; the contestants take turns on each batch.",
    ),
}

_TIME = (
    "Time: every batch is a step of each contestant, in turns within one process, and who begins "
    "rotates; a step is forward, loss, backward and update. Shown are the median step, the median "
    "epoch, and the median ratio of two steps on the same batch. Turning images into floats and "
    "validation are not in it; laying a batch out in another memory layout is."
)
_MEMORY = (
    "Memory: for each contestant a process of its own trains for a few steps. Shown is its largest "
    "resident set, interpreter and libraries included, and how much of that came with the steps: "
    "activations, gradients, optimizer state, workspaces, and code that was first used."
)
_TWO_NOISY = (
    " There are no clean images here: the PSNR is against a second noisy one, which ranks "
    "networks in the right order, but is far lower."
)


def write(path: str | Path, result: Comparison, sheet: bytes) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        result: what to show.
        sheet: the sheet of images, the contents of a PNG file.

    Raises:
        ScratchnetError: if it cannot be written.
    """
    html.write_page(path, TITLE, _parts(result, sheet))


def _parts(result: Comparison, sheet: bytes) -> Iterator[str]:
    config = result.config
    rival = summary.fastest_torch(result)
    yield html.paragraph(
        "One network, trained by scratchnet with hand-written gradients and by torch.nn with "
        "autograd, from the same weights on the same batches. A training step of "
        f"{rival} takes {result.times_faster(rival):.1f} times as long as scratchnet's here. "
        f"{summary.equality(result)}",
        lead=True,
    )
    if result.interrupted:
        yield html.paragraph("The comparison was interrupted: this is what had been done.")
    yield html.table(*summary.table(result))
    yield html.paragraph(
        f"The noisy images themselves have {result.noisy_psnr:.2f} dB. PSNR is pooled over "
        f"{result.images[1]} validation images, after {result.epochs} epochs on "
        f"{result.images[0]} pairs, as mean ± standard deviation over the seeds "
        f"({result.source}).{'' if result.data.val_is_clean else _TWO_NOISY}"
    )
    for panel, (title, caption) in _PANELS.items():
        yield html.heading(title)
        yield html.image(figures.png(panel, result), alt=str(panel.__doc__), caption=caption)
    yield html.heading("Images")
    yield html.image(
        sheet,
        alt="Validation images: noisy, denoised by each, and the target, with their PSNR",
        caption=f"Validation images and their PSNR, after training with seed {config.seed}.",
        wide=True,
    )
    yield html.heading("The same gradients")
    yield html.paragraph(summary.equality(result))
    yield html.paragraph(summary.gradients(result))
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


def _settings(result: Comparison) -> list[tuple[str, str]]:
    config, machine = result.config, result.machine
    optimizer = f"{config.optimizer}, lr {config.lr:g}, weight decay {config.weight_decay:g}, "
    for option in ("momentum", "dampening", "nesterov", "betas", "eps"):
        value = getattr(config, option)
        optimizer += f"{option} {value}, " if value is not None else ""
    return [
        ("network", " ".join([config.model, *(f"{k}={v}" for k, v in config.model_args.items())])),
        ("optimizer", f"{optimizer}{config.schedule} schedule"),
        ("batch", f"{config.batch_size} images, {result.steps_per_epoch} steps an epoch"),
        ("training dtype", config.dtype),
        ("seeds", ", ".join(str(trace.seed) for trace in result.traces[OURS])),
        ("machine", machine["platform"]),
        ("processor", f"{machine['cores']} cores, {machine['instruction_set']}"),
        ("threads", str(machine["threads"])),
        ("backend", config.backend or "auto"),
        ("scratchnet", machine["scratchnet"]),
        ("torch", machine["torch"]["running"]),
        ("Python", machine["python"]),
    ]
