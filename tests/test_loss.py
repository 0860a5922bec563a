"""MSE against torch and finite differences."""

from __future__ import annotations

import pytest
import torch
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

import scratchnet
from scratchnet.errors import ArgumentError, OrderError, ShapeError, TypeMismatch
from scratchnet.testing.closeness import assert_close
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.tensors import normal


class ToTarget(scratchnet.Module):
    """The loss as a layer of the prediction alone, for the gradient check."""

    def __init__(self, target: torch.Tensor) -> None:
        self.target, self.loss = target, scratchnet.MSE()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.loss.forward(inputs[0], self.target)

    def backward(self, *grad_outputs: torch.Tensor) -> torch.Tensor:
        return grad_outputs[0] * self.loss.backward()


@drawn
@given(
    shape=st.lists(st.integers(1, 7), min_size=0, max_size=5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_equals_autograd(shape: list[int], dtype: torch.dtype, seed: int) -> None:
    prediction, target = normal(shape, dtype, seed), normal(shape, dtype, seed + 1)
    mse = scratchnet.MSE()
    loss, grad = mse.forward(prediction, target), mse.backward()

    leaf = prediction.clone().requires_grad_()
    expected = torch.nn.functional.mse_loss(leaf, target)
    expected.backward()
    assert loss.dim() == 0
    assert_close(loss, expected.detach(), "loss", rtol=8 * torch.finfo(dtype).eps)
    assert_close(grad, leaf.grad, "gradient", rtol=4 * torch.finfo(dtype).eps)
    gradcheck(ToTarget(target.double()), prediction)


def test_by_hand() -> None:
    mse = scratchnet.MSE()
    loss = mse.forward(
        torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[1.0, 0.0], [4.0, 1.0]])
    )
    assert loss.item() == (0 + 4 + 1 + 16) / 4
    assert mse.backward().tolist() == [[0.0, 1.0], [-0.5, 2.0]]


def test_nothing_at_all() -> None:
    """nan as in torch, and a gradient that can be handed on."""
    mse = scratchnet.MSE()
    assert mse.forward(torch.zeros(0, 3), torch.zeros(0, 3)).isnan()
    assert mse.backward().shape == (0, 3)


def test_inputs_are_left_alone_and_no_graph_is_made() -> None:
    prediction = torch.ones(2, 3, requires_grad=True)
    target = torch.zeros(2, 3)
    mse = scratchnet.MSE()
    assert not mse.forward(prediction, target).requires_grad
    assert not mse.backward().requires_grad
    assert prediction.grad is None
    assert (prediction == 1).all()
    assert (target == 0).all()


def test_errors() -> None:
    mse = scratchnet.MSE()
    with pytest.raises(OrderError, match=r"MSE.backward was called before forward"):
        mse.backward()
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 3\) and \(3,\)"):
        mse.forward(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(TypeMismatch, match=r"expects torch.float32, got torch.float64"):
        mse.forward(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(TypeMismatch, match=r"floating-point tensor, got torch.uint8"):
        mse.forward(torch.zeros(2, dtype=torch.uint8), torch.zeros(2))
    with pytest.raises(TypeMismatch, match=r"expects a torch.Tensor, got list"):
        mse.forward(torch.zeros(2), [0.0, 0.0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_equal_torchs(reduction: str) -> None:
    prediction, target = normal((3, 4), torch.float64, 0), normal((3, 4), torch.float64, 1)
    leaf = prediction.clone().requires_grad_()
    expected = torch.nn.functional.mse_loss(leaf, target, reduction=reduction)
    grad = normal(expected.shape, torch.float64, 2)
    expected.backward(grad)
    mse = scratchnet.MSE(reduction=reduction)
    assert_close(mse.forward(prediction, target), expected.detach(), "loss", rtol=1e-15)
    assert_close(mse.backward(grad), leaf.grad, "gradient", rtol=1e-15)
    assert repr(mse) == f"MSE(reduction={reduction!r})"
    if reduction != "none":  # nothing stands for one
        assert_close(mse.backward(), mse.backward(torch.ones_like(grad)), "gradient", rtol=1e-15)


def test_errors_of_reductions() -> None:
    with pytest.raises(ArgumentError, match="one of mean, sum, none, got 'average'"):
        scratchnet.MSE("average")
    mse = scratchnet.MSE("none")
    mse.forward(torch.zeros(2), torch.ones(2))
    with pytest.raises(ArgumentError, match=r"returns many losses.*call backward\(grad\)"):
        mse.backward()
    with pytest.raises(ShapeError, match=r"gradient of the output's shape, \(2,\); got \(\)"):
        mse.backward(torch.ones(()))
