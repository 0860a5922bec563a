"""What the studies share: a notebook of finished trainings, a progress bar, figures, tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from rich.progress import Progress, TaskID

from scratchnet.cli.console import console
from scratchnet.cli.progress import bar
from scratchnet.errors import ScratchnetError
from scratchnet.io.files import read_json, write_json
from scratchnet.report.figures import GRID, INK
from scratchnet.training.trainer import Callback, Step, Trainer

# Told apart by colour-blind readers (Okabe and Ito), and by their dashes on paper.
LOOKS: list[tuple[str, Any]] = [
    ("#1668b8", "-"),
    ("#d9822b", (0, (6, 2))),
    ("#2a8f6d", (0, (2, 1.5))),
    ("#a8488f", (0, (6, 2, 1.5, 2))),
    ("#5f6b7a", (0, (1, 1))),
]


class Notebook:
    """Results by name in a JSON file, written one by one: a study that was stopped goes on there.

    Args:
        path: the file; read if it exists.
        settings: what all results have in common.

    Raises:
        ScratchnetError: if the file holds results that were made with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.results: dict[str, Any] = {}
        if path.exists():
            content = read_json(path)
            if content.get("settings") != settings:
                raise ScratchnetError(
                    f"{path} holds results of other settings, {content.get('settings')}, not "
                    f"{settings}: name another folder with -o, or delete the file"
                )
            self.results = content["results"]

    def __setitem__(self, name: str, result: dict[str, Any]) -> None:
        self.results[name] = result
        write_json(self.path, {"settings": self.settings, "results": self.results})

    def __getitem__(self, name: str) -> Any:
        return self.results[name]

    def __contains__(self, name: str) -> bool:
        return name in self.results


class _Advance(Callback):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def on_step(self, trainer: Trainer, step: Step) -> None:
        self.progress.advance(self.task, step.images)


def carry_out(
    names: Iterable[str],
    notebook: Notebook,
    images: int,
    train: Callable[[str, Callback], dict[str, Any]],
) -> None:
    """Train what the notebook lacks, under one progress bar; a line says what each gave.

    Args:
        names: of all trainings.
        notebook: where the results are and go to.
        images: how many images each training is shown, for the bar.
        train: does the training of a name, with a callback; its result has the ``"psnr"`` after
            each epoch.
    """
    screen, names = console(), list(names)
    with bar(screen, "{task.percentage:3.0f}%") as progress:
        task = progress.add_task("", total=images * len(names))
        for i, name in enumerate(names, start=1):
            progress.update(task, description=name)
            if name not in notebook:
                notebook[name] = train(name, _Advance(progress, task))
            progress.update(task, completed=images * i)
            curve = "  ".join(f"{psnr:.2f}" for psnr in notebook[name]["psnr"])
            screen.print(f"{i}/{len(names)}  {name}: {curve} dB", markup=False, highlight=False)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left, the others to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """Give a panel its title, its axes' names and a quiet grid."""
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def guarded(main: Callable[[], None]) -> None:
    """Call ``main``; an error of the library's is one line on stderr, and an exit status of 1."""
    try:
        main()
    except ScratchnetError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what is done is kept: the same command goes on from there")
