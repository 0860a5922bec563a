"""The example plugins and those that `scratchnet new-plugin` writes, installed for real."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from freshenv import FreshEnvironment

from scratchnet.errors import ArgumentError
from scratchnet.scaffold import new_plugin

PLUGINS = Path(__file__).parent.parent / "plugins"
EXAMPLES = sorted(path.name for path in PLUGINS.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[FreshEnvironment, Path]:
    """An environment with the example plugins in it, and the folder with their sources."""
    folder = tmp_path_factory.mktemp("plugins")
    environment = FreshEnvironment(folder / "env")
    for name in EXAMPLES:  # copied, for an installation leaves files beside the source
        ignore = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "*.so")
        shutil.copytree(PLUGINS / name, folder / name, ignore=ignore)
    environment.run("pip install " + " ".join(f"./{name}" for name in EXAMPLES), folder)
    return environment, folder


def test_there_are_the_three() -> None:
    assert EXAMPLES == ["scratchnet-activations", "scratchnet-aten", "scratchnet-depthwise"]


def test_they_pass_their_own_tests(desk: tuple[FreshEnvironment, Path]) -> None:
    environment, folder = desk
    tests = " ".join(f"{name}/tests" for name in EXAMPLES)
    out = environment.run(f"pytest -q --import-mode=importlib {tests}", folder)
    assert "passed" in out
    assert "failed" not in out
    assert "skipped" not in out


def test_they_are_listed_and_change_nothing_unasked(desk: tuple[FreshEnvironment, Path]) -> None:
    environment, folder = desk
    facts = json.loads(environment.run("scratchnet info --json", folder))
    origin = {row["name"]: row["distribution"] for row in facts["layers"] + facts["backends"]}
    assert origin["Snake"] == "scratchnet-activations"
    assert origin["DepthwiseConv2d"] == "scratchnet-depthwise"
    assert origin["aten"] == "scratchnet-aten"
    assert facts["problems"] == []
    code = (
        "import sys, torch, scratchnet; from scratchnet.backends import dispatch\n"
        "with dispatch.trace() as calls: scratchnet.Conv2d(1, 1, 1)(torch.ones(1, 1, 1, 1))\n"
        "print(calls[0][1], [name for name in sys.modules if name.startswith('scratchnet_')])"
    )
    assert environment.run(f'python -c "{code}"', folder).split(maxsplit=1)[1] == "[]\n"


def test_the_kit_checks_them_by_name(desk: tuple[FreshEnvironment, Path]) -> None:
    environment, folder = desk
    out = environment.run("scratchnet check Snake DepthwiseConv2d --backend aten", folder)
    assert "FAILED" not in out
    assert out.count(" checks passed") == 2


def test_the_projects_own_suite_runs_on_them(desk: tuple[FreshEnvironment, Path]) -> None:
    """On the installed backend; and a faulty one shows that it is the one named that runs."""
    environment, folder = desk
    tests = Path(__file__).parent
    parts = ("conv", "conv_transposed", "upsampling", "sequential")
    files = " ".join(str(tests / "layers" / f"test_{part}.py") for part in parts)
    files += f" {tests / 'test_training.py'} {tests / 'backends' / 'test_dispatch.py'}"
    out = environment.run(f"pytest -p no:cacheprovider --backend aten {files}", folder)
    assert re.search(r"^\d{3} passed in", out, re.MULTILINE), out
    faulty = "--backend mutants.backends:AveragedUpsampling"
    file = tests / "layers" / "test_upsampling.py"
    command = f"! PYTHONPATH={tests} pytest -x -p no:cacheprovider {faulty} {file}"
    out = environment.run(command, folder)
    assert "1 failed" in out


@pytest.mark.parametrize("kind", new_plugin.KINDS)
def test_a_new_plugin_is_complete(kind: str, tmp_path: Path) -> None:
    folder = new_plugin.write("my-own.thing", kind, into=tmp_path)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", "src/my_own_thing/__init__.py"} <= files
    assert "tests/test_my_own_thing.py" in files
    assert ("csrc/my_own_thing.cpp" in files) == (kind == "kernel")
    assert ("src/my_own_thing/op.py" in files) == (kind == "kernel")
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "$" not in text, path
        if path.suffix == ".py":
            compile(text, str(path), "exec")
    assert [path.name for path in tmp_path.iterdir()] == ["my-own.thing"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("my layer", "layer", "letters, digits, - and _.*got 'my layer'"),
        ("9lives", "layer", "got '9lives'"),
        ("../up", "layer", r"got '\.\./up'"),
        ("class", "layer", "got 'class'"),
        ("torch", "layer", "there is a module 'torch' already"),
        ("taken", "layer", "taken exists: choose another name"),
        ("Conv2d", "layer", "'Conv2d' is taken: 'Conv2d' of scratchnet.layers is scratchnet.lay"),
        ("conv-2d", "kernel", "'conv-2d' is taken: "),
        ("max_pool2d", "backend", "'max_pool2d' is taken: 'max_pool2d' of scratchnet.ops is"),
        ("cpp", "layer", "'cpp' is taken: 'cpp' of scratchnet.backends is"),
        ("fine", "kernl", "one of layer, kernel, backend, got 'kernl'"),
    ],
)
def test_a_name_that_cannot_be(name: str, kind: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ArgumentError, match=message):
        new_plugin.write(name, kind, into=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_kernel_that_does_not_compile_is_not_installed(tmp_path: Path) -> None:
    """Without a compiler it is, on the fallback, which `check` does not take for the kernel."""
    environment = FreshEnvironment(tmp_path / "env")
    environment.run("scratchnet new-plugin fast-swish --kind kernel", tmp_path)
    install = "pip install --no-build-isolation ./fast-swish 2>&1"

    source = tmp_path / "fast-swish" / "csrc" / "fast_swish.cpp"
    right = source.read_text()
    source.write_text(right.replace("double total = 0;", "double total = 0"))
    said = environment.run(f"! {install}", tmp_path)
    assert "csrc/fast_swish.cpp:" in said
    assert "error: expected" in said
    assert "Successfully installed" not in said

    source.write_text(right)
    said = environment.run(f"CXX=no-such-compiler {install} -v", tmp_path)
    reason = "no C++ compiler: 'no-such-compiler' was not found"
    assert f"fast_swish: installing WITHOUT the C++ kernels: {reason}" in said
    said = environment.run("! scratchnet check fast-swish -q", tmp_path)
    assert re.findall("FAILED (\\S+)", said) == ["kernels", "fast-swish/available"]
    assert said.count(reason) == 2
    said = environment.run("scratchnet check fast-swish -q --backend reference", tmp_path)
    assert "FAILED" not in said
    code = (
        "import fast_swish, scratchnet, torch\n"
        "print(scratchnet.explain(fast_swish.FastSwish(), torch.ones(3)))"
    )
    said = environment.run(f'python -c "{code}"', tmp_path)
    assert said.startswith("fast-swish: reference (chosen by default)")
    assert f"cpp        the C++ extension of fast_swish was left out ({reason})" in said
