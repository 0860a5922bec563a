"""Checks of an implementation as pure functions that say what they support."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ScratchnetError
from scratchnet.testing.calls import DTYPES, Subject, call
from scratchnet.testing.closeness import ConformanceError, assert_same_bits, assert_within
from scratchnet.testing.settings import STATES, current_settings, torch_settings
from scratchnet.testing.tensors import normal, whole
from scratchnet.verify.tolerance import Bound


def pure(s: Subject) -> str:
    """Inputs are not written to, and outputs share no memory with them or with each other."""
    for made in s.calls(s.some, DTYPES, normal):
        given = [t for t in (*made.tensors, *made.grad_ys) if t is not None]
        before = [tensor.clone() for tensor in given]
        results = made.results(s.implementation)
        for i, (tensor, kept) in enumerate(zip(given, before, strict=True)):
            assert_same_bits(tensor, kept, f"{made}: its tensor argument {i} was written to")
        memory = {tensor.untyped_storage().data_ptr() for tensor in given}
        for what, output in results:
            if output.numel() and output.untyped_storage().data_ptr() in memory:
                raise ConformanceError(f"{what} shares memory with an input, or another output")
            memory.add(output.untyped_storage().data_ptr())
            if output.requires_grad:
                raise ConformanceError(f"{what} is part of an autograd graph")
    return ""


def reads(s: Subject) -> str:
    """backward reads no values of tensors of which the operation promises it the shape alone."""
    for made in s.calls(s.some, (torch.float64,), whole):
        expected = made.results(s.implementation, unread=0.0)
        for (what, actual), (_, same) in zip(made.results(s.implementation), expected, strict=True):
            unread = [name for name in made.names if name not in s.op.reads]
            fault = f"{what}: its backward reads the values of {' or '.join(unread)}, of which it "
            fault += f"gets the shape alone (reads of {s.op.name} is {s.op.reads})"
            assert_same_bits(actual, same, fault)
    return ""


def global_state(s: Subject) -> str:
    """torch's settings and random numbers are left alone."""
    for made in itertools.islice(s.calls(s.few, (torch.float32,), normal), 1):
        for settings in STATES:
            with torch_settings(settings), torch.random.fork_rng(devices=[]):
                torch.manual_seed(8191)  # a state that nobody will happen to set
                before, random = current_settings(), torch.get_rng_state()
                made.run(s.implementation)
                for name, value in current_settings().items():
                    if value != before[name]:
                        raise ConformanceError(
                            f"{made} changes torch's {name} from {before[name]} to {value}, for "
                            "everyone: set it back, or compute without it"
                        )
                if not torch.equal(torch.get_rng_state(), random):
                    raise ConformanceError(
                        f"{made} seeds torch's global generator or draws from it"
                    )
    return ""


def needs(s: Subject) -> str:
    """Each mask gives just those gradients, the same bits; the rest is None."""
    for made in s.calls(s.some, (torch.float64,), whole):
        full, count = made.run(s.implementation)[1], len(made.tensors)
        masks = list(itertools.product((False, True), repeat=min(count, 4)))
        for mask in masks:
            wanted = tuple(n and mask[i % len(mask)] for i, n in enumerate(made.needs))
            grads = made.run(s.implementation, wanted)[1] if any(wanted) else full
            if not isinstance(grads, tuple) or len(grads) != count:
                raise ConformanceError(f"{made}: expected {count} gradients, got {grads!r:.80}")
            if not any(wanted):
                continue
            for name, want, grad, expected in zip(made.names, wanted, grads, full, strict=True):
                if want:
                    assert_same_bits(grad, expected, f"grad_{name} of {made}, needs={wanted}")
                elif grad is not None:
                    raise ConformanceError(
                        f"grad_{name} of {made}, needs={wanted}: expected None, got a tensor"
                    )
    return ""


def accumulates(s: Subject) -> str:
    """Where gradients are added to buffers, they are those that backward returns."""
    for made in s.calls(s.some, DTYPES, whole):
        if not made.grad_ys:
            continue
        _, full = made.run(s.implementation)
        _, back = dispatch.run(s.op, *made.tensors, backend=s.backend, **made.options)
        into: list[Tensor | None] = [
            None if i == 0 or grad is None else torch.ones(grad.shape, dtype=grad.dtype)
            for i, grad in enumerate(full)
        ]
        rest = back.add_to(into, *made.grad_ys, needs=made.needs)
        for name, buffer, grad, left in zip(made.names, into, full, rest, strict=True):
            what = f"grad_{name} of {made}"
            if buffer is not None:
                close = Bound(grad.double() + 1, 1e-5 * (grad.double().abs() + 1), grad.dtype)
                assert_within(buffer, close, f"{what}, added to ones")
            elif left is not None and grad is not None:
                assert_same_bits(left, grad, f"{what}, while others are added to buffers")
    return ""


def supports(s: Subject) -> str:
    """`supports` returns True or a line why not, and where it is True the call gives the correct
    result.
    """
    refused = ran = 0
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for case in s.few:
            made = call(s.op, case, dtype, whole)
            if s.verdict(made) is not True:
                refused += 1
                continue
            ran += 1
            results = made.results(s.implementation)
            for (what, actual), bound in zip(results, made.bounds(), strict=True):
                assert_within(actual, bound, f"{what}, {dtype}")
    if not ran:
        list(s.calls(s.grid, DTYPES, whole))  # says what keeps it from running any
    return f"{refused} refused with a reason" if refused else ""


def errors(s: Subject) -> str:
    """Arguments that do not fit each other raise one clear line, and reach no implementation."""
    for case in s.malformed:
        made = call(s.op, case, torch.float32, whole)
        try:
            dispatch.run(s.op, *made.tensors, backend=s.backend, **made.options)
        except ScratchnetError as error:
            text = str(error)
            if "\n" in text or case.error not in text:
                raise ConformanceError(
                    f"{s.op.name}{case}: expected one line with {case.error!r}, got {text!r}"
                ) from error
        except Exception as error:
            raise ConformanceError(
                f"{s.op.name}{case} was not refused by the operation's check: expected an error "
                f"with {case.error!r}, got {type(error).__name__} of the implementation"
            ) from error
        else:
            raise ConformanceError(
                f"{s.op.name}{case} was not refused: expected an error with {case.error!r}"
            )
    return f"{len(s.malformed)} refused"


def wrong_gradient(s: Subject) -> str:
    """A gradient of another shape or dtype than the output's is refused."""
    cases = [case for case in s.few if case.backward][:3]
    for made in s.calls(cases, (torch.float32,), whole):
        _, back = dispatch.run(s.op, *made.tensors, backend=s.backend, **made.options)
        shape = made.grad_ys[0].shape
        others: list[tuple[str, Tensor]] = [
            ("another shape", torch.ones(*shape, 2)),
            ("another dtype", made.grad_ys[0].double()),
        ]
        if math.prod(shape) > 1:
            others.append(("fewer elements", made.grad_ys[0].flatten()[1:]))
        for what, wrong in others:
            try:
                back(wrong, *made.grad_ys[1:])
            except ScratchnetError:
                continue
            raise ConformanceError(f"{made}: a gradient of {what} was not refused")
    return ""
