"""What a comparison leaves behind: a JSON file, a figure, a sheet of images, and a page."""

from __future__ import annotations

from pathlib import Path

from scratchnet.compare import figures, page
from scratchnet.compare.result import Comparison
from scratchnet.denoise.evaluation import NOISY, sample_sheet
from scratchnet.io.files import write_json

PAGE, FIGURE, SHEET, NUMBERS = "report.html", "compare.png", "samples.png", "compare.json"


def write_report(result: Comparison, out: str | Path) -> None:
    """Write ``report.html`` and its parts into a directory, each file atomically.

    Args:
        result: of the comparison.
        out: the directory; made if it is missing.

    Raises:
        ScratchnetError: if something cannot be written.
    """
    out = Path(out)
    write_json(out / NUMBERS, result.as_dict())
    figures.save(out / FIGURE, result)
    labels = {name.replace(" ", "\n"): method for name, method in result.methods.items()}
    methods = {NOISY: lambda noisy: noisy, **labels}
    sample_sheet(out / SHEET, result.data, methods, columns=6)
    page.write(out / PAGE, result, (out / SHEET).read_bytes())
