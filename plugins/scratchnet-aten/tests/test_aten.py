"""The backend passes the conformance checks, and trains."""

import pytest
import torch
from scratchnet_aten import backend

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.testing import Check, backend_checks, parametrize_with_checks


@parametrize_with_checks(backend_checks(backend))
def test_conforms(check: Check) -> None:
    check()


def test_it_is_registered_but_in_auto_only_when_asked_for() -> None:
    info = scratchnet.backends.info("aten")
    assert (info.distribution, info.builtin) == ("scratchnet-aten", False)
    layer = scratchnet.Conv2d(2, 3, 3)
    for choice, expected in [("aten", {"aten"}), ("auto", {"cpp", "reference"})]:
        with scratchnet.use_backend(choice), dispatch.trace() as calls:
            layer(torch.randn(1, 2, 5, 5))
        assert {name for _, name in calls} <= expected


def test_a_training_step_equals_the_references() -> None:
    results = {}
    for name in ("aten", "reference"):
        generator = torch.Generator().manual_seed(0)
        model = scratchnet.models.noise2noise(generator=generator).to(dtype=torch.float64)
        x = torch.rand(2, 3, 8, 12, generator=generator, dtype=torch.float64)
        sgd, mse = scratchnet.SGD(model.param(), 0.5), scratchnet.MSE()
        with scratchnet.use_backend(name):
            for _ in range(3):
                loss = mse.forward(model.forward(x), x)
                model.zero_grad()
                grad_x = model.backward(mse.backward())
                sgd.step()
        assert not loss.requires_grad
        assert not grad_x.requires_grad
        results[name] = [loss, grad_x, *(value for value, _ in model.param())]
    for actual, expected in zip(results["aten"], results["reference"], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_what_it_does_not_support_it_says() -> None:
    layer = scratchnet.NearestUpsampling(2, backend="aten")
    with pytest.raises(scratchnet.errors.BackendError, match=r"float32 and float64 only.*bfloat16"):
        layer(torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16))
