"""The conformance kit: it proves that a layer or a backend does what its contract says.

One generator of named checks stands behind three front ends: a call (``check_layer``,
``check_backend``, ``check_optimizer``), pytest tests (``parametrize_with_checks``), and a
command (``scratchnet check NAME``).
"""

from __future__ import annotations

from scratchnet.testing.backend_checks import backend_checks, check_backend, op_checks
from scratchnet.testing.checks import Check, Result
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.layer_checks import check_layer, layer_checks
from scratchnet.testing.optimizer_checks import check_optimizer, optimizer_checks
from scratchnet.testing.parametrize import parametrize_with_checks

__all__ = [
    "Check",
    "ConformanceError",
    "Result",
    "backend_checks",
    "check_backend",
    "check_layer",
    "check_optimizer",
    "gradcheck",
    "layer_checks",
    "op_checks",
    "optimizer_checks",
    "parametrize_with_checks",
]
