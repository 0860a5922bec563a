from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

import scratchnet
from scratchnet.data import to_float
from scratchnet.denoise import evaluation
from scratchnet.denoise.evaluation import (
    NOISY,
    all_methods,
    evaluate,
    sample_sheet,
    score,
    score_noisy,
)


def blur() -> scratchnet.Conv2d:
    """A denoiser to compute by hand: the mean of a 3x3 neighbourhood."""
    layer = scratchnet.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    layer.weight.fill_(1 / 9)
    return layer


def test_scores_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny.pairs(n_val=7, height=9, width=11)
    whole = score(blur(), data.val_noisy, data.val_target)
    monkeypatch.setattr(evaluation, "_PIXELS_A_BATCH", 2 * 9 * 11)
    batched = score(blur(), data.val_noisy, data.val_target)
    assert batched.psnr == pytest.approx(whole.psnr, abs=1e-9)
    assert batched.psnr_per_image == pytest.approx(whole.psnr_per_image, abs=1e-9)
    out = torch.nn.functional.conv2d(
        to_float(data.val_noisy), torch.full((3, 1, 3, 3), 1 / 9), padding=1, groups=3
    )
    target = to_float(data.val_target)
    assert whole.psnr == pytest.approx(scratchnet.psnr(out, target), abs=1e-5)
    assert whole.psnr_per_image == pytest.approx(
        scratchnet.psnr(out, target, reduction="per_image"), abs=1e-5
    )


def test_equal_images_score_80_db() -> None:
    data = tiny.pairs()
    data = dataclasses.replace(data, val_noisy=data.val_target)
    assert score_noisy(data).psnr == pytest.approx(80)


def test_every_method_is_scored_with_all_three_figures() -> None:
    data = tiny.pairs(n_val=3)
    scores = dict(evaluate(all_methods(blur(), "blur"), data))
    assert list(scores) == [NOISY, "blur", "nl means", "tv chambolle"]
    assert scores[NOISY] == dataclasses.replace(score_noisy(data), ssim=scores[NOISY].ssim)
    ssim = scratchnet.ssim(data.val_noisy, data.val_target)
    assert scores[NOISY].ssim == pytest.approx(ssim, abs=1e-9)
    assert scores["tv chambolle"].psnr > scores[NOISY].psnr + 3
    assert all(s.ssim is not None and s.psnr_per_image >= s.psnr for s in scores.values())


def test_an_ensemble_is_scored_beside_the_network() -> None:
    data = tiny.pairs(n_val=3)
    layer = scratchnet.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    layer.weight.zero_()
    layer.weight[:, :, 1, 0] = 1  # looks to the left; in all views, to all four sides
    scores = dict(evaluate(all_methods(layer, "shift", ensemble=True), data))
    assert list(scores) == [NOISY, "shift", "shift, self-ensemble", "nl means", "tv chambolle"]
    cross = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4.0
    out = torch.nn.functional.conv2d(
        to_float(data.val_noisy), cross.expand(3, 1, 3, 3), padding=1, groups=3
    )
    expected = scratchnet.psnr(out, to_float(data.val_target))
    assert scores["shift, self-ensemble"].psnr == pytest.approx(expected, abs=1e-4)


def test_images_too_small_for_ssim_have_none() -> None:
    data = tiny.pairs(n_val=2, height=6, width=9)
    scores = dict(evaluate(all_methods(blur(), "blur"), data))
    assert {s.ssim for s in scores.values()} == {None}


def test_scoring_keeps_nothing_for_backward() -> None:
    data, model = tiny.pairs(), blur()
    score(model, data.val_noisy, data.val_target)
    with pytest.raises(scratchnet.ScratchnetError, match="eval mode"):
        model.backward(torch.zeros(6, 3, 16, 16))


@pytest.mark.parametrize("n_val", [1, 3])
def test_a_sheet_of_few_images(tmp_path: Path, n_val: int) -> None:
    data = tiny.pairs(n_val=n_val)
    sample_sheet(tmp_path / "s.png", data, all_methods(blur(), "blur"), title="sheet")
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 160 * n_val
        assert image.height > 160 * 5
