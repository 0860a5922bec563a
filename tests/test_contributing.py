"""CONTRIBUTING.md is followed: its new operation is made, built and found in a copy of the tree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import codeblocks
import pytest
from freshenv import FreshEnvironment

ROOT = Path(__file__).parent.parent
BLOCKS = codeblocks.blocks(ROOT / "CONTRIBUTING.md")
FILES = {
    found[1]: block.code + "\n"
    for block in BLOCKS
    if (found := re.search(r"test_contributing.py makes (\S+) of it", block.note))
}
(ENTRY_POINTS,) = [block.code for block in BLOCKS if block.language == "toml"]
(COMMANDS,) = [b.code.splitlines() for b in BLOCKS if "copy of the tree" in b.note]


def copied(folder: Path) -> Path:
    """Return a copy of what git knows of the source tree, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "csrc",
         "scratchnet", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def add_entry_points(pyproject: Path) -> None:
    """Put each line of the block behind the heading that stands before it there."""
    text = pyproject.read_text(encoding="utf-8")
    for part in ENTRY_POINTS.split("\n\n"):
        heading, line = part.splitlines()
        assert text.count(f"{heading}\n") == 1
        text = text.replace(f"{heading}\n", f"{heading}\n{line}\n")
    pyproject.write_text(text, encoding="utf-8")


def test_it_costs_four_files() -> None:
    assert [str(Path(name).parent) for name in FILES] == [
        "scratchnet/ops", "scratchnet/layers", "csrc/ops", "tests",
    ]  # fmt: skip
    assert COMMANDS[0].startswith("pip install")


def test_a_new_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCHNET_BACKEND", raising=False)
    environment, tree = FreshEnvironment(tmp_path / "env"), copied(tmp_path / "tree")
    for name, code in FILES.items():
        assert not (tree / name).exists(), "a made-up operation must not exist"
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(code, encoding="utf-8")
    add_entry_points(tree / "pyproject.toml")
    # not optimised: what is tried is that it is built, in a third of the time
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
    compiler.chmod(0o755)
    printed = {}
    for command in COMMANDS:
        prefix = f"CXX={compiler} " if command.startswith("pip") else ""
        suffix = " --rounds 1" if "bench" in command else ""
        printed[command] = environment.run(prefix + command + suffix, tree)

    of_info = next(text for command, text in printed.items() if command == "scratchnet info")
    (row,) = [line for line in of_info.splitlines() if line.startswith("signed_square(x)")]
    assert row.split()[-2:] == ["cpp,", "reference"]
    assert "SignedSquare" in of_info
    (checked,) = [v for c, v in printed.items() if c.startswith("scratchnet check")]
    heads = re.findall(r"^(\S.*): (\d+) of (\d+) checks passed$", checked, re.MULTILINE)
    names = [name for name, _, _ in heads]
    assert names == ["signed_square on cpp", "signed_square on reference", "SignedSquare"]
    assert all(passed == of for _, passed, of in heads)
    (explained,) = [text for command, text in printed.items() if "explain" in command]
    assert explained.startswith("signed_square: cpp (chosen by default)")
    (measured,) = [text for command, text in printed.items() if "bench" in command]
    assert "SignedSquare" in measured

    # a planted fault: the Python beside the kernel forgets a sign
    ops = tree / "scratchnet" / "ops" / "signed_square.py"
    right = "extension().signed_square_forward(x, y)"
    ops.write_text(ops.read_text().replace(right, right + "\n    y[..., :1].abs_()"))
    code = "import scratchnet, torch; scratchnet.build('SignedSquare')(-torch.ones(2, 3))"
    environment.run(f'python -c "{code}"', tree)
    said = environment.run(f'! SCRATCHNET_VERIFY=1 python -c "{code}" 2>&1', tree)
    assert "output of signed_square on backend 'cpp' differs from the reference's" in said
    assert "2 of 6 elements" in said
