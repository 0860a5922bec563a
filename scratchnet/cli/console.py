"""Where the commands print."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """Standard output: in colour on a terminal, without line breaks to a file or a pipe."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=10_000, highlight=False)
