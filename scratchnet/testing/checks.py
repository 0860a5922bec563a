"""Named checks, their results, and the front end that runs them as a call."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scratchnet.errors import ArgumentError
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.settings import torch_settings

Status = Literal["passed", "failed", "expected failure", "unexpected pass"]
OnFail = Literal["raise", "warn"] | None


@dataclass(frozen=True)
class Check:
    """One named check; calling it raises ConformanceError if it fails.

    Attributes:
        name: what ``expected_failures`` and ``pytest -k`` know it by.
        subject: what is checked, for messages.
        body: does the work; returns a figure worth showing, or "".
    """

    name: str
    subject: str
    body: Callable[[], str]

    def __call__(self) -> str:
        """Run the check and return its figure, e.g. ``"largest error 1.2e-07"``.

        Raises:
            ConformanceError: it failed, or what is checked raised some exception.
        """
        try:
            with torch_settings():  # one check may change them, and the next must not notice
                return self.body()
        except ConformanceError as error:
            raise ConformanceError(f"{self.subject} fails {self.name}: {error}") from error
        except Exception as error:
            raise ConformanceError(
                f"{self.subject} fails {self.name}: {type(error).__name__}: {error}"
            ) from error

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Attributes:
        name: of the check.
        status: ``"passed"``, ``"failed"``, or, for checks that were expected to fail,
            ``"expected failure"`` or ``"unexpected pass"``.
        message: of the failure; why it was expected; or the figure of a check that passed.
    """

    name: str
    status: Status
    message: str

    @property
    def ok(self) -> bool:
        """Whether it passed, or failed as expected."""
        return self.status in ("passed", "expected failure")


def run_checks(
    checks: Iterable[Check],
    *,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: OnFail = "raise",
) -> list[Result]:
    """Run all checks and return their results.

    Args:
        checks: what to run.
        expected_failures: {name of a check: why it fails}. Strict: such a check must fail.
        on_fail: ``"raise"`` one error that lists all failures, after all checks have run;
            ``"warn"`` for each; None to return the results alone.

    Raises:
        ConformanceError: a check failed, or passed against expectation; only with ``"raise"``.
        ArgumentError: expected_failures names a check that there is not, or on_fail is unknown.
    """
    if on_fail not in ("raise", "warn", None):
        raise ArgumentError(f"on_fail is expected to be 'raise', 'warn' or None, got {on_fail!r}")
    checks, expected = list(checks), dict(expected_failures or {})
    refuse_unknown(expected, checks)
    results = [_run(check, expected) for check in checks]
    failures = [result for result in results if not result.ok]
    if on_fail == "warn":
        for result in failures:
            warnings.warn(result.message, stacklevel=3)
    elif on_fail == "raise" and failures:
        raise ConformanceError(
            f"{len(failures)} of {len(results)} checks failed:\n"
            + "\n".join(f"- {result.message}" for result in failures)
        )
    return results


def refuse_unknown(expected: Mapping[str, str], checks: Sequence[Check]) -> None:
    """Raise ArgumentError unless every name in ``expected`` is a check's, with a reason."""
    names = [check.name for check in checks]
    for name, reason in expected.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ArgumentError(
                f"expected_failures names {name!r}, which is no check: {hint}"
                f"there are {', '.join(names)}"
            )
        if not (isinstance(reason, str) and reason):
            raise ArgumentError(
                f"expected_failures wants a reason for {name!r}, in words; got {reason!r}"
            )


def _run(check: Check, expected: Mapping[str, str]) -> Result:
    try:
        figure = check()
    except ConformanceError as error:
        if check.name in expected:
            return Result(check.name, "expected failure", expected[check.name])
        return Result(check.name, "failed", str(error))
    if check.name in expected:
        return Result(
            check.name,
            "unexpected pass",
            f"{check.subject} passes {check.name}, which was expected to fail "
            f"({expected[check.name]}): remove it from expected_failures",
        )
    return Result(check.name, "passed", figure)
