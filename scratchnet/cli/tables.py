"""Tables of figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without lines, its first column to the left, the others to the right."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(head):
        made.add_column(escape(heading), justify="right" if i else "left")
    for row in rows:
        made.add_row(*map(escape, row))
    return made
