from __future__ import annotations

import pytest
from contests import SMALL

from scratchnet.bench import Bench, Result


@pytest.fixture(scope="session")
def result() -> Result:
    """What a small benchmark found out."""
    return Bench(SMALL).run("scratchnet bench step")
