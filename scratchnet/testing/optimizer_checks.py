"""The checks that every optimizer must pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet.errors import ArgumentError
from scratchnet.layers.parameter import Parameter
from scratchnet.optim import Optimizer
from scratchnet.testing.checks import Check, OnFail, Result, run_checks
from scratchnet.testing.closeness import ConformanceError, assert_close, assert_same_bits
from scratchnet.testing.tensors import normal

SHAPES = ((3, 2, 3, 3), (3,), (1, 1))
STEPS = 6

Maker = Callable[..., Optimizer]


def check_optimizer(
    kind: Maker,
    options: Mapping[str, Any],
    *,
    twin: Callable[..., torch.optim.Optimizer] | None = None,
    expected_failures: dict[str, str] | None = None,
    on_fail: OnFail = "raise",
) -> list[Result]:
    """Check an optimizer, any torch.optim.Optimizer that takes the pairs of ``model.param()``:
    against a twin of torch.optim, and that each option does something.

    Args:
        kind: the class, e.g. ``scratchnet.SGD``.
        options: its arguments after ``params``, e.g. ``{"lr": 0.1, "momentum": 0.9}``.
        twin: the class that it should equal with the same options, e.g. ``torch.optim.SGD``.
        expected_failures: {name of a check: why it fails}; such a check must fail.
        on_fail: ``"raise"`` one error listing all failures, ``"warn"`` for each, or None.

    Raises:
        ConformanceError: a check failed, or passed against expectation; only with ``"raise"``.
    """
    return run_checks(
        optimizer_checks(kind, options, twin=twin),
        expected_failures=expected_failures,
        on_fail=on_fail,
    )


def optimizer_checks(
    kind: Maker,
    options: Mapping[str, Any],
    *,
    twin: Callable[..., torch.optim.Optimizer] | None = None,
) -> list[Check]:
    """Return the checks of ``check_optimizer``, to be run one by one."""
    name = f"optimizer {getattr(kind, '__name__', kind)}"
    checks = {
        "in_place": partial(_in_place, kind, options),
        "learning_rate": partial(_learning_rate, kind, options),
        "saved_state": partial(_saved_state, kind, options),
        "groups": partial(_groups, kind, options),
        **{
            f"option_{option}": partial(_option, kind, options, option)
            for option in options
            if option != "lr"
        },
    }
    if twin is not None:
        checks["twin_steps"] = partial(_twin_steps, kind, options, twin)
    return [Check(check, name, body) for check, body in checks.items()]


def _pairs(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    values = [normal(shape, dtype, seed) for seed, shape in enumerate(SHAPES)]
    return [(value, torch.zeros_like(value)) for value in values]


def _give_gradients(pairs: list[tuple[Tensor, Tensor]], step: int) -> None:
    for i, (_, grad) in enumerate(pairs):
        grad.copy_(normal(grad.shape, grad.dtype, 100 * step + i))


def _run(kind: Maker, options: Mapping[str, Any], steps: int = STEPS) -> list[Tensor]:
    """Return the parameters after some steps on the same gradients."""
    pairs = _pairs(torch.float64)
    optimizer = kind(pairs, **options)
    for step in range(steps):
        _give_gradients(pairs, step)
        optimizer.step()
    return [value for value, _ in pairs]


def _in_place(kind: Maker, options: Mapping[str, Any]) -> str:
    """A step changes every parameter where it lies, and no gradient."""
    pairs = _pairs(torch.float32)
    optimizer = kind(pairs, **options)
    _give_gradients(pairs, 0)
    before = [(value.clone(), value.data_ptr(), grad.clone()) for value, grad in pairs]
    optimizer.step()
    for i, ((value, grad), (old, address, kept)) in enumerate(zip(pairs, before, strict=True)):
        assert_same_bits(grad, kept, f"step wrote to gradient {i}")
        if torch.equal(value, old) or value.data_ptr() != address:
            raise ConformanceError(f"step did not change parameter {i} in place")
    return ""


def _learning_rate(kind: Maker, options: Mapping[str, Any]) -> str:
    """lr = 0 changes nothing, and a change of the attribute lr is followed."""
    for value, old in zip(
        _run(kind, {**options, "lr": 0.0}), (p for p, _ in _pairs(torch.float64)), strict=True
    ):
        assert_same_bits(value, old, "parameters after steps with lr = 0")
    pairs = _pairs(torch.float64)
    optimizer = kind(pairs, **options)
    optimizer.lr = 0.0
    _give_gradients(pairs, 0)
    optimizer.step()
    for (value, _), (old, _) in zip(pairs, _pairs(torch.float64), strict=True):
        assert_same_bits(
            value, old, "parameters after a step with lr set to 0 (a schedule does so)"
        )
    return ""


def _groups(kind: Maker, options: Mapping[str, Any]) -> str:
    """Groups have options of their own, one of torch's schedules changes lr, and frozen parameters
    and those without a gradient stay where they are.
    """
    values = [Parameter(value) for value, _ in _pairs(torch.float64)]
    rest = {"params": values[1:], "lr": 0.0}
    optimizer = kind([{"params": values[:1]}, rest], **options)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 1))
    before = [value.detach().clone() for value in values]
    moved = []
    for frozen in (True, False, False):
        values[0].requires_grad = not frozen
        _give_gradients([(value, value.buffer) for value in values], 0)
        last = values[0].detach().clone()
        optimizer.step()
        moved.append(not torch.equal(values[0], last))
        if not frozen:
            schedule.step()
    if moved[0]:
        raise ConformanceError("step moved a frozen parameter: skip those whose grad is None")
    if not moved[1]:
        raise ConformanceError("step did not move a parameter that was frozen and no longer is")
    if moved[2]:
        raise ConformanceError(
            "step moved a parameter after a schedule of torch's had set its group's lr to 0: read "
            "options['lr'] at each step"
        )
    for value, old in zip(values[1:], before[1:], strict=True):
        assert_same_bits(value, old, "parameters of a group with lr = 0")
    return ""


def _option(kind: Maker, options: Mapping[str, Any], option: str) -> str:
    """The option does something: without it the parameters end up elsewhere."""
    with_it = _run(kind, options)
    try:
        without = _run(kind, {name: value for name, value in options.items() if name != option})
    except ArgumentError:
        return "the other options need it"
    if all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True)):
        raise ConformanceError(
            f"{option}={options[option]!r} changes nothing in {STEPS} steps: it is accepted and "
            "ignored (or its result is thrown away)"
        )
    return ""


def _saved_state(kind: Maker, options: Mapping[str, Any]) -> str:
    """A run that is stopped, saved and resumed ends where an uninterrupted one does."""
    pairs = _pairs(torch.float64)
    optimizer = kind(pairs, **options)
    for step in range(STEPS):
        if step == STEPS // 2:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = kind(pairs, **options)
            optimizer.load_state_dict(state)
        _give_gradients(pairs, step)
        optimizer.step()
    for (value, _), expected in zip(pairs, _run(kind, options), strict=True):
        assert_same_bits(value, expected, "parameters after saving and resuming")
    return ""


def _twin_steps(
    kind: Maker, options: Mapping[str, Any], twin: Callable[..., torch.optim.Optimizer]
) -> str:
    """Every step equals the twin's."""
    for dtype in (torch.float32, torch.float64):
        pairs = _pairs(dtype)
        peers = [nn.Parameter(value.clone()) for value, _ in pairs]
        optimizer, peer = kind(pairs, **options), twin(peers, **options)
        for step in range(STEPS):
            _give_gradients(pairs, step)
            for (_, grad), parameter in zip(pairs, peers, strict=True):
                parameter.grad = grad.clone()
            optimizer.step()
            peer.step()
            for i, ((value, _), parameter) in enumerate(zip(pairs, peers, strict=True)):
                assert_close(
                    value,
                    parameter.detach(),
                    f"parameter {i} after step {step + 1} (expected: the twin's)",
                    rtol=16 * torch.finfo(dtype).eps,
                )
    return ""
