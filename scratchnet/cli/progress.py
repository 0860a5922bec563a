"""Progress bars."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from scratchnet.denoise.evaluation import score_noisy
from scratchnet.training.trainer import Callback, Epoch, Step, Trainer


def bar(screen: Console, *columns: str) -> Progress:
    """A progress bar with further columns, each in rich's format language.

    Args:
        screen: where the command prints. If that is a terminal the bar stays below what is printed;
            else it goes to stderr, and is silent if that is no terminal either.
        columns: what to show beside description, bar and time.
    """
    console = screen if screen.is_terminal else Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        *(TextColumn(column) for column in columns),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
    )


class TrainingProgress(Callback):
    """A bar with images/s, loss and time left, and a line for each epoch, in a ``with`` block.

    Args:
        console: where the lines go.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = bar(
            console,
            "{task.percentage:3.0f}%",
            "{task.fields[rate]} images/s",
            "loss {task.fields[loss]}",
        )
        self.task: TaskID | None = None
        self.noisy_psnr = 0.0
        self.images, self.since, self.loss = 0, 0.0, 0.0

    def __enter__(self) -> TrainingProgress:
        """Show the bar, waiting for the images."""
        self.progress.start()
        self.task = self.progress.add_task("preparing images", total=None, rate="–", loss="–")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self.progress.stop()

    def on_begin(self, trainer: Trainer) -> None:
        """Say what there is to do."""
        self.noisy_psnr = score_noisy(trainer.data).psnr
        self.console.print(
            trainer.data.source, markup=False, highlight=False, style="dim", soft_wrap=True
        )
        self.console.print(
            f"noisy input: {self.noisy_psnr:.2f} dB validation PSNR",
            highlight=False,
            soft_wrap=True,
        )
        if trainer.step:
            where = f"step {trainer.step}" if trainer.batch else f"epoch {trainer.epoch}"
            self.console.print(f"going on after {where}", highlight=False)
        n = len(trainer.data.noisy_a)
        self._update(
            total=trainer.epochs * n,
            completed=trainer.epoch * n + trainer.batch * trainer.batch_size,
        )
        self._start_clock()

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """Move the bar; the loss is smoothed, and the rate is the epoch's so far."""
        self.images += step.images
        self.loss = step.loss if self.loss == 0 else 0.95 * self.loss + 0.05 * step.loss
        rate = self.images / max(time.perf_counter() - self.since, 1e-9)
        self._update(
            advance=step.images,
            description=f"epoch {step.epoch}/{trainer.epochs}",
            rate=f"{rate:,.0f}",
            loss=f"{self.loss:.5f}",
        )

    def on_validate(self, trainer: Trainer) -> None:
        """Say so: on many validation images it takes a while."""
        self._update(description="validating")

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        """Print the epoch's line."""
        gain = epoch.val_psnr - self.noisy_psnr
        colour = "green" if gain > 0 else "red"
        width = len(str(trainer.epochs))
        self.console.print(
            f"epoch {epoch.epoch:>{width}}/{trainer.epochs}  loss {epoch.loss:.5f}  "
            f"PSNR [bold]{epoch.val_psnr:.2f} dB[/bold] ([{colour}]{gain:+.2f}[/{colour}])  "
            f"{epoch.images_per_second:,.0f} images/s  {epoch.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
        if epoch.epoch == trainer.epochs:
            self._update(description="drawing images")
        self._start_clock()

    def _start_clock(self) -> None:
        self.images, self.since = 0, time.perf_counter()

    def _update(self, **changes: object) -> None:
        assert self.task is not None, "use TrainingProgress in a with block"
        self.progress.update(self.task, **changes)  # type: ignore[arg-type]
