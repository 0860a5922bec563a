"""`--backend NAME` runs the whole suite on one backend; without it, tests that take the fixture
`backend` run on every built-in backend that is available here, and all others on `auto`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import torch
from commandline import Cli, Outcome
from installed import Site, forget, refresh
from selection import backends_under_test

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.cli import main

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", help="run everything on this backend (a name or module:Object)")
    parser.addoption(
        "--require-cpp",
        action="store_true",
        help="fail where the C++ backend is missing, even if there was no compiler to build it",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop(dispatch.VARIABLE, None)
    if config.getoption("--backend"):  # from the start, for fixtures that serve several tests
        os.environ[dispatch.VARIABLE] = config.getoption("--backend")
    # The shapes are small: more threads would only wait for each other, here and in subprocesses.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize(
            "backend", backends_under_test(metafunc.config), indirect=True, scope="function"
        )


NEEDS_CPP = ("test_cpp_runs.py", "test_graph.py", "test_kernels.py", "test_pool_kernels.py")
NEEDS_A_COMPILER = (*NEEDS_CPP, "test_plugins.py", "test_plugin_guide.py", "test_contributing.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what compiles where there is no compiler; and what the extension itself is tested
    by only if the build recorded, too, that it made none.
    """
    if collection_path.name not in NEEDS_A_COMPILER or config.getoption("--require-cpp"):
        return None
    if any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        return None
    if collection_path.name not in NEEDS_CPP:
        return True
    record = resources.files("scratchnet").joinpath("_build_info.json")
    return True if record.is_file() and not json.loads(record.read_text())["compiled"] else None


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts with no selection but --backend's, and leaves none behind."""
    for variable in ("SCRATCHNET_PLUGINS", "SCRATCHNET_BLOCK", "SCRATCHNET_VERIFY"):
        monkeypatch.delenv(variable, raising=False)
    yield
    scratchnet.set_backend("auto")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process: `cli("train", "--epochs", 1)`."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["scratchnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(stop.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a backend, which is selected while the test runs."""
    with scratchnet.use_backend(request.param):
        yield request.param


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A place to install distributions into, for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    with monkeypatch.context() as patch:
        yield Site(folder, patch)
    forget(folder)
    refresh()
