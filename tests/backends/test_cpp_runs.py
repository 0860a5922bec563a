"""The proof that the C++ backend really ran: where it is missing, every test here fails.

`auto` falls back to the reference, so without this proof "cpp equals reference" could compare the
reference with itself. Left out only where the build's record says there was no compiler.
"""

from __future__ import annotations

import re
import subprocess

import pytest
import torch

import scratchnet
from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.ops.op import Implementation


@pytest.fixture(autouse=True)
def _auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)


def test_it_was_built_and_loads() -> None:
    assert scratchnet.backends.get("cpp").available() is True
    from scratchnet import _C

    assert _C.__file__.endswith((".so", ".pyd"))


def test_it_is_tied_to_no_torch() -> None:
    """One build serves every torch: no symbol of libtorch's, no OpenMP runtime of its own."""
    from scratchnet import _C

    def shown(*command: str) -> str:
        return subprocess.run(
            [*command, _C.__file__], capture_output=True, text=True, check=True
        ).stdout

    symbols = shown("nm", "-D", "-C", "--undefined-only")
    assert "PyObject_" in symbols, "what the compiler calls its symbols"
    assert not re.findall(r".*\b(?:at|c10|torch|aoti_torch\w*)\b.*|.*(?:GOMP|omp_|kmpc).*", symbols)
    needed = re.findall(r"NEEDED\s+(\S+)", shown("objdump", "-p"))
    assert "libc.so.6" in needed
    assert not [name for name in needed if re.search("torch|c10|omp", name)]


def test_its_threads_are_torchs() -> None:
    from scratchnet import _C

    with open("/proc/self/maps") as file:
        runtimes = set(re.findall(r"\S*lib(?:gomp|iomp|omp)\S*", file.read()))
    assert _C.threads_runtime() in runtimes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_auto_runs_a_whole_training_step_on_cpp(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("the reference ran where cpp should have")

    for name in ops.names():
        monkeypatch.setattr(ops.get(name), "reference", Implementation(forbidden, forbidden))
    model, mse = scratchnet.models.noise2noise().to(dtype=dtype), scratchnet.MSE()
    x = torch.rand(2, 3, 8, 8, dtype=dtype)
    with dispatch.trace() as calls:
        mse.forward(model.forward(x), x)
        model.backward(mse.backward())
    assert calls == [("graph", "cpp"), ("mse_loss", "cpp")]
    assert all(grad.abs().sum() > 0 for _, grad in model.param())


def test_the_result_is_made_by_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the extension returns is what the layer returns."""
    from scratchnet import _C
    from scratchnet.ops.extension import extension

    asked = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            asked.append(name)
            return getattr(_C, name)

    monkeypatch.setitem(vars(extension), "_module", Counting())
    layer = scratchnet.Conv2d(2, 3, 3, backend="cpp")
    y = layer(torch.randn(1, 2, 5, 5))
    assert "conv2d_forward" in asked
    asked.clear()
    layer.backward(torch.ones_like(y))
    assert {"conv2d_input_grad", "conv2d_weight_grad"} <= set(asked)


def test_explain_says_cpp() -> None:
    x, weight = torch.zeros(1, 2, 5, 5), torch.zeros(3, 2, 3, 3)
    explanation = scratchnet.explain("conv2d", x, weight)
    assert explanation.backend == "cpp"
    assert re.fullmatch(r"runs, with \w+ instructions", explanation.reasons["cpp"])
    layers = [scratchnet.Conv2d(2, 3, 3), scratchnet.ReLU(), scratchnet.NearestUpsampling(2)]
    found = scratchnet.explain(scratchnet.Sequential(*layers), x)
    assert [(call.op, call.backend) for call in found.calls] == [
        ("graph", "cpp"),
        ("upsample_nearest", "cpp"),
    ]


def test_every_operation_of_ours_has_an_implementation() -> None:
    cpp = scratchnet.backends.get("cpp")
    own = [name for name in ops.names() if ops.info(name).builtin]
    missing = {name for name in own if cpp.implementation(ops.get(name)) is None}
    assert missing <= {
        *("add", "concat", "pad", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
        *("attention_weights", "bilinear", "glu", "local_response_norm", "prelu", "swiglu"),
    }, "plain torch serves these"
