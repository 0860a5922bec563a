"""The examples, in small: that they run, and learn something."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_in_small(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    module = __import__(name)
    try:
        score = module.main(small=True)
    finally:
        del sys.modules[name]
    epoch, *_, last = capsys.readouterr().out.splitlines()
    assert epoch.startswith("epoch 1: loss ")
    assert last
    assert isinstance(score, float)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short(name: str) -> None:
    assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) < 120
