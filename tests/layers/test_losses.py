"""Every loss against torch.nn's, on torch's own documented arguments; and what each refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch
from scratchnet.layers import loss as losses
from scratchnet.testing import Check, layer_checks, parametrize_with_checks
from scratchnet.testing.closeness import assert_close
from scratchnet.testing.tensors import normal

X, Y = (normal((3, 5), torch.float32, i) for i in range(2))
IMAGES = tuple(normal((2, 3, 4, 3), torch.float32, i) for i in range(2))
SHARES = torch.sigmoid(X), torch.sigmoid(Y)
LOGS = X.log_softmax(1), Y.softmax(1)
SIGNS = torch.tensor([1, -1, -1])
OF_EACH = torch.where(Y > 0, 1, -1)
CLASSES = torch.tensor([2, 0, 4])
PIXELS = torch.arange(24).view(2, 4, 3) % 3
VECTORS = tuple(normal((3, 5), torch.float32, i) for i in range(3))
WEIGHT = [0.5, 2.0, 0.0, 1.0, 3.0]

# name: (arguments, examples)
ARGUMENTS: dict[str, list[tuple[dict[str, Any], Any]]] = {
    "MSELoss": [({}, [(X, Y), IMAGES]), ({"reduction": "sum"}, [(X, Y)])],
    "L1Loss": [({}, [(X, Y), IMAGES]), ({"reduction": "none"}, [(X, Y)])],
    "SmoothL1Loss": [({"beta": 0.5}, [(X, Y)]), ({"reduction": "none", "beta": 0.0}, [(X, Y)])],
    "HuberLoss": [({"delta": 0.7}, [(X, Y), IMAGES]), ({"reduction": "none"}, [(X, Y)])],
    "PoissonNLLLoss": [
        ({}, [(X, Y.exp())]),
        ({"full": True, "reduction": "none"}, [(X, 2 * Y.exp())]),
        ({"log_input": False, "eps": 0.1, "reduction": "sum"}, [(X.exp(), Y.exp())]),
    ],
    "GaussianNLLLoss": [
        ({}, [(X, Y, X.exp()), (*IMAGES, IMAGES[0].exp())]),
        ({"full": True, "eps": 0.1, "reduction": "none"}, [(X, Y, X[:, :1].exp())]),
        ({"reduction": "sum"}, [(X, Y, X[:, 0].exp())]),
    ],
    "BCELoss": [
        ({}, [SHARES]),
        ({"weight": WEIGHT, "reduction": "sum"}, [SHARES]),
        ({"weight": WEIGHT, "reduction": "none"}, [SHARES]),
    ],
    "BCEWithLogitsLoss": [
        ({}, [(X, SHARES[1])]),
        ({"weight": WEIGHT, "pos_weight": WEIGHT[::-1]}, [(X, SHARES[1])]),
        ({"pos_weight": 3.0, "reduction": "none"}, [(X, SHARES[1])]),
    ],
    "SoftMarginLoss": [({}, [(X, Y.sign())]), ({"reduction": "none"}, [(X, Y.sign())])],
    "KLDivLoss": [
        ({"reduction": "batchmean"}, [LOGS]),
        ({"reduction": "sum", "log_target": True}, [(LOGS[0], LOGS[1].log())]),
        ({"reduction": "none"}, [LOGS]),
    ],
    "NLLLoss": [
        ({}, [(X, CLASSES), (IMAGES[0], PIXELS)]),
        ({"weight": WEIGHT, "ignore_index": 0}, [(X, CLASSES)]),
        ({"weight": WEIGHT, "reduction": "none"}, [(X, CLASSES), (X[0], CLASSES[1])]),
    ],
    "CrossEntropyLoss": [
        ({}, [(X, CLASSES), (IMAGES[0], PIXELS)]),
        ({"weight": WEIGHT, "ignore_index": 0, "label_smoothing": 0.2}, [(X, CLASSES)]),
        ({"weight": WEIGHT, "reduction": "none"}, [(X, CLASSES), (X[0], CLASSES[1])]),
        ({"ignore_index": 1, "reduction": "sum"}, [(IMAGES[0], PIXELS)]),
    ],
    "HingeEmbeddingLoss": [
        ({"margin": 0.7}, [(X, OF_EACH)]),
        ({"reduction": "sum"}, [(X, OF_EACH)]),
    ],
    "MarginRankingLoss": [
        ({}, [(X, Y, OF_EACH)]),
        ({"margin": 0.5, "reduction": "none"}, [(X, Y, OF_EACH)]),
    ],
    "CosineEmbeddingLoss": [
        ({}, [(X, Y, SIGNS)]),
        ({"margin": -0.5, "reduction": "none"}, [(X, Y, SIGNS), (X[0], Y[0], SIGNS[0])]),
    ],
    "TripletMarginLoss": [
        ({}, [VECTORS]),
        ({"margin": 2.0, "swap": True, "reduction": "none"}, [VECTORS]),
        ({"p": 1.0, "eps": 0.1, "reduction": "sum"}, [VECTORS]),
        ({"p": 3.0, "swap": True}, [VECTORS]),
    ],
}


def torchs(name: str, arguments: dict[str, Any]) -> nn.Module:
    weights = {k: torch.tensor(v) for k, v in arguments.items() if k in ("weight", "pos_weight")}
    return getattr(nn, name)(**arguments | weights)


def twin(name: str, arguments: dict[str, Any]) -> Any:
    module = torchs(name, arguments)
    # autograd refuses a target that could have a gradient
    return (lambda x, y: module(x, y.detach())) if name == "SoftMarginLoss" else module


def ours(name: str, arguments: dict[str, Any]) -> scratchnet.Module:
    return getattr(scratchnet, name)(**arguments)


@parametrize_with_checks(
    [
        check
        for name, calls in ARGUMENTS.items()
        for arguments, examples in calls
        for check in layer_checks(
            lambda name=name, arguments=arguments: ours(name, arguments),
            examples,
            twin=twin(name, arguments),
            name=f"{name}{arguments}",
        )
    ]
    + layer_checks(
        lambda: scratchnet.CharbonnierLoss(eps=0.3),
        [(X, Y)],
        twin=lambda x, y: ((x - y) ** 2 + 0.09).sqrt().mean(),
    )
    + layer_checks(
        lambda: scratchnet.CrossEntropyLoss([1.0, 2.0, 0.5], label_smoothing=0.3),
        [(IMAGES[0], IMAGES[1].softmax(1))],
        twin=lambda x, q: nn.functional.cross_entropy(
            x, q, torch.tensor([1.0, 2.0, 0.5], dtype=x.dtype), label_smoothing=0.3
        ),
        name="CrossEntropyLoss of probabilities",
    )
    + layer_checks(
        lambda: scratchnet.KLDivLoss(),
        [LOGS],
        twin=lambda x, y: nn.functional.kl_div(x, y, reduction="none").mean(),
    )
)
def test_conforms(check: Check) -> None:
    check()


def test_every_loss_is_tried() -> None:
    own = {name for name in losses.names() if losses.registry.info(name).builtin}
    assert own == {*ARGUMENTS, "MSE", "CharbonnierLoss"}
    assert all(issubclass(losses.get(name), losses.Loss) for name in own)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_converted_both_ways(name: str) -> None:
    """Arguments and weights survive; and the state has torch's keys."""
    for arguments, examples in ARGUMENTS[name]:
        twin = torchs(name, arguments)
        layer = scratchnet.from_torch(twin)
        assert repr(layer) == repr(ours(name, arguments))
        assert layer.state_dict().keys() == twin.state_dict().keys()
        torch.testing.assert_close(layer(*examples[0]), scratchnet.to_torch(layer)(*examples[0]))


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "SoftMarginLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_numbers(name: str, dtype: torch.dtype, backend: str) -> None:
    """Nothing overflows at ±10⁴, forward or back."""
    x = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)
    target = (
        torch.tensor([0, 2]) if name[0] == "C" else torch.tensor([[0.0, 1, 1]] * 2, dtype=dtype)
    )
    layer, leaf = ours(name, {"reduction": "none"}), x.clone().requires_grad_()
    if name == "SoftMarginLoss":  # torch's own gradient is nan there
        expected = nn.functional.softplus(-target * leaf)
    else:
        expected = torchs(name, {"reduction": "none"})(leaf, target)
    expected.sum().backward()
    found = layer(x, target)
    assert found.isfinite().all()
    assert_close(found, expected.detach(), "losses", rtol=1e-6)
    assert_close(layer.backward(torch.ones_like(found)), leaf.grad, "gradient", rtol=1e-6)


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_probabilities_of_0_and_1(at: float) -> None:
    x, target = torch.full((4,), at), torch.tensor([0.0, 1.0, 0.3, 0.5])
    layer, leaf = scratchnet.BCELoss(), x.clone().requires_grad_()
    expected = nn.BCELoss()(leaf, target)
    expected.backward()
    assert_close(layer(x, target), expected.detach(), "loss", rtol=1e-6)
    assert_close(layer.backward(), leaf.grad, "gradient", rtol=1e-6)


