"""The schedules against torch.optim.lr_scheduler's."""

from __future__ import annotations

import pytest
import torch

from scratchnet.errors import PluginError
from scratchnet.optim import schedule


def torch_factors(total: int, make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(total):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(factors) < total:
            scheduler.step()
    return factors


@pytest.mark.parametrize("total", [2, 3, 7, 10, 100, 997])
def test_one_cycle(total: int) -> None:
    expected = torch_factors(
        total,
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=1.0, total_steps=total, cycle_momentum=False
        ),
    )
    ours = [schedule.one_cycle(step, total) for step in range(total)]
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_cosine(total: int) -> None:
    expected = torch_factors(
        total, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=total)
    )
    ours = [schedule.cosine(step, total) for step in range(total)]
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", schedule.names())
@pytest.mark.parametrize("total", [1, 2, 3, 50])
def test_factors_stay_within_0_and_1(name: str, total: int) -> None:
    factors = [schedule.get(name)(step, total) for step in range(total)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)


def test_an_unknown_name() -> None:
    with pytest.raises(PluginError, match="no schedule 'cosin': did you mean 'cosine'"):
        schedule.get("cosin")
