"""The conformance kit: what proves that a layer or a backend does what its contract says."""

from __future__ import annotations

from scratchnet.testing.backend_checks import backend_checks, check_backend
from scratchnet.testing.checks import Check, Result
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.parametrize import parametrize_with_checks

__all__ = [
    "Check",
    "ConformanceError",
    "Result",
    "backend_checks",
    "check_backend",
    "gradcheck",
    "parametrize_with_checks",
]
