from __future__ import annotations

import pytest
from commandline import Cli, Outcome

from scratchnet.cli import main


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process: `cli("train", "--epochs", 1)`."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["scratchnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(stop.value.code or 0, captured.out, captured.err)

    return run
