"""What a benchmark leaves behind: the tables as text, a figure, and all times as JSON."""

from __future__ import annotations

from pathlib import Path

from scratchnet.bench import figures
from scratchnet.bench.result import Result
from scratchnet.bench.tables import text
from scratchnet.io.files import write_json, write_text

TEXT, FIGURE, NUMBERS = "bench.txt", "bench.png", "bench.json"


def write_report(result: Result, out: str | Path) -> None:
    """Write the text, the figure and the numbers into a directory, each file atomically.

    Args:
        result: of the benchmark.
        out: the directory; made if it is missing.

    Raises:
        ScratchnetError: if something cannot be written.
    """
    out = Path(out)
    write_json(out / NUMBERS, result.as_dict())
    figures.save(out / FIGURE, result)
    write_text(out / TEXT, text(result))
