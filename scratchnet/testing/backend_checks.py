"""The checks that every backend must pass; for one that is not its contract, see base.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from scratchnet import backends
from scratchnet.backends.base import API_VERSION, Backend
from scratchnet.errors import ArgumentError
from scratchnet.testing.cases import LAYOUTS, Case
from scratchnet.testing.chain_checks import chain_checks
from scratchnet.testing.checks import Check, OnFail, Result, run_checks
from scratchnet.testing.closeness import (
    ConformanceError,
    assert_close,
    assert_same_bits,
    tolerance,
)
from scratchnet.testing.operations import OPERATIONS, Call, Operation
from scratchnet.testing.oracle import TorchOracle
from scratchnet.testing.tensors import normal, whole

DTYPES = (torch.float32, torch.float64)


def check_backend(
    backend: str | Backend,
    *,
    expected_failures: dict[str, str] | None = None,
    on_fail: OnFail = "raise",
) -> list[Result]:
    """Check a backend against its contract and against ``reference``; return the results.

    Args:
        backend: a name, ``"package.module:Class"``, or an object.
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
    for operation in OPERATIONS:
        for aspect, body in ASPECTS.items():
            if operation.has(aspect):
                name = f"{operation.name}/{aspect}"
                checks.append(Check(name, subject, partial(body, found, operation)))
    return checks + chain_checks(found, subject)


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
        raise ConformanceError(f"it is not available here: {available}")
    return ""


# -- against the reference -------------------------------------------------------------------------


def _reference_for(backend: Backend) -> Backend:
    reference = backends.get("reference")
    return TorchOracle() if type(backend) is type(reference) else reference


def _exact(backend: Backend, operation: Operation) -> str:
    """The same bits as the reference on whole numbers, over the grid."""
    reference, count = _reference_for(backend), 0
    for call in _calls(backend, operation, operation.grid, DTYPES, whole):
        for what, actual, expected in call.pairs(backend, reference):
            assert_same_bits(actual, expected, what)
            count += 1
    return f"{count} tensors"


def _close(backend: Backend, operation: Operation) -> str:
    """Within rounding of the reference on random numbers, over the grid."""
    reference, worst = _reference_for(backend), 0.0
    for call in _calls(backend, operation, operation.grid, DTYPES, normal):
        rtol = tolerance(call.dtype, call.terms)
        scales = call.magnitudes().outputs(reference)
        for (what, actual, expected), (_, scale) in zip(
            call.pairs(backend, reference), scales, strict=True
        ):
            error = assert_close(actual, expected, what, rtol=rtol, scale=scale)
            worst = max(worst, error / torch.finfo(call.dtype).eps)
    return f"largest error {worst:.2g} ε of the terms"


def _adjoint(backend: Backend, operation: Operation) -> str:
    """⟨A x, g⟩ = ⟨x, Aᵀ g⟩: backward is forward's adjoint, exactly, on whole numbers."""
    for call in _calls(backend, operation, operation.some, (torch.float64,), whole):
        for what, left, right in call.adjoint(backend):
            if left != right:
                raise ConformanceError(
                    f"{what}: ⟨A·, g⟩ = {left:g}, but ⟨·, Aᵀ g⟩ = {right:g} (these whole numbers "
                    "must be equal)"
                )
    return ""


# -- what must not matter --------------------------------------------------------------------------


def _layouts(backend: Backend, operation: Operation) -> str:
    """The same bits however each of the tensors lies in memory."""
    for case in operation.few:
        for call in _calls(backend, operation, [case], DTYPES, whole):
            plain = call.contiguous()
            for position in plain.tensor_positions():
                for layout in LAYOUTS[1:]:
                    moved = plain.laid_out(position, layout)
                    expected = moved.contiguous().outputs(backend)
                    for (what, actual), (_, same) in zip(
                        moved.outputs(backend), expected, strict=True
                    ):
                        assert_same_bits(actual, same, what)
    return ""


def _run_to_run(backend: Backend, operation: Operation) -> str:
    """The same bits each time."""
    for call in _calls(backend, operation, operation.some, DTYPES, normal):
        first = call.outputs(backend)
        for _ in range(3):
            for (what, actual), (_, expected) in zip(call.outputs(backend), first, strict=True):
                assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def _threads(backend: Backend, operation: Operation) -> str:
    """With 1, 2, 3 and 8 of torch's threads: the same on whole numbers, close on random ones."""
    for values in (whole, normal):
        for call in _calls(backend, operation, operation.large, (torch.float32,), values):
            with _torch_threads(1):
                single = call.outputs(backend)
            scales = call.magnitudes().outputs(backend)
            for threads in (2, 3, 8):
                for _ in range(2):
                    with _torch_threads(threads):
                        several = call.outputs(backend)
                    for (what, actual), (_, expected), (_, scale) in zip(
                        several, single, scales, strict=True
                    ):
                        rtol = 0.0 if values is whole else tolerance(call.dtype, call.terms)
                        assert_close(
                            actual,
                            expected,
                            f"{what}, {threads} threads against 1",
                            rtol=rtol,
                            scale=scale,
                        )
    return ""