@pytest.mark.parametrize("name", ["MarginRankingLoss", "HingeEmbeddingLoss", "TripletMarginLoss"])
def test_on_the_kink_it_is_torchs(name: str) -> None:
    zeros = [torch.zeros(2, 3, requires_grad=True) for _ in range(3)]
    inputs: list[Tensor] = zeros if name[0] == "T" else zeros[: 2 if name[0] == "M" else 1]
    target = [] if name[0] == "T" else [torch.full((2, 3), -1.0)]
    arguments = {"swap": True} if name[0] == "T" else {"margin": 0.0}
    torchs(name, arguments)(*inputs, *target).backward()
    layer = ours(name, arguments)
    layer(*(x.detach() for x in inputs), *target)
    found = layer.backward()
    for actual, leaf in zip(found if isinstance(found, tuple) else (found,), inputs, strict=True):
        assert_close(actual, leaf.grad, "gradient", rtol=1e-6)


def test_weights_and_variances_are_broadcast() -> None:
    weight = torch.tensor([[2.0], [3.0], [0.5]])
    leaf = SHARES[0].clone().requires_grad_()
    expected = nn.BCELoss(weight)(leaf, SHARES[1])
    expected.backward()
    layer = scratchnet.BCELoss(weight)
    assert_close(layer(*SHARES), expected.detach(), "loss", rtol=1e-6)
    assert_close(layer.backward(), leaf.grad, "gradient", rtol=1e-6)

    variance = Y[:1].exp().requires_grad_()
    nn.GaussianNLLLoss()(X, Y, variance).backward()
    gaussian = scratchnet.GaussianNLLLoss()
    gaussian(X, Y, variance.detach())
    assert_close(gaussian.backward()[2], variance.grad, "gradient", rtol=1e-6)


