"""One HTML page that needs nothing else: style inside, images as data: URIs, no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from scratchnet.io.files import write_text
from scratchnet.report.figures import GRID, INK, MUTED, OURS

_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1rem; max-width: 56rem; color: {INK}; background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid {GRID}; }}
p {{ margin: .6rem 0; }}
.lead {{ font-size: 1.1rem; border-left: 4px solid {OURS}; padding-left: .8rem; }}
figure {{ margin: 1rem 0; }}
figcaption {{ color: {MUTED}; font-size: .9rem; }}
figure img {{ display: block; width: 100%; height: auto; }}
.scroll {{ overflow-x: auto; }}
.scroll img {{ min-width: 44rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ padding: .35rem .7rem; text-align: right; border-bottom: 1px solid {GRID};
  white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
thead th {{ color: {MUTED}; font-weight: 600; }}
code {{ font-size: .9em; }}
@media (max-width: 40rem) {{
  th, td {{ padding: .3rem .45rem; font-size: .85rem; }}
  th, td:first-child {{ white-space: normal; }}
}}
""".strip()


def paragraph(text: str, *, lead: bool = False) -> str:
    """Return a paragraph of plain text; ``lead`` makes it the summary at the top."""
    return f"<p{' class=lead' if lead else ''}>{escape(text)}</p>"


def heading(text: str) -> str:
    """Return a section's heading."""
    return f"<h2>{escape(text)}</h2>"


def code(text: str) -> str:
    """Return a line of code, such as a command."""
    return f"<p><code>{escape(text)}</code></p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; where it is wider than the screen it scrolls alone, not the page."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def image(png: bytes, *, alt: str, caption: str = "", wide: bool = False) -> str:
    """Return a figure with the image inside the page.

    Args:
        png: the contents of a PNG file.
        alt: what is to be seen, for those who do not see it.
        caption: a line below.
        wide: keep it large enough to see its details, and let it scroll on narrow screens.
    """
    data = base64.b64encode(png).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    if wide:
        image = f'<div class="scroll" tabindex="0">{image}</div>'
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{image}{below}</figure>"


def write_page(path: str | Path, title: str, parts: Iterable[str]) -> None:
    """Write a page, atomically, in UTF-8.

    Args:
        path: the HTML file.
        title: of the page, in plain text.
        parts: what the functions above return, from top to bottom.

    Raises:
        ScratchnetError: if the file cannot be written.
    """
    body = "\n".join(parts)
    write_text(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_STYLE}
</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
""",
    )
