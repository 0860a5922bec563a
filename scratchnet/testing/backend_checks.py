"""The checks that every backend must pass, for each operation that it implements."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scratchnet import backends, ops
from scratchnet.backends.base import API_VERSION, Backend
from scratchnet.errors import ArgumentError
from scratchnet.ops.op import Op
from scratchnet.testing import backend_contract_checks as contract
from scratchnet.testing import backend_invariance_checks as invariance
from scratchnet.testing import backend_number_checks as numbers
from scratchnet.testing.calls import Subject
from scratchnet.testing.checks import Check, OnFail, Result, run_checks
from scratchnet.testing.closeness import ConformanceError

ASPECTS: dict[str, Callable[[Subject], str]] = {
    "reads": contract.reads,
    "twin": numbers.twin,
    "exact": numbers.exact,
    "close": numbers.close,
    "adjoint": numbers.adjoint,
    "differences": numbers.differences,
    "empty": numbers.empty,
    "layouts": invariance.layouts,
    "pure": contract.pure,
    "needs": contract.needs,
    "accumulates": contract.accumulates,
    "global_state": contract.global_state,
    "run_to_run": invariance.run_to_run,
    "threads": invariance.threads,
    "concurrent": invariance.concurrent,
    "supports": contract.supports,
    "errors": contract.errors,
    "wrong_gradient": contract.wrong_gradient,
}
# Against the reference: for the reference itself there is the twin.
_AGAINST_REFERENCE = ("exact", "close", "empty")


def _applies(aspect: str, op: Op, backend: Backend) -> bool:
    """Whether the check makes sense for the operation, and says something about the backend."""
    if aspect == "reads":
        return op.reads is not op.tensors
    if aspect == "twin":
        return op.twin is not None and backend.name == "reference"
    if aspect in _AGAINST_REFERENCE:
        return backend.name != "reference"
    if aspect == "accumulates":
        implementation = backend.implementation(op)
        return implementation is not None and implementation.accumulates
    if aspect in ("adjoint", "differences"):
        return (aspect == "adjoint") == (op.multilinear is not None and op.exact())
    return True


def check_backend(
    backend: str | Backend,
    *,
    expected_failures: dict[str, str] | None = None,
    on_fail: OnFail = "raise",
) -> list[Result]:
    """Check a backend against its contract and against ``reference``; return the results.

    Args:
        backend: a name, ``"package.module:object"``, or an object.
        expected_failures: {name of a check: why it fails}; such a check must fail.
        on_fail: ``"raise"`` one error listing all failures, ``"warn"`` for each, or None.

    Raises:
        ConformanceError: a check failed, or passed against expectation; only with ``"raise"``.
        ArgumentError: expected_failures names a check that there is not.
        PluginError: there is no such backend, or it cannot be loaded.
    """
    return run_checks(backend_checks(backend), expected_failures=expected_failures, on_fail=on_fail)


def backend_checks(backend: str | Backend) -> list[Check]:
    """Return the checks of ``check_backend``, to be run one by one."""
    found = backends.get(backend) if isinstance(backend, str) else backend
    if not isinstance(found, Backend):
        raise ArgumentError(f"expected a backend's name or a Backend, got {found!r}")
    subject = f"backend {found.name!r}"
    checks = [Check("identity", subject, partial(_identity, found, backend))]
    if found.available() is not True:  # as that check says; the others could only repeat it
        return checks
    for op in map(ops.get, ops.names()):
        if found.implementation(op) is not None:
            checks += op_checks(op, found)
    return checks


def op_checks(op: Op, backend: str | Backend) -> list[Check]:
    """Return the checks of one operation on a backend that implements it."""
    backend = backends.get(backend) if isinstance(backend, str) else backend
    one, subject = Subject(op, backend), f"backend {backend.name!r}"
    available = one.available
    if available is not True:
        return [Check(f"{op.name}/available", subject, partial(_fail, available))]
    return [
        Check(f"{op.name}/{aspect}", subject, partial(body, one))
        for aspect, body in ASPECTS.items()
        if _applies(aspect, op, backend)
    ]


def _fail(reason: str) -> str:
    raise ConformanceError(f"it is not available here: {reason}")


def _identity(backend: Backend, asked: str | Backend) -> str:
    """Name, version, priority and availability are what they should be."""
    if not isinstance(backend.name, str) or not backend.name:
        raise ConformanceError(f"name is expected to be a string, got {backend.name!r}")
    if isinstance(asked, str) and ":" not in asked and asked != backend.name:
        raise ConformanceError(
            f"it is registered as {asked!r} but its name is {backend.name!r}: make them equal"
        )
    if not isinstance(backend.priority, int):
        raise ConformanceError(f"priority is expected to be an int, got {backend.priority!r}")
    if backend.api_version != API_VERSION:
        raise ConformanceError(f"api_version is {backend.api_version}, expected {API_VERSION}")
    available = backend.available()
    if available is not True:
        _fail(available)
    if not any(backend.implementation(ops.get(name)) for name in ops.names()):
        raise ConformanceError("it implements no operation: see Backend.implement")
    return ""
