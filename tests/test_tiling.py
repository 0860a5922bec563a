from __future__ import annotations

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet import models
from scratchnet.denoise.tiles import Geometry, geometry, tiled
from scratchnet.errors import ScratchnetError


def seeded(name: str, **args: int) -> scratchnet.Module:
    return models.build(name, generator=torch.Generator().manual_seed(0), **args)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (scratchnet.Conv2d(3, 3, 1), Geometry(1, 0)),
        (scratchnet.Conv2d(3, 3, 5, padding=4, dilation=2), Geometry(1, 4)),
        (scratchnet.Conv2d(3, 3, (1, 7), padding=(0, 3)), Geometry(1, 3)),
        (seeded("residual", channels=4, depth=4), Geometry(1, 4)),
        (
            scratchnet.Sequential(
                scratchnet.Conv2d(3, 4, 2, stride=2), scratchnet.NearestUpsampling(2),
                scratchnet.Conv2d(4, 3, 1),
            ),
            Geometry(2, 1),
        ),
    ],
)  # fmt: skip
def test_known_geometries(model: scratchnet.Module, expected: Geometry) -> None:
    assert geometry(model) == expected


def test_the_papers_network_sees_what_perturbing_its_input_shows() -> None:
    model = seeded("noise2noise").to(dtype=torch.float64)
    form = geometry(model)
    assert form.multiple == 4
    assert form.margin is not None
    x = torch.rand((1, 3, 64, 64), dtype=torch.float64)
    before = model.forward(x)
    reach = 0
    for row in range(28, 36):
        moved = x.clone()
        moved[..., row, row] += 0.5
        rows, columns = (model.forward(moved) - before).abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
        reach = max(reach, *(int((where - row).abs().max()) for where in (rows, columns)))
    assert 0 < reach <= form.margin


def test_measuring_leaves_the_network_alone() -> None:
    model = seeded("residual", channels=4).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    geometry(model)
    assert not model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(not grad.any() for _, grad in model.param())


class Mean(scratchnet.Module):
    """Looks at the whole image."""

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        self.save(x.shape)
        return x - x.mean(dim=(2, 3), keepdim=True)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (grad,) = grad_outputs
        return grad - grad.mean(dim=(2, 3), keepdim=True)


def apply(model: scratchnet.Module, x: Tensor, tile: int) -> tuple[Tensor, list[Tensor]]:
    out, tiles = torch.full_like(x, float("nan")), []

    def read(rows: slice, columns: slice) -> Tensor:
        tiles.append(x[:, :, rows, columns])
        return tiles[-1]

    def write(rows: slice, columns: slice, y: Tensor) -> None:
        assert out[:, :, rows, columns].isnan().all()
        out[:, :, rows, columns] = y

    form, size = geometry(model), (x.shape[2], x.shape[3])
    done = sum(tiled(model.forward, read, write, size, form=form, tile=tile))
    assert done == x.shape[2] * x.shape[3]
    return out, tiles


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 53), (64, 16)])
@pytest.mark.parametrize("tile", [7, 16])
def test_tiles_make_the_image_that_one_piece_makes(size: tuple[int, int], tile: int) -> None:
    model = seeded("residual", channels=4, depth=3).to(dtype=torch.float64).eval()
    x = torch.rand((1, 3, *size), dtype=torch.float64)
    out, tiles = apply(model, x, tile)
    torch.testing.assert_close(out, model.forward(x), rtol=0, atol=1e-13)
    assert max(max(t.shape[2:]) for t in tiles) <= tile + 2 * 3


@pytest.mark.parametrize("name", ["noise2noise", "unet"])
def test_tiles_of_strided_networks_keep_in_step(name: str) -> None:
    model = seeded(name).to(dtype=torch.float64).eval()
    x = torch.rand((1, 3, 68, 92), dtype=torch.float64)
    out, tiles = apply(model, x, 30)
    assert len(tiles) > 4
    torch.testing.assert_close(out, model.forward(x), rtol=0, atol=1e-13)


def test_a_network_that_looks_everywhere_is_applied_in_one_piece() -> None:
    model = Mean()
    assert geometry(model) == Geometry(1, None)
    x = torch.rand((1, 3, 30, 20))
    out, tiles = apply(model, x, 8)
    assert len(tiles) == 1
    torch.testing.assert_close(out, model.forward(x))


def test_a_network_that_changes_the_size_cannot_be_applied() -> None:
    with pytest.raises(ScratchnetError, match="does not keep the size"):
        geometry(scratchnet.Conv2d(3, 3, 3))
