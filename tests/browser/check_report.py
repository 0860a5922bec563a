"""The comparison's page in a real browser, from disk, as wide as a phone and as a desk's screen.

Not part of the usual suite, because it needs Chromium or Chrome: `make test-browser` runs it.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from scratchnet.bench import DEFAULTS, compare, write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update",
    "--hide-scrollbars",
)  # fmt: skip

# The page in a frame as wide as a phone (a window cannot be as narrow), measured by script.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="found"></pre>
<iframe id="frame" style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe>
<script>
frame.onload = () => {{
  const page = frame.contentDocument, box = (e) => e.getBoundingClientRect();
  const texts = [...page.querySelectorAll("h1, h2, p, td, th, figcaption")];
  const width = page.documentElement.clientWidth;
  found.textContent = JSON.stringify({{
    width: width,
    needed: page.documentElement.scrollWidth,
    images: [...page.images].map((i) => ({{
      loaded: i.complete && i.naturalWidth > 0, width: box(i).width,
      scrolls: i.closest(".scroll") !== null }})),
    sizes: texts.map((e) => parseFloat(getComputedStyle(e).fontSize)),
    hidden: texts.filter((e) => e.textContent && box(e).height === 0).length,
    outside: texts.filter((e) => !e.closest(".scroll") && box(e).right > width).length,
    tables: [...page.querySelectorAll("table")].map((t) => ({{
      width: box(t).width, room: box(t.parentElement).width,
      overflow: getComputedStyle(t.parentElement).overflowX }})),
    headings: [...page.querySelectorAll("h1, h2")].map((h) => h.textContent),
  }});
}};
</script></body>"""


@dataclass(frozen=True)
class Browser:
    program: str
    profile: Path

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *FLAGS, f"--user-data-dir={self.profile}", *arguments],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    given = os.environ.get("CHROMIUM")
    found = [given] if given else [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        pytest.fail(
            "no browser: install one (Debian, Ubuntu: apt install chromium) or set CHROMIUM"
        )
    return Browser(found[0], tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    settings = DEFAULTS.replace(batch_size=8, epochs=3, n_train=24, n_val=6, size=16)
    write_report(compare(settings, tiny.pairs(), seeds=2, with_memory=False), out)
    page = out / "alone" / "report.html"  # away from the files it was made from
    page.parent.mkdir()
    return (out / "report.html").rename(page)


def measured(browser: Browser, report: Path, width: int) -> dict[str, Any]:
    page = html.escape(report.read_text(encoding="utf-8"), quote=True)
    frame = report.with_name(f"frame-{width}.html")
    frame.write_text(FRAME.format(width=width, page=page), encoding="utf-8")
    dom = browser("--virtual-time-budget=20000", "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="found">(.+?)</pre>', dom, re.DOTALL)
    assert found, "the page did not load"
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_readable_at_every_width(browser: Browser, report: Path, width: int) -> None:
    found = measured(browser, report, width)
    assert found["width"] == width
    assert found["needed"] <= width  # no scrolling sideways but inside a table or the sheet
    assert found["outside"] == 0
    assert found["hidden"] == 0
    assert min(found["sizes"]) >= 13
    assert len(found["images"]) == 5
    for image in found["images"]:
        assert image["loaded"]
        assert image["scrolls"] or (0.8 * min(width, 850) <= image["width"] <= width)
    for table in found["tables"]:
        assert table["width"] <= table["room"] or table["overflow"] == "auto"
    assert found["headings"][0] == "scratchnet and torch.nn, side by side"
    assert "Speed" in found["headings"]


def test_from_disk_it_shows_more_than_white(browser: Browser, report: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    browser(f"--screenshot={shot}", "--window-size=800,2000", report.as_uri())
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB"))
    bands = np.array_split(pixels, 10)  # from top to bottom there is something everywhere
    assert all((band < 128).any() for band in bands)
