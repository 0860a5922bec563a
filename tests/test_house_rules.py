"""The rules of the house, read off the syntax trees, and proven on a running training step."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import scratchnet

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "scratchnet"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

# These alone may import torch.nn or autograd: they compare with torch, or lead to it and from it.
MAY_USE_TORCH_NN = ("bench", "interop", "testing")

# The spine, lowest first: each may import what stands before it.
SPINE = ["errors", "registry", "ops", "backends", "layers", "optim"]


def component(path: Path) -> str:
    """Return the part of the house that a file belongs to: its name right under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def names(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every dotted name that a file imports or uses, with its line."""
    for node in ast.walk(TREES[path]):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            yield from ((alias.name, line) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", line) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node), line
        elif isinstance(node, ast.Call):
            yield from ((f"{k.arg}=", line) for k in node.keywords if k.arg)


FORBIDDEN = re.compile(
    r"""torch\.(nn|autograd|func|_C|ops|jit|compile|_dynamo)\b
      | torch\.(conv\w*|convolution|_convolution|cudnn\w*|mkldnn\w*|enable_grad|set_grad_enabled)$
      | (.*\.)?(requires_grad_|retain_grad|register_hook|grad_fn)$
      | requires_grad=$""",
    re.VERBOSE,
)
ALLOWED = {
    ("ops", "torch.nn.functional.fold"),
    ("ops", "torch.nn.functional.unfold"),
    ("backends", "torch.ops"),
    ("backends", "torch.ops.aten"),
    ("layers", "torch._C._disabled_torch_function_impl"),
}


def test_the_sources_are_found() -> None:
    assert {"layers", "backends", "ops", "verify", "optim", "errors"} <= {
        component(path) for path in SOURCES
    }


def test_no_autograd_and_no_torch_nn_in_the_product() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} uses {name}"
        for path in SOURCES
        if component(path) not in MAY_USE_TORCH_NN
        for name, line in names(path)
        if FORBIDDEN.match(name) and (component(path), name) not in ALLOWED
    ]
    assert found == []


def test_unfold_and_fold_serve_the_specifications_alone() -> None:
    users = {
        path.name
        for path in SOURCES
        if component(path) not in MAY_USE_TORCH_NN
        for name, _ in names(path)
        if name.startswith("torch.nn")
    }
    assert users == {"conv.py"}


@pytest.mark.parametrize(
    "source",
    [
        "from torch import nn",
        "import torch.nn.functional as F",
        "from torch.autograd import grad",
        "torch.nn.functional.conv2d(x, w)",
        "torch.conv2d(x, w)",
        "torch.conv_transpose2d(x, w)",
        "torch.ops.aten.convolution_backward(x)",
        "weight.requires_grad_()",
        "torch.zeros(3, requires_grad=True)",
        "from torch._C._nn import upsample_nearest2d",
        "torch.compile(f)",
    ],
)
def test_the_rule_would_notice(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PACKAGE / "layers" / "made_up.py"
    monkeypatch.setitem(TREES, path, ast.parse(source))
    assert any(FORBIDDEN.match(name) for name, _ in names(path))


def test_a_training_step_runs_with_autograd_taken_away(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("the product must not call this")

    model, mse = scratchnet.models.noise2noise(), scratchnet.MSE()
    optimizer = scratchnet.Adam(
        model.param()
    )  # imports torch's compiler, which is not ours to stop
    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    monkeypatch.setattr(torch.Tensor, "requires_grad_", forbidden)
    monkeypatch.setattr(torch.autograd, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    monkeypatch.setattr(torch.nn.Module, "__call__", forbidden)
    x, y = torch.rand(2, 2, 3, 8, 8)
    before = [value.clone() for value, _ in model.param()]
    loss = mse.forward(model.forward(x), y)
    model.zero_grad()
    grad_x = model.backward(mse.backward())
    optimizer.step()
    tensors = [loss, grad_x, *(tensor for pair in model.param() for tensor in pair)]
    # autograd's own flag: that of a Parameter says whether optimizers train it
    assert not any(torch.Tensor.requires_grad.__get__(t) or t.grad_fn for t in tensors)
    assert all(not torch.equal(v, b) for (v, _), b in zip(model.param(), before, strict=True))


# -- the house: imports only point down ------------------------------------------------------------


def imports(path: Path) -> set[str]:
    """Return the parts of the house that a file imports; "" for the package itself."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.module == "scratchnet":
            submodules = {a.name for a in node.names if (PACKAGE / a.name).exists()}
            submodules |= {a.name for a in node.names if (PACKAGE / f"{a.name}.py").exists()}
            found |= submodules
            if len(submodules) < len(node.names):
                found.add("")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scratchnet."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "scratchnet":
                    found.add((alias.name + ".").split(".")[1])
    return found - {component(path)}


@pytest.mark.parametrize("part", SPINE)
def test_the_spine_imports_only_what_stands_below(part: str) -> None:
    below = set(SPINE[: SPINE.index(part)])
    for path in SOURCES:
        if component(path) == part:
            assert imports(path) <= below, path


def test_nothing_imports_the_command_line() -> None:
    users = [p for p in SOURCES if "cli" in imports(p) and p.name != "__main__.py"]
    assert users == []


def test_no_two_parts_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        if path != PACKAGE / "__init__.py":
            graph.setdefault(component(path), set()).update(imports(path) - {""})
    while free := [part for part, needs in graph.items() if not needs & graph.keys()]:
        for part in free:
            del graph[part]
    assert graph == {}, "these import each other"


def test_a_layer_calls_dispatch_and_never_a_backend() -> None:
    for path in SOURCES:
        for name, line in names(path):
            concrete = re.match(r"scratchnet\.backends\.cpp\b", name)
            allowed = component(path) in ("backends", "bench", "cli", "testing", "training")
            assert not concrete or allowed, f"{path}:{line} imports {name}"


# -- small print -----------------------------------------------------------------------------------


def test_torch_load_never_runs_code() -> None:
    for path in SOURCES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}"


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    marks = re.compile(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)\b")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert not marks.search(ast.unparse(node)), f"{path}:{node.lineno}"


