"""Which backend runs: precedence, strictness, threads, traces, explanations."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from installed import BACKEND, Site

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.backends.reference import ReferenceBackend
from scratchnet.errors import BackendError, PluginError, TypeMismatch

OPERATIONS = [name for name in vars(Backend) if name.endswith(("_forward", "_backward"))]


class Loopback(ReferenceBackend):
    """The reference, keeping a list of what it was asked to do."""

    name = "loopback"
    priority = 1000

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> object:
        if name in OPERATIONS:
            self.calls.append(name)
        return super().__getattribute__(name)


class Named(ReferenceBackend):
    """A reference under another name."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    backend = Loopback()
    scratchnet.backends.register("loopback", backend)
    yield backend
    scratchnet.backends.unregister("loopback")


@pytest.fixture
def abcd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backends a, b, c and d that take no part in auto."""
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    for name in "abcd":
        scratchnet.backends.register(name, Named(name))
    yield
    for name in "abcd":
        scratchnet.backends.unregister(name)


def chosen(layer_backend: object = None) -> str:
    """The backend that a layer's forward really resolves to."""
    layer = scratchnet.NearestUpsampling(2, backend=layer_backend)
    with dispatch.trace() as calls:
        layer(torch.ones(1, 1, 1, 1))
    assert [op for op, _ in calls] == ["upsample_nearest_forward"]
    return calls[0][1]


def test_precedence(abcd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    default = chosen()
    assert default in ("reference", "cpp")
    scratchnet.set_backend("d")
    assert chosen() == "d"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "c")
    assert chosen() == "c"
    with scratchnet.use_backend("b"):
        assert chosen() == "b"
        assert chosen("a") == "a"
        assert chosen(scratchnet.backends.get("a")) == "a"
        assert chosen("auto") == default
    assert chosen() == "c"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "a")  # read at each resolve
    assert chosen() == "a"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "")  # empty is as good as unset
    assert chosen() == "d"
    scratchnet.set_backend("auto")
    assert chosen() == default


def test_each_source_is_named(abcd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def source() -> str:
        return scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2)).source

    x = torch.ones(1, 1, 1, 1)
    assert source() == "default"
    scratchnet.set_backend("d")
    assert source() == "set_backend"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "c")
    assert source() == "the environment variable SCRATCHNET_BACKEND"
    with scratchnet.use_backend("b"):
        assert source() == "use_backend"
    explanation = scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2), backend="a")
    assert explanation.source == "backend= of the call or layer"
    assert explanation.backend == "a"


def test_nested_blocks_end_even_by_an_exception(abcd: None) -> None:
    with scratchnet.use_backend("a"):
        with pytest.raises(ZeroDivisionError), scratchnet.use_backend("b"):
            raise ZeroDivisionError(chosen())
        assert chosen() == "a"
        with scratchnet.use_backend("auto"):
            assert chosen() in ("reference", "cpp")
        assert chosen() == "a"


def test_a_block_holds_in_its_own_thread_alone(abcd: None) -> None:
    scratchnet.set_backend("d")
    seen: dict[str, list[str]] = {}
    start = threading.Barrier(3)

    def work(name: str) -> None:
        start.wait(10)
        with scratchnet.use_backend(name):
            seen[name] = [chosen() for _ in range(50)]
        seen[name].append(chosen())

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    with scratchnet.use_backend("c"):
        start.wait(10)
        seen["c"] = [chosen() for _ in range(50)]
        for thread in threads:
            thread.join(60)
    seen["c"].append(chosen())
    assert seen == {name: [name] * 50 + ["d"] for name in "abc"}


def test_backward_uses_the_backend_of_its_forward(loopback: Loopback) -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    with scratchnet.use_backend("loopback"):
        y = layer(torch.randn(1, 2, 5, 5))
    with scratchnet.use_backend("reference"):
        layer.backward(torch.ones_like(y))
    assert loopback.calls == ["conv2d_forward", "conv2d_backward"]


