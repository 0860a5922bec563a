"""What is left behind: text or a page, figures, and all numbers as JSON."""

from __future__ import annotations

from pathlib import Path

from scratchnet.bench import curves, figures, page
from scratchnet.bench.comparison import Comparison
from scratchnet.bench.run import Result
from scratchnet.bench.tables import text
from scratchnet.denoise.evaluation import NOISY, sample_sheet
from scratchnet.io.files import write_json, write_text
from scratchnet.report import html


def write_report(result: Result | Comparison, out: str | Path) -> None:
    """Write a report into a directory, made if it is missing, each file atomically.

    Of a benchmark ``bench.txt`` (the tables), ``bench.png`` and ``bench.json``; of a comparison
    ``report.html``, ``compare.png``, ``samples.png`` and ``compare.json``.

    Raises:
        ScratchnetError: if something cannot be written.
    """
    out = Path(out)
    if isinstance(result, Result):
        write_json(out / "bench.json", result.as_dict())
        figures.save(out / "bench.png", result)
        write_text(out / "bench.txt", text(result))
        return
    write_json(out / "compare.json", result.as_dict())
    curves.draw(out / "compare.png", result)
    labels = {name.replace(" ", "\n"): method for name, method in result.methods.items()}
    sheet = out / "samples.png"
    sample_sheet(sheet, result.data, {NOISY: lambda noisy: noisy, **labels}, columns=6)
    parts = page.parts(result, sheet.read_bytes())
    html.write_page(out / "report.html", page.TITLE, parts)
