"""The scripts in benchmarks/ run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("script", "arguments", "title"),
    [
        ("training_step.py", ["--batch", "1"], "training step, batch 1, 1 thread, float32"),
        ("training_step.py", ["--inference", "--batch", "1"], "inference, batch 1, 1 thread"),
        ("convolutions.py", ["--double", "--only", "7->13"], "single convolutions, forward and"),
    ],
)
def test_each_prints_its_table(
    script: str,
    arguments: list[str],
    title: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = SCRIPTS / script
    monkeypatch.setattr("sys.argv", [script, *arguments, "--threads", "1", "--rounds", "1"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert not stop.value.code
    printed = capsys.readouterr()
    assert printed.out.startswith(f"$ python {path}")
    assert f"\n{title}" in printed.out
    assert "\nscratchnet" in printed.out or "\n7->13" in printed.out
    assert printed.err == ""
