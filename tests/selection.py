"""Which backends a test runs on."""

from __future__ import annotations

import pytest

import scratchnet


def backends_under_test(config: pytest.Config) -> list[str]:
    chosen = config.getoption("--backend")
    if chosen:
        return [chosen]
    own = [n for n in scratchnet.backends.names() if scratchnet.backends.info(n).builtin]
    return [name for name in own if _available(name)]


def _available(name: str) -> bool:
    try:
        return scratchnet.backends.get(name).available() is True
    except scratchnet.ScratchnetError:
        return False
