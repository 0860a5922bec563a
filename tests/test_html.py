"""The pages that reports are: complete in themselves, well formed, and escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
from page import read_page

from scratchnet.errors import ScratchnetError
from scratchnet.report import html

PNG = bytes.fromhex(  # one grey pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
NASTY = 'a <b> & "c" </table><script>alert(1)</script>'


def test_whatever_the_text_the_page_stays_whole(tmp_path: Path) -> None:
    parts = [
        html.paragraph(NASTY, lead=True),
        html.heading(NASTY),
        html.code(NASTY),
        html.table([NASTY, ""], [[NASTY, "1"], ["2", NASTY]]),
        html.image(PNG, alt=NASTY, caption=NASTY),
        html.image(PNG, alt="x", wide=True),
    ]
    html.write_page(tmp_path / "p.html", NASTY, parts)
    page = read_page(tmp_path / "p.html")
    assert "script" not in page.tags
    assert page.text.count(NASTY) == 9  # the title twice, and once for each text above
    assert [image["alt"] for image in page.shown] == [NASTY, "x"]
    assert page.table_rows == [[NASTY, ""], [NASTY, "1"], ["2", NASTY]]


def test_the_image_in_the_page_is_the_one_given(tmp_path: Path) -> None:
    html.write_page(tmp_path / "p.html", "t", [html.image(PNG, alt="a pixel")])
    assert read_page(tmp_path / "p.html").images() == [PNG]


def test_made_for_phones_and_for_no_network(tmp_path: Path) -> None:
    html.write_page(tmp_path / "p.html", "t", [])
    source = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert source.startswith("<!DOCTYPE html>\n")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in source
    assert '<meta charset="utf-8">' in source
    assert "http" not in source
    assert "url(" not in source


def test_where_a_page_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScratchnetError, match="cannot write"):
        html.write_page(tmp_path / "file" / "p.html", "t", [])
