"""Where the commands print."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """Standard output, in colour where it is a terminal; not wrapped where it is a file or a pipe."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=10_000, highlight=False)
