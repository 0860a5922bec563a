"""What from_torch does with a forward that someone wrote: changes in place, modes, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratchnet.errors import ArgumentError
from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.tensors import normal


class Own(nn.Module):
    """Does what it is given."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def changed_view(net: Own, x: Tensor) -> Tensor:
    flat = x.flatten(1)
    flat += 1
    return x.sum() + flat.sum()


REFUSED: dict[str, Callable[..., Any]] = {
    r"the step cumsum: there is no function 'cumsum'": lambda net, x: x.cumsum(1),
    r"its forward cannot be traced: symbolically traced variables": lambda net, x: (
        x if x.sum() > 0 else -x
    ),
    r"the step softmax: torch.nn.Softmax got an unexpected .* 'dtype'": lambda net, x: (
        F.softmax(x, 1, dtype=torch.float64)
    ),
    r"through a view": changed_view,
    r"it drops in eval mode": lambda net, x: F.dropout(x, 0.5, training=True),
    r"the step interpolate: .*'interpolate'": lambda net, x: F.interpolate(x, size=x.shape[2:]),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_a_step_without_counterpart_is_named(reason: str) -> None:
    outer = nn.Sequential(nn.Conv2d(3, 3, 1), Own(REFUSED[reason])).eval()
    with pytest.raises(ArgumentError, match=reason) as caught:
        from_torch(outer)
    assert "in 1 (Own) " in str(caught.value)


def test_what_is_changed_in_place_is_read_changed() -> None:
    def forward(net: Own, x: Tensor) -> Tensor:
        y = x * 2
        z = y
        y += 1
        net.relu(y)
        return y * z

    theirs = Own(forward).double()
    x = normal((2, 3), torch.float64, 1)
    torch.testing.assert_close(from_torch(theirs)(x), theirs(x))


def test_all_steps_without_counterpart_are_named_at_once() -> None:
    def forward(net: Own, x: Tensor) -> Tensor:
        return x.cumsum(1) + net.relu(x).cumprod(1)

    with pytest.raises(ArgumentError, match=r"the step cumsum.*the step cumprod"):
        from_torch(Own(forward))


def test_each_function_becomes_its_own_layer() -> None:
    """Also where the modules made on the way to it take each other's place in memory."""

    def forward(net: Own, x: Tensor) -> Tensor:
        for _ in range(30):
            x = torch.tanh(F.relu(x)) + torch.sigmoid(F.relu(-x))
        return x

    theirs = Own(forward)
    ours = from_torch(theirs)
    x = normal((2, 3), torch.float64, 1)
    torch.testing.assert_close(ours(x), theirs(x))
    kinds = [type(layer).__name__ for _, layer in ours.named_children()]
    assert kinds == ["ReLU", "Tanh", "ReLU", "Sigmoid"] * 30


def test_modes_inside_are_kept() -> None:
    theirs = Own(lambda net, x: net.relu(x))
    theirs.relu.eval()
    ours = from_torch(theirs)
    assert ours.relu.training is False
    assert ours.training is True
    assert to_torch(ours).relu.training is False


def test_the_original_is_left_alone() -> None:
    def forward(net: Own, x: Tensor) -> Tensor:
        return net.conv(x) * net.conv.weight.sum()

    theirs = Own(forward)
    theirs.conv = nn.Conv2d(3, 3, 1)
    before = copy.deepcopy(theirs.state_dict())
    for value in from_torch(theirs).parameters():
        value.zero_()
    torch.testing.assert_close(dict(theirs.state_dict()), dict(before), rtol=0, atol=0)
