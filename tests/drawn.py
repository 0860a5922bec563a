"""How many cases hypothesis draws, the same ones each time."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

drawn = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