def test_the_largest_difference_is_a_norm_too() -> None:
    leaves = [x.clone().requires_grad_() for x in VECTORS]
    nn.TripletMarginLoss(p=math.inf)(*leaves).backward()
    layer = scratchnet.TripletMarginLoss(p=math.inf)
    layer(*VECTORS)
    for actual, leaf in zip(layer.backward(), leaves, strict=True):
        assert_close(actual, leaf.grad, "gradient", rtol=1e-6)


def test_a_variance_that_is_a_number() -> None:
    layer = scratchnet.GaussianNLLLoss()
    assert_close(layer(X, Y, 0.5), nn.GaussianNLLLoss()(X, Y, 0.5), "loss", rtol=1e-6)
    assert layer.backward()[2] is None


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_everything_ignored(reduction: str, backend: str) -> None:
    """As in torch: 0 losses, whose mean is nan."""
    target = torch.full((3,), -100)
    layer = scratchnet.CrossEntropyLoss(reduction=reduction)
    torch.testing.assert_close(
        layer(X, target), nn.CrossEntropyLoss(reduction=reduction)(X, target), equal_nan=True
    )
    if reduction != "mean":
        grad = torch.ones(3) if reduction == "none" else torch.ones(())
        assert (layer.backward(grad) == 0).all()


def test_classes_of_any_integer_type() -> None:
    layer = scratchnet.CrossEntropyLoss()
    for dtype in (torch.uint8, torch.int32):
        assert torch.equal(layer(X, CLASSES.to(dtype)), layer(X, CLASSES))


