"""The front end of the checks for pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scratchnet.testing.checks import Check, refuse_unknown
from scratchnet.testing.closeness import ConformanceError


def parametrize_with_checks(
    checks: Iterable[Check], *, expected_failures: Mapping[str, str] | None = None
) -> Any:
    """Return a decorator that makes one test of each check::

        @parametrize_with_checks(layer_checks(Swish, [torch.randn(2, 3, 7, 5)], twin=silu))
        def test_swish(check):
            check()

    Args:
        checks: from ``layer_checks``, ``backend_checks``, or both together.
        expected_failures: {name of a check: why it fails}. Strict: such a check must fail.

    Raises:
        ArgumentError: expected_failures names a check that there is not.
    """
    import pytest

    checks, expected = list(checks), dict(expected_failures or {})
    refuse_unknown(expected, checks)
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                check,
                id=check.name,
                marks=[
                    pytest.mark.xfail(
                        strict=True, raises=ConformanceError, reason=expected[check.name]
                    )
                ]
                if check.name in expected
                else [],
            )
            for check in checks
        ],
    )
