"""Which backend runs: precedence, strictness, threads, traces."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from installed import BACKEND, Site

import scratchnet
from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import (
    ArgumentError,
    BackendError,
    OrderError,
    PluginError,
    ShapeError,
    TypeMismatch,
)
from scratchnet.ops.conv import conv2d
from scratchnet.ops.graph import Stages, graph
from scratchnet.ops.kinked import relu
from scratchnet.ops.op import Op
from scratchnet.ops.smooth import sigmoid
from scratchnet.ops.upsample import upsample_nearest

TWICE = {"scale": (2, 2)}


class Loopback(Backend):
    """The reference, keeping a list of what it was asked to do; a graph it does not run."""

    def __init__(self, name: str = "loopback", priority: int = 1000) -> None:
        super().__init__(name, priority=priority)
        self.calls: list[str] = []
        for each in ops.names():
            if each != "graph":
                self.record(ops.get(each))

    def record(self, op: Op) -> None:
        def forward(*tensors: Any, **options: Any) -> Any:
            self.calls.append(f"{op.name} forward")
            return op.reference.forward(*tensors, **options)

        def backward(*tensors: Any, **options: Any) -> Any:
            self.calls.append(f"{op.name} backward")
            return op.reference.backward(*tensors, **options)

        self.implement(op, forward=forward, backward=backward)


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
        scratchnet.backends.register(name, Loopback(name, 0))
    yield
    for name in "abcd":
        scratchnet.backends.unregister(name)


def chosen(layer_backend: object = None) -> str:
    """The backend that a layer's forward really resolves to."""
    layer = scratchnet.NearestUpsampling(2, backend=layer_backend)
    with dispatch.trace() as calls:
        layer(torch.ones(1, 1, 1, 1))
    assert [op for op, _ in calls] == ["upsample_nearest"]
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
    assert loopback.calls == ["conv2d forward", "conv2d backward"]