REFUSED = [
    (lambda: scratchnet.L1Loss("average"), ArgumentError, "one of mean, sum, none, got 'average'"),
    (lambda: scratchnet.MSE("batchmean"), ArgumentError, "one of mean, sum, none"),
    (lambda: scratchnet.HuberLoss(delta=0.0)(X, Y), ArgumentError, "delta to be above 0"),
    (lambda: scratchnet.SmoothL1Loss(beta=-1.0)(X, Y), ArgumentError, "beta to be at least 0"),
    (lambda: scratchnet.CharbonnierLoss(eps=0.0)(X, Y), ArgumentError, "eps to be above 0"),
    (lambda: scratchnet.L1Loss()(X, Y[0]), ShapeError, "of one shape"),
    (lambda: scratchnet.KLDivLoss()(X, Y[0]), ShapeError, "of one shape"),
    (lambda: scratchnet.BCELoss()(X, Y), ArgumentError, r"probabilities in \[0, 1\], got -"),
    (lambda: scratchnet.BCELoss([1.0, 2.0])(*SHARES), ShapeError, "weight to be broadcast"),
    (
        lambda: scratchnet.BCEWithLogitsLoss(pos_weight=[1.0, 2.0])(X, Y),
        ShapeError,
        r"pos_weight to be broadcast to \(3, 5\), got \(2,\)",
    ),
    (
        lambda: scratchnet.BCEWithLogitsLoss([1.0] * 5)(X.double(), Y.double()),
        TypeMismatch,
        "one dtype",
    ),
    (lambda: scratchnet.GaussianNLLLoss()(X, Y, -Y.abs()), ArgumentError, "variances of at least"),
    (lambda: scratchnet.GaussianNLLLoss()(X, Y, Y[0, :2]), ShapeError, "one axis of 1"),
    (lambda: scratchnet.GaussianNLLLoss(eps=0), ArgumentError, "eps to be above 0"),
    (lambda: scratchnet.NLLLoss()(X, CLASSES + 1), ArgumentError, "classes from 0 to 4"),
    (lambda: scratchnet.NLLLoss()(X, CLASSES.float()), TypeMismatch, "whole numbers, got torch.fl"),
    (lambda: scratchnet.NLLLoss(ignore_index=1.0), ArgumentError, "ignore_index to be an int"),
    (lambda: scratchnet.CrossEntropyLoss()(X, -1 - CLASSES), ArgumentError, "got -3"),
    (lambda: scratchnet.CrossEntropyLoss()(X, CLASSES[:2]), ShapeError, r"classes \(N, \.\.\.\)"),
    (lambda: scratchnet.CrossEntropyLoss([1.0])(X, CLASSES), ShapeError, "each of 5 classes"),
    (lambda: scratchnet.CrossEntropyLoss(label_smoothing=2), ArgumentError, r"in \[0, 1\]"),
    (
        lambda: scratchnet.CrossEntropyLoss(ignore_index=0)(X, Y.softmax(1)),
        ArgumentError,
        "got probabilities",
    ),
    (lambda: scratchnet.HingeEmbeddingLoss()(X, Y), ArgumentError, "1 and -1 only"),
    (lambda: scratchnet.MarginRankingLoss()(X, Y, SIGNS), ShapeError, "a target of the shape"),
    (lambda: scratchnet.CosineEmbeddingLoss()(X, Y, SIGNS > 0), TypeMismatch, "got torch.bool"),
    (lambda: scratchnet.CosineEmbeddingLoss()(*IMAGES, SIGNS), ShapeError, r"\(N, D\) or \(D\)"),
    (lambda: scratchnet.CosineEmbeddingLoss(margin=2), ArgumentError, r"margin in \[-1, 1\]"),
    (lambda: scratchnet.TripletMarginLoss(p=0.5), ArgumentError, "p >= 1"),
    (lambda: scratchnet.TripletMarginLoss()(*IMAGES, IMAGES[0]), ShapeError, r"\(N, D\) or \(D\)"),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED)
def test_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as error:
        call()
    assert "\n" not in str(error.value)
