"""Reads the code blocks of a Markdown file, and what a comment before each says of running it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```\s*([\w+-]*)\s*$")
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        file: the Markdown file.
        line: of the first line of code, from 1.
        language: what follows the opening fence; "" if nothing does.
        code: what lies between the fences.
        note: the text of an HTML comment that stands directly before; "" if there is none.
    """

    file: Path
    line: int
    language: str
    code: str
    note: str

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"

    @property
    def reason_not_to_run(self) -> str | None:
        """What `<!-- not run: REASON -->` gives as the reason."""
        found = re.fullmatch(r"not run:\s*(\S.*)", self.note, re.DOTALL)
        return found[1] if found else None

    @property
    def source(self) -> str | None:
        """The file that `<!-- from FILE -->` says these lines stand in."""
        found = re.fullmatch(r"from (\S+)", self.note)
        return found[1] if found else None

    @property
    def shortened(self) -> dict[str, list[str]] | None:
        """Options to add to a command while testing, or None if the block is not marked to be run.

        `<!-- run -->` adds none; `<!-- run, shortened: train --epochs 1; evaluate --n-val 4 -->`
        adds those to `scratchnet train` and `scratchnet evaluate`.
        """
        found = re.fullmatch(r"run(?:, shortened: (.+))?", self.note, re.DOTALL)
        if not found:
            return None
        words = [part.split() for part in (found[1] or "").split(";")]
        return {command: options for command, *options in filter(None, words)}


@dataclass
class _Reader:
    file: Path
    blocks: list[Block] = field(default_factory=list)

    def read(self) -> list[Block]:
        lines = self.file.read_text(encoding="utf-8").splitlines()
        opened: tuple[int, str] | None = None
        for number, line in enumerate(lines):
            fence = FENCE.match(line)
            if opened is None and fence:
                opened = number, fence[1]
            elif opened is not None and line.strip() == "```":
                start, language = opened
                code = "\n".join(lines[start + 1 : number])
                note = _note_before(lines, start)
                self.blocks.append(Block(self.file, start + 2, language, code, note))
                opened = None
        assert opened is None, f"{self.file}: a block is never closed"
        return self.blocks


def _note_before(lines: list[str], fence: int) -> str:
    """Return the comment that ends on the line before the fence; it may span lines."""
    for start in range(fence - 1, max(fence - 6, -1), -1):
        if lines[start].startswith("<!--"):
            found = COMMENT.fullmatch("\n".join(lines[start:fence]))
            return " ".join(found[1].split()) if found else ""
    return ""


def blocks(file: Path) -> list[Block]:
    """Return the code blocks of a Markdown file, from top to bottom."""
    return _Reader(file).read()
