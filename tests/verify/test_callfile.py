"""A call in a file is read back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import scratchnet
from scratchnet import ops
from scratchnet.errors import DataError
from scratchnet.ops.graph import Stages
from scratchnet.testing.calls import call
from scratchnet.testing.tensors import normal
from scratchnet.verify.callfile import SavedCall, read
from scratchnet.verify.replay import replay


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_its_tensors_lie_in_memory_as_they_did() -> None:
    base = normal((2, 3, 8, 9), torch.float32, 0)
    tensors = {
        "plain": base,
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "sliced": base[:, 1:, ::2, ::3],
        "expanded": base[:1, :, :1].expand(4, 3, 5, 9),
        "empty": base[:0],
        "number": base[0, 0, 0, 0],
    }
    options = {"stride": (2, 1), "groups": 1, "name": None, "inside": ((1, (2, 3)), True)}
    needs = (True, False)
    path = SavedCall("conv2d", "cpp", tensors, options, 7, needs, 3).write()
    found = read(path)
    assert (found.op, found.backend, found.threads, found.count) == ("conv2d", "cpp", 3, 7)
    assert found.options == options
    assert found.needs == needs
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].stride() == tensor.stride()


@pytest.mark.parametrize("name", ops.names())
def test_every_case_of_every_operation_is_read_back_equal(name: str) -> None:
    """Options such as the stages of a graph, too, and tensors that are left out."""
    op = ops.get(name)
    cases = [case for case in op.cases() if not case.error]
    for case in cases[:: max(1, len(cases) // 12)]:
        one = call(op, case, torch.float32, normal)
        given = dict(zip(one.names, one.tensors, strict=True))
        named = {key: tensor for key, tensor in given.items() if tensor is not None}
        saved = SavedCall(name, "cpp", named, one.options, len(given), one.needs, 1)
        found = read(saved.write())
        assert op.prepare(found.options) == one.options
        assert found.needs == one.needs
        assert [found.tensors.get(key) is None for key in one.names] == [
            tensor is None for tensor in one.tensors
        ]
        assert all(torch.equal(found.tensors[key], tensor) for key, tensor in named.items())


def test_the_stages_of_a_graph_are_stages_again() -> None:
    op = ops.get("graph")
    case = next(case for case in op.cases() if len(case.options["stages"]) > 6)
    one = call(op, case, torch.float32, normal)
    saved = SavedCall("graph", "cpp", {}, one.options, 1, None, 1)
    stages: Any = op.prepare(read(saved.write()).options)["stages"]
    assert isinstance(stages, Stages)
    assert stages == one.options["stages"]
    assert hash(stages) == hash(one.options["stages"])
    assert str(stages) == str(one.options["stages"])


def test_a_file_that_is_no_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors cannot be read"):
        replay(tmp_path / "none.safetensors")
    path = tmp_path / "weights.safetensors"
    scratchnet.save(scratchnet.Conv2d(2, 3, 3), path)
    with pytest.raises(DataError, match="holds no call of an operation"):
        replay(path)
