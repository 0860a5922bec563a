"""The checks that every layer must pass; for the contract see scratchnet.Module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from scratchnet.layers.module import Module
from scratchnet.testing import layer_copy_checks as copies
from scratchnet.testing import layer_error_checks as errors
from scratchnet.testing import layer_gradient_checks as gradients
from scratchnet.testing import layer_invariance_checks as invariance
from scratchnet.testing import layer_mode_checks as modes
from scratchnet.testing import layer_parameter_checks as parameters
from scratchnet.testing import layer_purity_checks as purity
from scratchnet.testing import layer_state_checks as state
from scratchnet.testing.checks import Check, OnFail, Result, run_checks
from scratchnet.testing.settings import torch_settings
from scratchnet.testing.subject import Example, Subject
from scratchnet.testing.twins import Twin

# What leads to a fault comes first: a gradient that is never written is not worth comparing.
CHECKS: tuple[Callable[[Subject], str], ...] = (
    parameters.contract,
    parameters.parameters,
    parameters.gradient_buffers,
    parameters.frozen,
    purity.inputs_untouched,
    purity.no_aliases,
    parameters.zero_grad,
    invariance.run_to_run,
    state.noise,
    state.reductions,
    gradients.float64,
    gradients.linear_backward,
    gradients.batch_sum,
    gradients.input_gradient,
    gradients.parameter_gradients,
    invariance.fresh_each_batch,
    parameters.accumulation,
    state.used_twice,
    state.changed_in_between,
    parameters.parameters_alone,
    gradients.twin_output,
    gradients.twin_gradients,
    invariance.batch_independence,
    invariance.empty_batch,
    invariance.memory_layouts,
    invariance.threads,
    modes.backward_before_forward,
    modes.eval_mode,
    state.complete_state,
    parameters.changes_of_dtype,
    copies.state_dict,
    copies.copies,
    copies.config,
    copies.representation,
    purity.no_graph,
    purity.global_state,
    errors.wrong_inputs,
    errors.wrong_gradient,
)
NEED_A_TWIN = (gradients.twin_output, gradients.twin_gradients)
# What a trait makes meaningless: other noise for one image than for it in a batch, for example.
NOT_WITH = {
    "stochastic": (
        gradients.batch_sum,
        gradients.twin_gradients,
        invariance.batch_independence,
        invariance.memory_layouts,
    ),
    "couples_batch": (
        gradients.batch_sum,
        invariance.batch_independence,
        invariance.empty_batch,
    ),
}


def check_layer(
    factory: Callable[[], Module],
    inputs: Tensor | Sequence[Tensor | Example],
    *,
    twin: Twin | None = None,
    expected_failures: dict[str, str] | None = None,
    on_fail: OnFail = "raise",
) -> list[Result]:
    """Check a layer: gradients against finite differences and a twin, and all that Module promises.

    The layer's traits choose the checks: one that is ``stochastic`` gets the same random numbers
    where results are compared, and is compared with its twin in eval mode; one that
    ``couples_batch`` is checked on whole batches alone; one that ``eval_differs`` may give another
    output in eval mode. See scratchnet.Module.

    Args:
        factory: makes a fresh layer each time, e.g. ``lambda: Conv2d(3, 8, 3)``. Choose more than
            one channel in and out, and a kernel, stride and padding that are not square.
        inputs: a list of example tensors, one forward each, (tuples for several inputs), e.g.
            ``[torch.randn(2, 3, 9, 7)]``. Gradients should exist there and nearby.
        twin: what the layer should equal: a torch.nn module with parameters of the same names (or
            the same order) and shapes, which are overwritten with the layer's; or a function that
            is called with the inputs and then the layer's parameters in the order of ``param()``.
            What two consistent errors in forward and backward hide, only a twin shows.
        expected_failures: {name of a check: why it fails}; such a check must fail.
        on_fail: ``"raise"`` one error listing all failures, ``"warn"`` for each, or None.

    Returns:
        A Result for each check.

    Raises:
        ConformanceError: a check failed, or passed against expectation; only with ``"raise"``.
        ArgumentError: inputs are no tensors, or expected_failures names a check there is not.
    """
    return run_checks(
        layer_checks(factory, inputs, twin=twin),
        expected_failures=expected_failures,
        on_fail=on_fail,
    )


def layer_checks(
    factory: Callable[[], Module],
    inputs: Tensor | Sequence[Tensor | Example],
    *,
    twin: Twin | None = None,
    name: str | None = None,
) -> list[Check]:
    """Return the checks of ``check_layer``, to be run one by one.

    Args:
        factory, inputs, twin: as ``check_layer`` takes them.
        name: what messages call the layer; its class's name if None.
    """
    with torch_settings():  # making a layer may change them
        subject = Subject(factory, inputs, twin)
        name = name or type(factory()).__name__
        return [
            Check(check.__name__.removeprefix("_"), f"layer {name}", partial(check, subject))
            for check in CHECKS
            if _applies(check, subject)
        ]


def _applies(check: Callable[[Subject], str], subject: Subject) -> bool:
    if check is state.noise:
        return subject.has("stochastic")
    if check is state.reductions:
        return subject.has("reduction")
    if check in NEED_A_TWIN and subject.twin is None:
        return False
    return not any(check in checks and subject.has(trait) for trait, checks in NOT_WITH.items())
