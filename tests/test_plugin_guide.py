"""docs/plugins.md is followed literally, command by command, in a fresh environment."""

from __future__ import annotations

import textwrap
from pathlib import Path

import codeblocks
from freshenv import FreshEnvironment

GUIDE = Path(__file__).parent.parent / "docs" / "plugins.md"


def test_the_guide_can_be_followed(tmp_path: Path) -> None:
    environment = FreshEnvironment(tmp_path / "env")
    desk = tmp_path / "desk"
    desk.mkdir()
    printed = {}
    for block in codeblocks.blocks(GUIDE):
        if block.language == "console":
            for command in commands(block.code):
                printed[command] = environment.run(command, desk)

    assert len(printed) >= 16
    assert "swish" in printed["scratchnet info"]
    for command, text in printed.items():
        if command.startswith("pytest"):
            assert "failed" not in text
        if command.startswith("scratchnet check"):
            assert "FAILED" not in text
    assert any("Swish(beta=2.0)" in text for text in printed.values())
    assert any("torch.Size([1, 3, 32, 32])" in text for text in printed.values())

    assert (desk / "swish-run" / "model.safetensors").is_file()

    # what the guide quotes of the generated layer stands there
    (quoted,) = [b.code for b in codeblocks.blocks(GUIDE) if b.language == "python"]
    layer = (desk / "swish" / "src" / "swish" / "__init__.py").read_text()
    forward, backward = quoted.split("\n\n\n")
    assert textwrap.indent(forward, "    ") in layer
    assert textwrap.indent(backward, "    ") in layer


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