LAYERS = {
    "Conv2d": (lambda: scratchnet.Conv2d(2, 4, 3, groups=2), "conv2d"),
    "TransposeConv2d": (lambda: scratchnet.TransposeConv2d(2, 3, 3), "conv2d_input_grad"),
    "NearestUpsampling": (lambda: scratchnet.NearestUpsampling(2), "upsample_nearest"),
    "Upsampling": (lambda: scratchnet.Upsampling(2, 3, 3), "upsample_conv2d"),
    "ReLU": (scratchnet.ReLU, "relu"),
    "Sigmoid": (scratchnet.Sigmoid, "sigmoid"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_call_of_every_layer_goes_through_dispatch(
    name: str, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward reach the selected backend, and nothing that torch offers instead."""
    make, op = LAYERS[name]

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a layer must leave this to its backend")

    for function in ("conv2d", "conv_transpose2d", "convolution"):
        monkeypatch.setattr(torch, function, forbidden)
    layer = make()
    with scratchnet.use_backend("loopback"), dispatch.trace() as calls:
        y = layer(torch.randn(2, 2, 5, 4))
        layer.backward(torch.ones_like(y))
    assert {backend for _, backend in calls} == {"loopback"}
    assert f"{op} forward" in loopback.calls
    assert any(call.endswith(" backward") for call in loopback.calls)


def test_a_training_step_of_the_network_uses_the_selected_backend_only(loopback: Loopback) -> None:
    model = scratchnet.models.noise2noise()
    mse = scratchnet.MSE()
    with scratchnet.use_backend("loopback"), dispatch.trace() as calls:
        x = torch.rand(2, 3, 8, 8)
        mse.forward(model.forward(x), x)
        model.backward(mse.backward())
    assert {backend for _, backend in calls} == {"loopback"}
    assert len(calls) == 9  # four convolutions, four activations, the loss
    assert sum(call.endswith(" backward") for call in loopback.calls) == 9


def test_a_network_is_one_call_where_the_backend_runs_graphs(loopback: Loopback) -> None:
    loopback.record(graph)
    model = scratchnet.models.noise2noise()
    with scratchnet.use_backend("loopback"), dispatch.trace() as calls:
        y = model.forward(torch.rand(2, 3, 8, 8))
        model.backward(torch.ones_like(y))
    assert calls == [("graph", "loopback")]
    assert loopback.calls == ["graph forward", "graph backward"]


@pytest.fixture
def picky() -> Iterator[Backend]:
    """A backend that supports nothing wider than 4, and of all operations but one at all."""

    def supports(x: torch.Tensor, **options: object) -> object:
        return True if x.shape[3] <= 4 else f"images are at most 4 wide, this is {x.shape[3]}"

    backend = Backend("picky", priority=1000)
    backend.implement(upsample_nearest, supports=supports)
    scratchnet.backends.register("picky", backend)
    yield backend
    scratchnet.backends.unregister("picky")


def test_a_name_is_strict(picky: Backend) -> None:
    narrow, wide = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 5)
    layer = scratchnet.NearestUpsampling(2, backend="picky")
    assert layer(narrow).shape == (1, 1, 4, 8)
    with pytest.raises(BackendError, match=r"'picky' \(chosen by backend= of the call or layer\)"):
        layer(wide)
    with pytest.raises(BackendError, match="cannot run upsample_nearest: images are at most 4"):
        layer(wide)


def test_what_a_named_backend_does_not_implement_runs_on_the_reference(picky: Backend) -> None:
    with scratchnet.use_backend("picky"), dispatch.trace() as calls:
        y, back = dispatch.run(relu, torch.randn(2, 3))
        back(torch.ones_like(y))
        scratchnet.Conv2d(2, 3, 3)(torch.ones(1, 2, 9, 9))
    assert calls == [("relu", "reference"), ("conv2d", "reference")]


def test_a_named_backend_that_is_not_available_runs_nothing() -> None:
    gone = Backend("gone", available=lambda: "the device is unplugged")
    with pytest.raises(BackendError, match=r"'gone' .* cannot run relu: the device is unplugged"):
        dispatch.run(relu, torch.ones(2), backend=gone)


def test_auto_takes_what_supports_the_call(picky: Backend) -> None:
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
    site.install("fast-backend", source, backends={"fast": "backend"})
    assert chosen() in ("reference", "cpp")
    assert chosen("auto+fast") == "fast"
    assert chosen("fast") == "fast"
    monkeypatch.setenv("SCRATCHNET_BACKEND", "auto+fast")
    assert chosen() == "fast"


def test_auto_leaves_out_what_is_not_available(site: Site) -> None:
    source = BACKEND.format(name="gone", priority=10_000, available="the device is unplugged")
    site.install("gone-backend", source, backends={"gone": "backend"})
    assert chosen("auto+gone") in ("reference", "cpp")
    with pytest.raises(BackendError, match="'gone' is not available: the device is unplugged"):
        scratchnet.set_backend("gone")


def test_a_kernels_own_exception_is_not_swallowed() -> None:
    def broken(*tensors: object, **options: object) -> None:
        raise FloatingPointError("the kernel broke")

    failing = Backend("failing")
    failing.implement(upsample_nearest, forward=broken, backward=broken)
    with pytest.raises(FloatingPointError, match="the kernel broke"):
        scratchnet.NearestUpsampling(2, backend=failing)(torch.ones(1, 1, 1, 1))
    failing = Backend("failing")
    failing.implement(upsample_nearest, backward=broken)
    layer = scratchnet.NearestUpsampling(2, backend=failing)
    y = layer(torch.ones(1, 1, 1, 1))
    with pytest.raises(FloatingPointError, match="the kernel broke"):
        layer.backward(y)


def test_arguments_are_checked_before_any_implementation(loopback: Loopback) -> None:
    x, weight = torch.ones(1, 3, 5, 5), torch.ones(4, 2, 3, 3)
    attempts = [
        (ShapeError, "3 channels do not fit", (x, weight), {}),
        (ArgumentError, r"conv2d\(x, weight, bias=None, .*\): weight is missing", (x,), {}),
        (ArgumentError, "got 4 tensors", (x, weight, None, x), {}),
        (ArgumentError, "strides is no option of it", (x, weight), {"strides": 2}),
        (TypeMismatch, "expects a tensor for x, got None", (None, weight), {}),
        (TypeMismatch, "expects a tensor for weight, got int", (x, 3), {}),
        (TypeMismatch, "of one dtype", (x, weight.double()), {}),
    ]
    for error, message, tensors, options in attempts:
        with pytest.raises(error, match=message):
            dispatch.run(conv2d, *tensors, backend="loopback", **options)
        with pytest.raises(error, match=message):
            scratchnet.explain("conv2d", *tensors, **options)
    with pytest.raises(ArgumentError, match="scale is missing"):
        dispatch.run(upsample_nearest, x, backend="loopback")
    assert loopback.calls == []


def test_an_implementation_is_registered_once() -> None:
    backend = Backend("once")
    backend.implement(relu)
    with pytest.raises(ArgumentError, match="'once' implements 'relu' already"):
        backend.implement(relu)
    with pytest.raises(ArgumentError, match="op 'relu' has an implementation of backend 'refere"):
        relu.implement("reference", forward=relu.reference.forward,
                       backward=relu.reference.backward)  # fmt: skip


def test_what_is_left_out_of_an_implementation_is_the_references() -> None:
    backend = Backend("half")
    backend.implement(relu, forward=lambda x: (x.relu() + 1, x.relu()))
    y, back = dispatch.run(relu, torch.tensor([-1.0, 2.0]), backend=backend)
    assert y.tolist() == [1, 3]
    assert back(torch.tensor([5.0, 7.0]))[0].tolist() == [0, 7]


# -- the way back ----------------------------------------------------------------------------------


def test_needs_choose_the_gradients(backend: str) -> None:
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    y, back = dispatch.run(conv2d, x, weight)
    assert back.output == (y.shape, y.dtype)
    given = back(torch.ones_like(y), needs=(False, True, False))
    assert [g is None for g in given] == [True, False, True]
    assert [g is None for g in back(torch.ones_like(y))] == [False, False, True]


def test_a_gradient_that_is_not_like_the_output(backend: str) -> None:
    y, back = dispatch.run(relu, torch.randn(2, 3))
    with pytest.raises(ShapeError, match=r"relu expects a gradient \(2, 3\).*; got \(3,\)"):
        back(torch.ones(3))
    with pytest.raises(
        TypeMismatch, match=r"expects a gradient in torch.float32, got torch.float6"
    ):
        back(y.double())


STAGES = Stages([("relu", (0,), ()), ("sigmoid", (1,), ())])
KEPT = {
    "output": (relu, (2, 3), {}, lambda tensors, y: y),
    "output of sigmoid": (sigmoid, (2, 3), {}, lambda tensors, y: y),
    "input": (conv2d, (1, 2, 5, 5), {}, lambda tensors, y: tensors[0]),
    "weight": (conv2d, (1, 2, 5, 5), {}, lambda tensors, y: tensors[1]),
    "output of the last stage": (graph, (1, 2, 5, 5), {"stages": STAGES}, lambda tensors, y: y),
}


@pytest.mark.parametrize("verify", ["0", "1"])
@pytest.mark.parametrize("name", KEPT)
def test_what_backward_reads_must_not_be_changed(
    name: str, verify: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", verify)
    op, shape, options, of = KEPT[name]
    tensors = (torch.randn(shape), *([torch.randn(3, 2, 3, 3)] if op is conv2d else []))
    on_graphs = {"backend": "reference"} if op is graph and backend != "reference" else {}
    y, back = dispatch.run(op, *tensors, **options, **on_graphs)
    back(torch.ones_like(y))
    of(tensors, y).add_(1)
    with pytest.raises(OrderError, match=r"changed in place after the forward.*clone\(\)"):
        back(torch.ones_like(y))


@pytest.mark.parametrize("verify", ["0", "1"])
def test_what_backward_does_not_read_may_be_changed(
    verify: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHNET_VERIFY", verify)
    x = torch.randn(2, 3)
    y, back = dispatch.run(relu, x)
    expected = (y > 0).float()
    x.neg_()
    assert torch.equal(back(torch.ones_like(y))[0], expected)
    images, weight, bias = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3), torch.randn(3)
    y, back = dispatch.run(conv2d, images, weight, bias)
    bias.zero_()
    assert back(torch.ones_like(y))[2].tolist() == [9, 9, 9]


def test_inference_mode(backend: str) -> None:
    """Its tensors have no version that would tell of changes."""
    layer = scratchnet.Conv2d(2, 3, 3)
    with torch.inference_mode():
        y = layer(torch.randn(1, 2, 5, 5))
        assert layer.backward(torch.ones_like(y)).shape == (1, 2, 5, 5)


# -- names that are none ---------------------------------------------------------------------------


def use(name: object) -> None:
    with scratchnet.use_backend(name):
        pass


@pytest.mark.parametrize("select", [scratchnet.set_backend, use, chosen])
def test_an_unknown_name_fails_at_once(select: Any) -> None:
    with pytest.raises(PluginError, match="no backend 'refrence': did you mean 'reference'"):
        select("refrence")


def test_an_unknown_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHNET_BACKEND", "auto+ccp")
    with pytest.raises(PluginError, match="no backend 'ccp': did you mean 'cpp'"):
        chosen()


@pytest.mark.parametrize("select", [scratchnet.set_backend, use])
def test_something_that_is_no_backend(select: Any) -> None:
    with pytest.raises(TypeMismatch, match="a backend's name or a Backend, got int"):
        select(3)


# -- traces and copies -----------------------------------------------------------------------------


def test_a_trace_sees_its_own_thread_alone() -> None:
    with dispatch.trace() as calls:
        thread = threading.Thread(target=chosen)
        thread.start()
        thread.join(60)
        assert calls == []
        chosen("reference")
    assert calls == []  # chosen() traces for itself


def test_layers_remember_their_backend_in_copies() -> None:
    layer = scratchnet.Conv2d(2, 3, 3, backend="reference")
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with dispatch.trace() as calls:
            twin(torch.zeros(1, 2, 3, 3))
        assert calls == [("conv2d", "reference")]


@pytest.mark.parametrize("shape", [(0,), (), (1,), (2, 3)])
def test_a_view_that_negates_is_read_as_it_looks(backend: str, shape: tuple[int, ...]) -> None:
    z = torch.complex(torch.randn(shape), torch.randn(shape))
    x = z.conj().imag
    assert x.is_neg()
    y, back = dispatch.run(ops.get("relu"), x)
    assert torch.equal(y, x.clone().clamp(min=0))
    (grad,) = back(x)
    assert torch.equal(grad, torch.where(x.clone() > 0, x.clone(), 0.0))
