"""Where the commands print."""

from __future__ import annotations

from typing import Any

from rich.console import Console


class _Console(Console):
    """One that no name of a file can make obey: what terminals take for commands is shown."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, with texts made printable."""
        super().print(*(printable(x) if isinstance(x, str) else x for x in objects), **options)


def console() -> Console:
    """Standard output: in colour on a terminal, without line breaks to a file or a pipe."""
    screen = _Console()
    return screen if screen.is_terminal else _Console(width=10_000, highlight=False)


def printable(text: str) -> str:
    """The text with escape codes, and bytes of a name that are no text, written out."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
