"""Every code block of the documentation runs, or says why not; what it quotes stands where it says.

- ``python`` blocks run in order, in one namespace a file.
- ``console`` blocks run where `<!-- run -->` stands before them, or `<!-- run, shortened: COMMAND
  OPTIONS; ... -->`; else `<!-- not run: REASON -->` must.
- `<!-- from FILE -->` before a block says that its lines are FILE's, word for word.
- ``text`` blocks show output or a drawing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import codeblocks
import pytest
import tiny
import torch
from codeblocks import Block
from PIL import Image

from scratchnet.cli import main

ROOT = Path(__file__).parent.parent
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
FILES = sorted([*TOP, *(ROOT / "docs").rglob("*.md")])
BLOCKS = [block for file in FILES for block in codeblocks.blocks(file)]
LANGUAGES = {"python", "console", "cpp", "toml", "text"}

by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples speak of: images, noisy pairs, a home with Images."""
    clean = tiny.clean_images(6, 36, 40)
    folders = {
        "home/Pictures": clean,
        "holiday": clean[:2],
        "scans-1": tiny.noisy(clean, 1),
        "scans-2": tiny.noisy(clean, 2),
    }
    for folder, images in folders.items():
        (tmp_path / folder).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / folder / f"{i}.png")
    shutil.copy(tmp_path / "holiday" / "0.png", tmp_path / "IN.png")
    tiny.data_dir(tmp_path / "DIR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= {file.name for file in FILES}
    assert sum(block.language == "python" for block in BLOCKS) > 10


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_what_becomes_of_it(block: Block) -> None:
    assert block.language in LANGUAGES, "name a language; `text` for what is no code"
    if block.language in ("console", "cpp", "toml") and block.source is None:
        runs = block.language == "console" and block.shortened is not None
        assert runs or block.reason_not_to_run, "mark it: run, or not run and why, or from where"


@by_file
def test_what_is_quoted_is_in_the_source(file: Path) -> None:
    for block in codeblocks.blocks(file):
        if block.source is not None:
            source = _lines((ROOT / block.source).read_text(encoding="utf-8"))
            quoted = _lines(block.code)
            starts = [i for i, line in enumerate(source) if line == quoted[0]]
            assert any(source[i : i + len(quoted)] == quoted for i in starts), (
                f"{block}: {block.source} has no such lines (any more)"
            )


def _lines(text: str) -> list[str]:
    """Return the lines that are not empty, without indentation."""
    return [line.strip() for line in text.splitlines() if line.strip()]


@by_file
def test_python_blocks_run(file: Path, desk: Path) -> None:
    torch.manual_seed(0)  # the examples draw numbers without a seed
    namespace: dict[str, Any] = {"__name__": file.stem}
    for block in codeblocks.blocks(file):
        if block.language == "python" and block.source is None and not block.reason_not_to_run:
            padded = "\n" * (block.line - 1) + block.code  # so that tracebacks name the right line
            exec(compile(padded, str(file), "exec"), namespace)


@by_file
def test_console_blocks_run(
    file: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in codeblocks.blocks(file):
        if block.language == "console" and block.shortened is not None:
            for line in _commands(block.code):
                _run(line, block.shortened, f"{block}: {line}", monkeypatch, capsys)


def _commands(code: str) -> list[str]:
    """Return the commands of a block: a line each, or several that end in a backslash."""
    joined = re.sub(r"\\\n\s*", " ", code)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def _run(
    line: str,
    shortened: dict[str, list[str]],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = shlex.split(line.removeprefix("$ "), comments=True)
    with monkeypatch.context() as patched:
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            name, _, value = words.pop(0).partition("=")
            patched.setenv(name, value)
        program, *arguments = (os.path.expanduser(word) for word in words)
        if program == "scratchnet":
            arguments += shortened.get(arguments[0], [])
            patched.setattr("sys.argv", ["scratchnet", *arguments])
            with pytest.raises(SystemExit) as stop:
                main()
            assert not stop.value.code, f"{where}\n{capsys.readouterr().err}"
        else:
            assert program == "python", f"{where}: only scratchnet and python can be run"
            done = subprocess.run(
                [sys.executable, *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{where}\n{done.stderr}"


@by_file
def test_links_and_images_lead_somewhere(file: Path) -> None:
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            found = (file.parent / unquote(path)).resolve() if path else file
            assert found.exists(), f"{file.name} links to {target}"
            if anchor and found.suffix == ".md":
                assert anchor in _anchors(found), f"{file.name} links to {target}"


def _anchors(file: Path) -> set[str]:
    """Return the headings' names as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# -- the reader itself -----------------------------------------------------------------------------


def test_the_reader_understands_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Head\n"
        "<!-- run, shortened: train --epochs 1;\n evaluate --n-val 4 -->\n"
        "```console\nscratchnet train \\\n  --lr 2   # slowly\n```\n"
        "<!-- from a/b.py -->\n```python\nx\n```\n"
        "<!-- not run: it takes hours -->\n```console\nmake\n```\n"
        "<!-- run -->\n\n```python\ny\n```\n"
    )
    run, quote, hours, plain = codeblocks.blocks(page)
    assert run.shortened == {"train": ["--epochs", "1"], "evaluate": ["--n-val", "4"]}
    assert run.line == 5
    assert _commands(run.code) == ["scratchnet train  --lr 2   # slowly"]
    assert (quote.source, quote.shortened) == ("a/b.py", None)
    assert hours.reason_not_to_run == "it takes hours"
    assert plain.note == ""  # a blank line separates: the mark is not this block's