def _concurrent(backend: Backend, operation: Operation) -> str:
    """Called from four Python threads at once, each call gets its own result."""
    calls = list(_calls(backend, operation, operation.some, (torch.float32,), whole))[:4]
    expected = [call.outputs(backend) for call in calls]
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(10):
                for (what, actual), (_, same) in zip(
                    calls[i].outputs(backend), expected[i], strict=True
                ):
                    assert_same_bits(actual, same, f"{what}, while other threads call, too")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return ""


# -- pure functions --------------------------------------------------------------------------------


def _pure(backend: Backend, operation: Operation) -> str:
    """Inputs are not written to, and outputs share no memory with them or with each other."""
    for call in _calls(backend, operation, operation.some, DTYPES, normal):
        before = [tensor.clone() for tensor in call.tensors]
        outputs = call.outputs(backend)
        for i, (tensor, kept) in enumerate(zip(call.tensors, before, strict=True)):
            assert_same_bits(tensor, kept, f"{call}: its tensor argument {i} was written to")
        memory = {tensor.untyped_storage().data_ptr() for tensor in call.tensors}
        for what, output in outputs:
            if output.numel() and output.untyped_storage().data_ptr() in memory:
                raise ConformanceError(f"{what} shares memory with an input, or another output")
            memory.add(output.untyped_storage().data_ptr())
            if output.requires_grad:
                raise ConformanceError(f"{what} is part of an autograd graph")
    return ""


def _needs(backend: Backend, operation: Operation) -> str:
    """Each mask gives just those gradients, from what it may read; the rest is None."""
    for call in _calls(backend, operation, operation.some, (torch.float64,), whole):
        full = [value for _, value in call.outputs(backend)]
        for number in range(8):
            needs = (bool(number & 1), bool(number & 2), bool(number & 4))
            masked = call.with_needs(needs)
            grads = masked.run(backend)
            if not isinstance(grads, tuple) or len(grads) != 3:
                raise ConformanceError(f"{masked}: expected three gradients, got {grads!r}")
            for name, wanted, grad, expected in zip(
                ("grad_x", "grad_weight", "grad_bias"), needs, grads, full, strict=True
            ):
                if wanted:
                    assert_same_bits(grad, expected, f"{name} of {masked}")
                elif grad is not None:
                    raise ConformanceError(f"{name} of {masked}: expected None, got a tensor")
    return ""


# -- what is supported, and what is refused --------------------------------------------------------


def _supports(backend: Backend, operation: Operation) -> str:
    """`supports` says True or a line why not, and where it says True the call runs and is right."""
    refused = 0
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for call in operation.calls(operation.few, (dtype,), whole):
            verdict = _verdict(backend, call)
            if verdict is not True:
                refused += 1
                continue
            wide = call.in_dtype(torch.float64).outputs(_reference_for(backend))
            for (what, actual), (_, expected) in zip(call.outputs(backend), wide, strict=True):
                rtol = tolerance(dtype, call.terms)
                assert_close(actual, expected.to(dtype), f"{what}, {dtype}", rtol=rtol)
    for dtype in DTYPES:
        call = next(iter(operation.calls(operation.few, (dtype,), whole)))
        if _verdict(backend, call) is not True:
            raise ConformanceError(f"{dtype} is not supported: {_verdict(backend, call)}")
    return f"{refused} refused with a reason" if refused else ""


def _verdict(backend: Backend, call: Call) -> object:
    verdict: object = call.ask(backend)
    if verdict is not True and not (isinstance(verdict, str) and verdict and "\n" not in verdict):
        raise ConformanceError(
            f"supports({call}) is expected to return True or one line saying why not, "
            f"got {verdict!r}"
        )
    return verdict


def _errors(backend: Backend, operation: Operation) -> str:
    """Arguments that do not fit each other raise, and are not read beyond their ends."""
    count = 0
    for what, call in operation.malformed():
        try:
            call.run(backend)
        except Exception as error:
            if not str(error):
                raise ConformanceError(f"{call} with {what} raised an empty message") from error
            count += 1
        else:
            raise ConformanceError(f"{call} with {what} was not refused")
    return f"{count} refused"


def _empty(backend: Backend, operation: Operation) -> str:
    """An empty batch gives empty outputs, and zero gradients of the parameters."""
    for call in _calls(backend, operation, operation.empty, DTYPES, normal):
        for what, actual, expected in call.pairs(backend, _reference_for(backend)):
            assert_same_bits(actual, expected, what)
    return ""


ASPECTS: dict[str, Callable[[Backend, Operation], str]] = {
    "exact": _exact,
    "close": _close,
    "adjoint": _adjoint,
    "empty": _empty,
    "layouts": _layouts,
    "pure": _pure,
    "needs": _needs,
    "run_to_run": _run_to_run,
    "threads": _threads,
    "concurrent": _concurrent,
    "supports": _supports,
    "errors": _errors,
}


# -- helpers ---------------------------------------------------------------------------------------


def _calls(
    backend: Backend,
    operation: Operation,
    cases: list[Case],
    dtypes: tuple[torch.dtype, ...],
    values: Callable[..., Tensor],
) -> Iterator[Call]:
    """Yield the calls that the backend supports; at least one in two, or it is not complete."""
    supported = total = 0
    for call in operation.calls(cases, dtypes, values):
        total += 1
        if call.ask(backend) is True:
            supported += 1
            yield call
    if supported * 2 < total:
        raise ConformanceError(
            f"only {supported} of {total} calls of {operation.name} are supported: a backend is "
            "expected to do most of the grid"
        )


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
