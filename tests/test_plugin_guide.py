"""docs/plugins.md is followed literally, command by command, in fresh environments.

Its sections have nothing to do with each other: each is followed in an environment of its own, two
at a time, because each of their commands spends seconds on importing torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import codeblocks
import pytest
from freshenv import FreshEnvironment

GUIDE = Path(__file__).parent.parent / "docs" / "plugins.md"


def test_the_guide_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCHNET_BACKEND", raising=False)
    sections = list(commands_by_section())
    assert sum(map(len, sections)) >= 18
    folders = [tmp_path / str(number) for number in range(len(sections))]
    with ThreadPoolExecutor(2) as pool:
        printed = {k: v for said in pool.map(follow, sections, folders) for k, v in said.items()}

    assert "swish" in printed["scratchnet info"]
    for command, text in printed.items():
        if command.startswith("pytest"):
            assert "failed" not in text
        if "scratchnet check" in command:
            assert "checks passed" in text
            assert "FAILED" not in text
    assert any("Swish(beta=2.0)" in text for text in printed.values())
    assert any("torch.Size([1, 3, 32, 32])" in text for text in printed.values())
    assert any("fast-swish: cpp (chosen by default)" in text for text in printed.values())

    assert (folders[0] / "desk" / "swish-run" / "model.safetensors").is_file()

    # what the guide quotes of the generated layer stands there
    (quoted,) = [b.code for b in codeblocks.blocks(GUIDE) if b.language == "python"]
    layer = (folders[0] / "desk" / "swish" / "src" / "swish" / "__init__.py").read_text()
    forward, backward = quoted.split("\n\n\n")
    assert textwrap.indent(forward, "    ") in layer
    assert textwrap.indent(backward, "    ") in layer


def follow(section: list[str], folder: Path) -> dict[str, str]:
    """Run the commands of a section in a fresh environment; return what each printed."""
    environment = FreshEnvironment(folder / "env")
    desk = folder / "desk"
    desk.mkdir()
    return {command: environment.run(command, desk) for command in section}


def commands_by_section() -> Iterator[list[str]]:
    """Yield the commands of each section that has any, in order."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines, 1) if line.startswith("## ")]
    blocks = [block for block in codeblocks.blocks(GUIDE) if block.language == "console"]
    for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        found = [c for b in blocks if start < b.line < end for c in commands(b.code)]
        if found:
            yield found


def commands(code: str) -> list[str]:
    """Return the commands of a block; a quoted argument or a here-document may span lines."""
    found: list[str] = []
    for line in code.splitlines():
        last = found[-1] if found else ""
        here = '<<"END"' in last and not last.endswith("\nEND")
        if here or last.count('"') % 2:
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found
