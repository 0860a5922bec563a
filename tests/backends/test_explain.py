"""explain: what would run a call, or the calls of a layer, and what keeps the others from it."""

from __future__ import annotations

import pytest
import torch
from installed import OP, Site
from test_dispatch import TWICE, Loopback, abcd, loopback, picky

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import PluginError, TypeMismatch
from scratchnet.ops.upsample import upsample_nearest

__all__ = ["abcd", "loopback", "picky"]  # fixtures

X = torch.ones(1, 1, 2, 5)


def test_each_source_is_named(abcd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def source() -> str:
        return scratchnet.explain("upsample_nearest", X, **TWICE).source

    assert source() == "default"
    scratchnet.set_backend("d")
    assert source() == "set_backend"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "c")
    assert source() == "the environment variable SCRATCHNET_BACKEND"
    with scratchnet.use_backend("b"):
        assert source() == "use_backend"
    explanation = scratchnet.explain("upsample_nearest", X, **TWICE, backend="a")
    assert explanation.source == "backend= of the call or layer"
    assert explanation.backend == "a"


def test_explain(abcd: None, loopback: Loopback, picky: Backend) -> None:
    explanation = scratchnet.explain("upsample_nearest", X, **TWICE)
    assert explanation.backend in ("reference", "cpp")
    assert explanation.reasons[explanation.backend].startswith("runs")
    assert explanation.reasons["picky"] == "images are at most 4 wide, this is 5"
    assert "only in 'auto+loopback'" in explanation.reasons["loopback"]
    text = str(explanation)
    assert text.startswith(f"upsample_nearest: {explanation.backend} (chosen by default)")
    assert len(text.splitlines()) == 1 + len(scratchnet.backends.names())
    assert loopback.calls == [], "explain runs nothing"

    named = scratchnet.explain("upsample_nearest", X, **TWICE, backend="a")
    assert named.backend == "a"
    assert "chose 'a'" in named.reasons["reference"]
    strict = scratchnet.explain("upsample_nearest", X, **TWICE, backend="picky")
    assert strict.backend is None
    assert "nothing can run this" in str(strict)
    unknown = scratchnet.explain("upsample_nearest", X, **TWICE, backend="cpq")
    assert unknown.backend is None
    assert "did you mean 'cpp'" in unknown.reasons["cpq"]


def test_what_the_named_backend_does_not_implement_is_said(picky: Backend) -> None:
    explanation = scratchnet.explain("relu", X, backend="picky")
    assert explanation.backend == "reference"
    assert explanation.reasons["picky"] == "does not implement relu"
    assert explanation.reasons["reference"].startswith("runs")


def test_options_have_their_defaults() -> None:
    """As in the documentation: the operation by name or itself, and no more than its tensors."""
    x, weight = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)
    from scratchnet.ops.conv import conv2d

    for op in ("conv2d", conv2d):
        assert scratchnet.explain(op, x, weight).op == "conv2d"
    assert scratchnet.explain("conv2d", x, weight, None, stride=(2, 1)).op == "conv2d"


def test_an_unknown_operation_is_guessed() -> None:
    with pytest.raises(PluginError, match="no op 'conv2': did you mean 'conv2d'"):
        scratchnet.explain("conv2", X, X)
    with pytest.raises(PluginError, match="no op 'conv2d_forward': did you mean 'conv2d'"):
        scratchnet.explain("conv2d_forward", X, X)


def test_a_layer(loopback: Loopback) -> None:
    """The calls that it makes, in order; nothing of it is changed."""
    loopback.calls.clear()
    model = scratchnet.Sequential(
        scratchnet.Conv2d(1, 2, 1), scratchnet.ReLU(), scratchnet.NearestUpsampling(2)
    )
    found = scratchnet.explain(model, X, backend="loopback")
    assert [(call.op, call.backend) for call in found.calls] == [
        ("conv2d", "loopback"),
        ("relu", "loopback"),
        ("upsample_nearest", "loopback"),
    ]
    assert str(found).count("(chosen by use_backend)") == 3
    assert model.training
    with pytest.raises(scratchnet.errors.OrderError):
        model.backward(torch.ones(1, 2, 4, 10))
    nothing = scratchnet.explain(scratchnet.Sequential(), X)
    assert str(nothing) == "this layer calls no operation"


def test_something_that_is_neither() -> None:
    with pytest.raises(TypeMismatch, match="an operation, its name, or a layer; got int"):
        scratchnet.explain(3, X)


def test_a_broken_plugin_is_survived(site: Site) -> None:
    site.install("broken-backend", "1 / 0\n", backends={"broken": "backend"})
    explanation = scratchnet.explain("upsample_nearest", X, **TWICE)
    assert "ZeroDivisionError" in explanation.reasons["broken"]
    assert explanation.backend is not None


@pytest.fixture
def doubled(site: Site) -> None:
    site.install("doubling", OP.format(name="doubled"), ops={"doubled": "op"})


def test_an_installed_operation_is_like_ours(doubled: None) -> None:
    """Listed, run, explained, traced and checked by its name."""
    from scratchnet.testing import backend_checks

    assert "doubled" in scratchnet.ops.names()
    assert not scratchnet.ops.info("doubled").builtin
    op = scratchnet.ops.get("doubled")
    with dispatch.trace() as calls:
        y, back = dispatch.run(op, torch.ones(2), factor=3.0)
    assert calls == [("doubled", "reference")]
    assert (y.tolist(), back(y)[0].tolist()) == ([3, 3], [9, 9])
    explanation = scratchnet.explain("doubled", torch.ones(2))
    assert explanation.backend == "reference"
    assert explanation.reasons["cpp"] == "does not implement doubled"
    own = [check for check in backend_checks("reference") if check.name.startswith("doubled/")]
    assert {"doubled/differences", "doubled/needs", "doubled/errors"} <= {c.name for c in own}
    for check in own:
        check()


def test_an_object_that_is_not_registered_is_explained() -> None:
    backend = Backend("mine")
    backend.implement(upsample_nearest, how=lambda x, scale: f"runs, {scale[0]} times as high")
    explanation = scratchnet.explain("upsample_nearest", X, **TWICE, backend=backend)
    assert explanation.reasons["mine"] == "runs, 2 times as high"
