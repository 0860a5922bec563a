"""Every way in which an installed plugin can fail, on distributions that pip installed.

One environment holds them all, so that each is also proof that the others disturb nobody.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from freshenv import FreshEnvironment
from installed import BACKEND, LAYER, wheel

import scratchnet

ASK = """
import json, sys, scratchnet
said = {}
for name in ("fne", "fine", "broken", "swish", "future", "old", "hidden", "foreign"):
    try:
        said[name] = repr(scratchnet.build(name))
    except scratchnet.ScratchnetError as error:
        said[name] = f"{type(error).__name__}: {error}"
for name in ("unplugged", "unplugd"):
    try:
        scratchnet.set_backend(name)
    except scratchnet.ScratchnetError as error:
        said[name] = f"{type(error).__name__}: {error}"
said["imported"] = sorted({"built_old", "not_wanted"} & {*sys.modules})
print(json.dumps(said))
"""
REASON = "the accelerator is unplugged: plug it in"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    folder = tmp_path_factory.mktemp("failing")
    right = LAYER.format(factor=2)
    wheels = [
        wheel(folder, "fine-one", right, layers={"fine": "Layer"}),
        wheel(folder, "broken-one", "import no_such_module\n", layers={"broken": "Layer"}),
        wheel(folder, "swish-one", right, layers={"swish": "Layer"}),
        wheel(folder, "swish-two", right, layers={"swish": "Layer"}, version="2.5"),
        wheel(folder, "from-future", right + "    api_version = 9\n", layers={"future": "Layer"}),
        wheel(folder, "built-old", right, layers={"old": "Layer"}, requires=("torch==1.2.3",)),
        wheel(folder, "not-wanted", right, layers={"hidden": "Layer"}),
        wheel(folder, "no-layer", "Layer = dict\ndict\n", layers={"foreign": "Layer"}),
        wheel(
            folder,
            "unplugged",
            BACKEND.format(name="unplugged", priority=0, available=REASON),
            backends={"unplugged": "backend"},
        ),
    ]
    made = FreshEnvironment(folder / "env")
    made.run(f"pip install --no-deps {' '.join(map(str, wheels))}", folder)
    return made


@pytest.fixture(scope="module")
def said(environment: FreshEnvironment, tmp_path_factory: pytest.TempPathFactory) -> dict:
    script = tmp_path_factory.mktemp("ask") / "ask.py"
    script.write_text(ASK)
    command = f"SCRATCHNET_BLOCK=not-wanted python {script}"
    return json.loads(environment.run(command, script.parent))


def test_a_right_one_is_not_disturbed(said: dict) -> None:
    assert said["fine"] == "Layer()"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("fne", ["there is no layer 'fne': did you mean 'fine'?", "must be installed"]),
        (
            "broken",
            [
                "layer 'broken' (broken-one 1.0) cannot be imported from broken_one:Layer",
                "ModuleNotFoundError: No module named 'no_such_module'",
                "uninstall it, or hide it with SCRATCHNET_BLOCK=broken",
            ],
        ),
        ("swish", ["claimed by swish-", "swish-one 1.0", "swish-two 2.5", "SCRATCHNET_BLOCK="]),
        ("future", ["(from-future 1.0) is written for api_version 9, this scratchnet has 1"]),
        (
            "old",
            [f"(built-old 1.0) is built for torch==1.2.3, but torch {torch.__version__} is runn"],
        ),
        ("hidden", ["'hidden' is installed but hidden by SCRATCHNET_PLUGINS or SCRATCHNET_BLOCK"]),
        (
            "foreign",
            ["'foreign' (no-layer 1.0) cannot be used: TypeError: expected a subclass of scratch"],
        ),
        ("unplugd", ["there is no backend 'unplugd': did you mean 'unplugged'?"]),
    ],
)
def test_each_says_what_is_wrong_and_what_to_do(name: str, parts: list, said: dict) -> None:
    assert said[name].startswith("PluginError: ")
    assert "\n" not in said[name]
    for part in parts:
        assert part in said[name]


def test_an_unavailable_backend_says_why(said: dict) -> None:
    assert said["unplugged"] == f"BackendError: backend 'unplugged' is not available: {REASON}"


def test_what_is_refused_by_what_is_known_of_it_is_not_imported(said: dict) -> None:
    assert said["imported"] == []


def test_info_lists_what_can_be_used_and_what_cannot(
    environment: FreshEnvironment, tmp_path: Path
) -> None:
    """With an allow-list of two distributions and one name."""
    allowed = "SCRATCHNET_PLUGINS=unplugged,swish,built-old"
    facts = json.loads(environment.run(f"{allowed} scratchnet info --json", tmp_path))
    found = {row["name"] for row in facts["layers"] if not row["builtin"]}
    assert found == {"old"}
    (unplugged,) = [row for row in facts["backends"] if row["name"] == "unplugged"]
    assert unplugged["available"] == REASON
    assert len(facts["problems"]) == 2
    assert any("'swish' is claimed by" in line for line in facts["problems"])
    assert any(
        "'old' (built-old 1.0) is built for torch==1.2.3" in line for line in facts["problems"]
    )
    assert {"Conv2d", "ReLU"} <= {row["name"] for row in facts["layers"]}
    assert facts["scratchnet"] == scratchnet.__version__


def test_the_others_are_still_checked(environment: FreshEnvironment, tmp_path: Path) -> None:
    out = environment.run('! scratchnet check --only "c[ao]n[_t]*"', tmp_path)
    assert "fine: 1 of 1 checks passed\n  passed contract\n" in out
    assert "Conv2d: 1 of 1 checks passed" in out
    for name in ("broken", "swish", "future", "old", "foreign"):
        assert f"{name}: 0 of 1 checks passed\n  FAILED can_be_checked  {name} fails" in out
    out = environment.run("! scratchnet check unplugged", tmp_path)
    assert out.startswith("unplugged: 0 of 1 checks passed\n  FAILED identity")
    assert REASON in out