def test_the_pinned_torch_is_of_the_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert not [r for r in project["build-system"]["requires"] if re.match(r"torch\b", r)]
    (wanted,) = [r for r in project["project"]["dependencies"] if re.match(r"torch\b", r)]
    (pinned,) = re.findall(r"^torch==(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert Requirement(wanted).specifier.contains(pinned)


def test_no_file_of_csrc_includes_torch() -> None:
    for path in (ROOT / "csrc").rglob("*.*"):
        included = re.findall(r"#include\s*[<\"](.*)[>\"]", path.read_text())
        assert not [name for name in included if re.match(r"torch|ATen|c10", name)], path


def test_the_entry_points_are_the_built_in_classes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in project["project"]["entry-points"]["scratchnet.layers"]:
        kind = scratchnet.layers.get(name)
        assert name == kind.__name__ or f"torch.nn.{name}" in kind.torch_names
    for kind in (scratchnet.backends, scratchnet.ops):
        for name in project["project"]["entry-points"][kind.__name__]:
            assert kind.get(name).name == name


IMPORT = """
import json, sys, torch
before = torch.get_rng_state()
import scratchnet
alone = sorted(name for name in sys.modules if name.startswith("scratchnet"))
# what a training step and a listing of plugins need
scratchnet.Conv2d, scratchnet.Sequential, scratchnet.MSE, scratchnet.SGD, scratchnet.load
scratchnet.layers.names(), scratchnet.backends.names()
print(json.dumps({
    "alone": alone,
    "dtype": str(torch.get_default_dtype()),
    "grad": torch.is_grad_enabled(),
    "rng": bool((torch.get_rng_state() == before).all()),
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "modules": sorted(sys.modules),
}))
"""


def test_importing_changes_nothing_and_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    state = json.loads(line)
    modules = set(state.pop("modules"))
    assert state.pop("alone") == ["scratchnet"]
    assert state == {"dtype": "torch.float32", "grad": True, "rng": True, "deterministic": False}
    # quick to import: nothing that only some uses need, and no plugin (tests/test_plugins.py has
    # some installed)
    slow = {"matplotlib", "skimage", "scipy", "PIL", "rich", "typer", "hypothesis", "pytest"}
    assert not modules & slow
    assert not modules & {"scratchnet._C", "scratchnet.testing", "scratchnet.cli"}
    assert not [m for m in modules if m.startswith("scratchnet_")]