LAYERS = {
    "Conv2d": (lambda: scratchnet.Conv2d(2, 4, 3, groups=2), ["conv2d"]),
    "TransposeConv2d": (lambda: scratchnet.TransposeConv2d(2, 3, 3), ["conv2d"]),
    "NearestUpsampling": (lambda: scratchnet.NearestUpsampling(2), ["upsample_nearest"]),
    "Upsampling": (lambda: scratchnet.Upsampling(2, 3, 3), ["upsample_conv2d"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_call_of_every_layer_goes_through_dispatch(
    name: str, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward reach the selected backend, and nothing that torch offers instead."""
    make, families = LAYERS[name]

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a layer must leave this to its backend")

    for function in ("conv2d", "conv_transpose2d", "convolution"):
        monkeypatch.setattr(torch, function, forbidden)
    layer = make()
    with scratchnet.use_backend("loopback"), dispatch.trace() as calls:
        y = layer(torch.randn(2, 2, 5, 4))
        layer.backward(torch.ones_like(y))
    assert {backend for _, backend in calls} == {"loopback"}
    for family in families:
        assert any(call.startswith(f"{family}_") for call in loopback.calls)
    assert any(call.endswith("_backward") for call in loopback.calls)


def test_a_training_step_of_the_network_uses_the_selected_backend_only(loopback: Loopback) -> None:
    model = scratchnet.models.noise2noise()
    mse = scratchnet.MSE()
    with scratchnet.use_backend("loopback"), dispatch.trace() as calls:
        x = torch.rand(2, 3, 8, 8)
        mse.forward(model.forward(x), x)
        model.backward(mse.backward())
    assert {backend for _, backend in calls} == {"loopback"}
    assert len(calls) >= 1
    assert sum(call.endswith("_backward") for call in loopback.calls) >= 4


class Picky(ReferenceBackend):
    """Supports nothing that is wider than 4."""

    name = "picky"
    priority = 1000

    def supports(self, op: str, *args: object, **kwargs: object) -> object:
        x = args[0]
        return True if x.shape[3] <= 4 else f"images are at most 4 wide, this is {x.shape[3]}"


@pytest.fixture
def picky() -> Iterator[None]:
    scratchnet.backends.register("picky", Picky())
    yield
    scratchnet.backends.unregister("picky")


def test_a_name_is_strict(picky: None) -> None:
    narrow, wide = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 5)
    layer = scratchnet.NearestUpsampling(2, backend="picky")
    assert layer(narrow).shape == (1, 1, 4, 8)
    with pytest.raises(BackendError, match=r"'picky' \(chosen by backend= of the call or layer\)"):
        layer(wide)
    with pytest.raises(BackendError, match="cannot run upsample_nearest_forward: images are at"):
        layer(wide)


def test_auto_takes_what_supports_the_call(picky: None) -> None:
    with scratchnet.use_backend("auto+picky"), dispatch.trace() as calls:
        layer = scratchnet.NearestUpsampling(2)
        layer(torch.ones(1, 1, 2, 4))
        layer(torch.ones(1, 1, 2, 5))
    assert calls[0][1] == "picky"
    assert calls[1][1] in ("cpp", "reference")


def test_a_third_party_backend_is_in_auto_only_when_opted_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    source = BACKEND.format(name="fast", priority=10_000, available=True)
    site.install("fast-backend", source, backends={"fast": "Backend"})
    assert chosen() in ("reference", "cpp")
    assert chosen("auto+fast") == "fast"
    assert chosen("fast") == "fast"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "auto+fast")
    assert chosen() == "fast"


def test_auto_leaves_out_what_is_not_available(site: Site) -> None:
    source = BACKEND.format(name="gone", priority=10_000, available="the device is unplugged")
    site.install("gone-backend", source, backends={"gone": "Backend"})
    assert chosen("auto+gone") in ("reference", "cpp")
    with pytest.raises(BackendError, match="'gone' is not available: the device is unplugged"):
        scratchnet.set_backend("gone")


def test_a_kernels_own_exception_is_not_swallowed() -> None:
    class Failing(ReferenceBackend):
        name = "failing"

        def upsample_nearest_forward(self, x: torch.Tensor, *, scale: object) -> torch.Tensor:
            raise FloatingPointError("the kernel broke")

    with pytest.raises(FloatingPointError, match="the kernel broke"):
        scratchnet.NearestUpsampling(2, backend=Failing())(torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize("select", [scratchnet.set_backend, lambda n: use(n), lambda n: chosen(n)])
def test_an_unknown_name_fails_at_once(select: object) -> None:
    with pytest.raises(PluginError, match="no backend 'refrence': did you mean 'reference'"):
        select("refrence")


def use(name: object) -> None:
    with scratchnet.use_backend(name):
        pass


def test_an_unknown_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHNET_BACKEND", "auto+ccp")
    with pytest.raises(PluginError, match="no backend 'ccp': did you mean 'cpp'"):
        chosen()


@pytest.mark.parametrize("select", [scratchnet.set_backend, use])
def test_something_that_is_no_backend(select: object) -> None:
    with pytest.raises(TypeMismatch, match="a backend's name or a Backend, got int"):
        select(3)


def test_explain(abcd: None, loopback: Loopback, picky: None) -> None:
    x = torch.ones(1, 1, 2, 5)
    explanation = scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2))
    assert explanation.backend in ("reference", "cpp")
    assert explanation.reasons[explanation.backend].startswith("runs")
    assert explanation.reasons["picky"] == "images are at most 4 wide, this is 5"
    assert "only in 'auto+loopback'" in explanation.reasons["loopback"]
    text = str(explanation)
    assert text.startswith(f"upsample_nearest_forward: {explanation.backend} (chosen by default)")
    assert len(text.splitlines()) == 1 + len(scratchnet.backends.names())
    assert loopback.calls == [], "explain runs nothing"

    named = scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2), backend="a")
    assert named.backend == "a"
    assert "chose 'a'" in named.reasons["reference"]
    strict = scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2), backend="picky")
    assert strict.backend is None
    assert "nothing can run this" in str(strict)
    unknown = scratchnet.explain("upsample_nearest_forward", x, scale=(2, 2), backend="cpq")
    assert unknown.backend is None
    assert "did you mean 'cpp'" in unknown.reasons["cpq"]


def test_explain_survives_a_broken_plugin(site: Site) -> None:
    site.install("broken-backend", "1 / 0\n", backends={"broken": "Backend"})
    explanation = scratchnet.explain(
        "upsample_nearest_forward", torch.ones(1, 1, 1, 1), scale=(2, 2)
    )
    assert "ZeroDivisionError" in explanation.reasons["broken"]
    assert explanation.backend is not None


def test_a_trace_sees_its_own_thread_alone() -> None:
    with dispatch.trace() as calls:
        thread = threading.Thread(target=chosen)
        thread.start()
        thread.join(60)
        assert calls == []
        chosen("reference")
    assert calls == []  # chosen() traces for itself


def test_layers_remember_their_backend_in_copies() -> None:
    import copy
    import pickle

    layer = scratchnet.Conv2d(2, 3, 3, backend="reference")
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with dispatch.trace() as calls:
            twin(torch.zeros(1, 2, 3, 3))
        assert calls == [("conv2d_forward", "reference")]
