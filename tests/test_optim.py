"""The optimizers, step by step, against torch.optim's."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch

import scratchnet
from scratchnet.errors import ArgumentError, OrderError, ScratchnetError
from scratchnet.optim import clip_grad_norm_, clip_grad_value_
from scratchnet.testing import check_optimizer
from scratchnet.testing.closeness import assert_close
from scratchnet.testing.tensors import normal
from scratchnet.testing.threads import torch_threads

SHAPES = [(3, 2, 3, 3), (3,), (1, 1), ()]
STEPS = 6

SGD_OPTIONS = [
    {
        "lr": lr,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    for lr, momentum, dampening, weight_decay, nesterov, maximize in product(
        [0.1], [0, 0.9], [0, 0.3], [0, 0.05], [False, True], [False, True]
    )
    if not nesterov or (momentum > 0 and dampening == 0)
]
ADAM_OPTIONS = [
    {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    for lr, betas, eps, weight_decay in product(
        [1e-3, 0.1], [(0.9, 0.999), (0.0, 0.5)], [1e-8, 0.1], [0, 0.05]
    )
]


def parameters(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    values = [normal(shape, dtype, seed) for seed, shape in enumerate(SHAPES)]
    return [(value, torch.zeros_like(value)) for value in values]


def compare(name: str, options: dict, dtype: torch.dtype) -> None:
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(value.clone()) for value, _ in ours]
    own = getattr(scratchnet, name)(ours, **options)
    peer = getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS):
        for i, ((_, grad), parameter) in enumerate(zip(ours, theirs, strict=True)):
            grad.copy_(normal(grad.shape, dtype, 10 * step + i))
            parameter.grad = grad.clone()
        if step == 3:  # as a schedule does
            own.lr = peer.param_groups[0]["lr"] = own.lr / 3
        before = [grad.clone() for _, grad in ours]
        own.step()
        peer.step()
        for (value, grad), kept, parameter in zip(ours, before, theirs, strict=True):
            eps = torch.finfo(dtype).eps
            # steps add up to about 1, and torch's NAdam multiplies in float32
            rtol = 8 * (1e-8 if name == "NAdam" and dtype == torch.float64 else eps)
            scale = parameter.detach().abs().max().clamp(min=1).expand_as(parameter)
            assert_close(value, parameter.detach(), f"step {step}", rtol=rtol, scale=scale)
            assert torch.equal(grad, kept), "an optimizer must not write to the gradients"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd(options: dict, dtype: torch.dtype) -> None:
    compare("SGD", options, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam(options: dict, dtype: torch.dtype) -> None:
    compare("Adam", options, dtype)


# The configurations that torch tests its own optimizers on.
DECAYED = {"weight_decay": 0.1}
TORCHS = {
    "SGD": [
        {},
        {"lr": torch.tensor(0.01, dtype=torch.float64), "momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
    ],
    "Adam": [
        {},
        {"lr": torch.tensor(0.01, dtype=torch.float64), "amsgrad": True, **DECAYED},
        {"maximize": True, **DECAYED},
        {"decoupled_weight_decay": True, **DECAYED},
    ],
    "AdamW": [{}, {"lr": 0.01, "amsgrad": True, **DECAYED}, {"maximize": True, **DECAYED}],
    "RMSprop": [
        {},
        {"lr": torch.tensor(0.001, dtype=torch.float64), "maximize": True, **DECAYED},
        {"momentum": 0.9, **DECAYED},
        {"centered": True, "momentum": 0.1, "alpha": 0.9, **DECAYED},
        {"centered": True, "eps": 0.01},
    ],
    "Adagrad": [
        {},
        {"lr": torch.tensor(0.1, dtype=torch.float64), "maximize": True, **DECAYED},
        {"initial_accumulator_value": 0.1, "lr_decay": 0.5, "eps": 1e-3, **DECAYED},
    ],
    "NAdam": [
        {},
        {"lr": torch.tensor(0.001, dtype=torch.float64), "momentum_decay": 0.006, **DECAYED},
        {"decoupled_weight_decay": True, "maximize": True, **DECAYED},
    ],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, all_ in TORCHS.items() for o in all_], ids=str
)
def test_every_step_is_torchs(name: str, options: dict, dtype: torch.dtype, backend: str) -> None:
    compare(name, options, dtype)


@pytest.mark.parametrize("name", TORCHS)
def test_defaults_are_torchs(name: str) -> None:
    own = getattr(scratchnet, name)(parameters(torch.float32)).defaults
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))]).defaults
    off = ("foreach", "fused", "capturable", "differentiable")
    assert own == {option: value for option, value in theirs.items() if option not in off}


@pytest.mark.parametrize("option", ["foreach", "fused", "capturable", "differentiable"])
def test_how_torch_computes_is_refused_and_may_be_off(option: str) -> None:
    scratchnet.Adam(parameters(torch.float32), **{option: False})
    with pytest.raises(ArgumentError, match=f"Adam has no {option}=True"):
        scratchnet.Adam(parameters(torch.float32), **{option: True})
    with pytest.raises(ArgumentError, match="Adam has no argument momentum"):
        scratchnet.Adam(parameters(torch.float32), momentum=None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.1, "betas": (0.8, 0.7), "weight_decay": 0.3}, {"lr": 0.1, "maximize": True}],
    ids=str,
)
def test_lion_by_its_definition(options: dict, dtype: torch.dtype, backend: str) -> None:
    ours = parameters(dtype)
    lion = scratchnet.Lion(ours, **options)
    lr, (beta1, beta2) = options.get("lr", 1e-4), options.get("betas", (0.9, 0.99))
    sign = -1 if options.get("maximize") else 1
    means = [torch.zeros_like(value) for value, _ in ours]
    for step in range(STEPS):
        for i, (_, grad) in enumerate(ours):
            grad.copy_(normal(grad.shape, dtype, 10 * step + i))
        before = [value.clone() for value, _ in ours]
        lion.step()
        for i, ((value, grad), old) in enumerate(zip(ours, before, strict=True)):
            descent = sign * grad
            moved = torch.sign(beta1 * means[i] + (1 - beta1) * descent)
            means[i] = beta2 * means[i] + (1 - beta2) * descent
            expected = old * (1 - lr * options.get("weight_decay", 0)) - lr * moved
            assert_close(value, expected, f"step {step}", rtol=8 * torch.finfo(dtype).eps)


FUSED = [
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "maximize": True}),
    ("Lion", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
]


def after_steps(name: str, options: dict, dtype: torch.dtype, chosen: str) -> list[torch.Tensor]:
    shapes = [(130, 257), (), (0, 3), (7,), (64,)]
    pairs = [(normal(s, dtype, i), torch.zeros(s, dtype=dtype)) for i, s in enumerate(shapes)]
    optimizer = getattr(scratchnet, name)(pairs, **options)
    with scratchnet.use_backend(chosen):
        for step in range(3):
            for i, (_, grad) in enumerate(pairs):
                grad.copy_(normal(grad.shape, dtype, 10 * step + i))
            optimizer.step()
    return [value for value, _ in pairs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), FUSED)
def test_a_kernel_does_as_the_specification(
    name: str, options: dict, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = after_steps(name, options, dtype, "reference")

    def forbidden(*arguments: object) -> None:
        raise AssertionError("the kernel must do it")

    monkeypatch.setattr(getattr(scratchnet, name), "apply", forbidden)
    results = {}
    for threads in (1, 3):
        with torch_threads(threads):
            results[threads] = after_steps(name, options, dtype, "cpp")
    for one, several, same in zip(results[1], results[3], expected, strict=True):
        assert torch.equal(one, several)
        assert_close(one, same, "parameters", rtol=8 * torch.finfo(dtype).eps)


def test_what_the_kernels_do_not_take_runs_all_the_same() -> None:
    value = normal((5, 4), torch.float32, 0).T
    for pair in ((value, torch.ones(4, 5)), (value.bfloat16(), torch.ones(4, 5).bfloat16())):
        before = pair[0].clone()
        scratchnet.Adam([pair], 0.1).step()
        assert_close(pair[0], before - 0.1, "a step", rtol=0.02)


def test_a_step_after_forward_is_noticed_by_backward() -> None:
    """Though a kernel writes the parameters, and not torch."""
    layer = scratchnet.Conv2d(2, 3, 3)
    sgd = scratchnet.SGD(layer.param(), 0.1)
    y = layer(torch.ones(1, 2, 5, 5))
    layer.grad_weight.fill_(1)
    sgd.step()
    with pytest.raises(OrderError, match="changed in place"):
        layer.backward(torch.ones_like(y))


# Those that scratchnet does not have run as they are.
OTHERS = {
    "ASGD": {}, "Adadelta": {}, "Adafactor": {}, "Adamax": {}, "RAdam": {}, "Rprop": {},
    "LBFGS": {"max_iter": 3},
}  # fmt: skip


def test_every_optimizer_of_torchs_is_tried() -> None:
    theirs = {
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }
    sparse_only = {"Optimizer", "SparseAdam"}
    assert theirs - sparse_only == {*OTHERS, *TORCHS, "Muon"}


@pytest.mark.parametrize("name", [*OTHERS, *TORCHS])
def test_torchs_optimizers_schedules_clipping_and_averages(name: str) -> None:
    """On ``model.parameters()``: as on a torch.nn network of the same weights."""
    model = scratchnet.Sequential(scratchnet.Conv2d(2, 3, 3), scratchnet.Conv2d(3, 1, 1))
    model.to(dtype=torch.float64)
    twin = scratchnet.to_torch(model)
    x, y = normal((2, 2, 6, 6), torch.float64, 0), normal((2, 1, 4, 4), torch.float64, 1)
    mse, options = scratchnet.MSE(), OTHERS.get(name, {})

    def steps(parameters: list, closure: object, averaged: object) -> None:
        optimizer = getattr(torch.optim, name)(parameters, **options)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        for _ in range(3):
            optimizer.step(closure)
            schedule.step()
            averaged.update_parameters(averaged.of)

    def ours() -> torch.Tensor:
        model.zero_grad()
        loss = mse(model(x), y)
        model.backward(mse.backward())
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 0.5)
        return loss

    def theirs() -> torch.Tensor:
        twin.zero_grad()
        with torch.enable_grad():
            loss = torch.nn.functional.mse_loss(twin(x), y)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        return loss

    for network, closure in ((model, ours), (twin, theirs)):
        averaged = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
        object.__setattr__(averaged, "of", network)
        steps(list(network.parameters()), closure, averaged)
    for value, parameter in zip(model.parameters(), twin.parameters(), strict=True):
        assert_close(value.detach(), parameter.detach(), name, rtol=1e-9)


# -- clipping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clipped_as_torchs(
    norm_type: float, max_norm: float, dtype: torch.dtype, backend: str
) -> None:
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(value.clone()) for value, _ in ours]
    for i, ((_, grad), parameter) in enumerate(zip(ours, theirs, strict=True)):
        grad.copy_(normal(grad.shape, dtype, i))
        parameter.grad = grad.clone()
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    eps = torch.finfo(dtype).eps
    assert_close(clip_grad_norm_(ours, max_norm, norm_type), expected, "norm", rtol=8 * eps)
    for (_, grad), parameter in zip(ours, theirs, strict=True):
        assert_close(grad, parameter.grad, "gradient", rtol=8 * eps)
    torch.nn.utils.clip_grad_value_(theirs, 0.1)
    clip_grad_value_(ours, 0.1)
    for (_, grad), parameter in zip(ours, theirs, strict=True):
        assert_close(grad, parameter.grad, "gradient", rtol=8 * eps)


def test_clipping_what_is_not_finite(backend: str) -> None:
    layer = scratchnet.Conv2d(2, 3, 1)
    layer.grad_weight.fill_(float("nan"))
    with pytest.raises(ArgumentError, match=r"norm of order 2\.0 is nan"):
        clip_grad_norm_(layer.parameters(), 1.0, error_if_nonfinite=True)
    assert (layer.grad_bias == 0).all()
    assert clip_grad_norm_(layer.parameters(), 1.0).isnan()
    assert layer.grad_bias.isnan().all()
    with pytest.raises(ArgumentError, match="at least 0, got -1"):
        clip_grad_value_(layer.parameters(), -1)
    assert clip_grad_norm_([], 1.0) == 0


MUON_OPTIONS = [
    {
        "lr": lr,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "nesterov": nesterov,
        "adjust_lr_fn": adjust,
        "ns_steps": steps,
    }
    for lr, weight_decay, momentum, nesterov, adjust, steps in product(
        [0.02], [0, 0.1], [0, 0.9], [False, True], [None, "original", "match_rms_adamw"], [1, 5]
    )
]


def exact_muon_step(
    value: torch.Tensor, grads: list[torch.Tensor], options: dict, lr: float
) -> torch.Tensor:
    """A step by the definition: the momentum as a sum over all gradients so far, and its singular
    values, from a singular value decomposition, sent through the polynomial one by one."""
    mu, last = options["momentum"], len(grads) - 1
    mean = sum((1 - mu) * mu ** (last - i) * grad for i, grad in enumerate(grads))
    if options["nesterov"]:
        mean = (1 - mu) * grads[-1] + mu * mean
    matrix = mean.reshape(len(value) if value.dim() else 1, -1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(options["ns_steps"]):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    rows, columns = matrix.shape
    scale = max(1, rows / columns) ** 0.5
    if options["adjust_lr_fn"] == "match_rms_adamw":
        scale = 0.2 * max(rows, columns) ** 0.5
    shrunk = value * (1 - lr * options["weight_decay"])
    return shrunk - lr * scale * (u @ torch.diag(s) @ v).reshape(value.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", MUON_OPTIONS, ids=str)
def test_muon(options: dict, dtype: torch.dtype) -> None:
    ours = parameters(dtype)
    muon, lr = scratchnet.Muon(ours, **options), options["lr"]
    grads: list[list[torch.Tensor]] = [[] for _ in ours]
    for step in range(STEPS):
        for i, (_, grad) in enumerate(ours):
            grad.copy_(normal(grad.shape, dtype, 10 * step + i))
            grads[i].append(grad.to(torch.float64, copy=True))
        if step == 3:
            muon.lr = lr = lr / 3
        before = [value.to(torch.float64, copy=True) for value, _ in ours]
        muon.step()
        for (value, grad), old, past in zip(ours, before, grads, strict=True):
            expected = exact_muon_step(old, past, options, lr)
            assert_close(value.double(), expected, f"step {step}", rtol=16 * torch.finfo(dtype).eps)
            assert torch.equal(grad.double(), past[-1]), "must not write to the gradients"


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 12), (1, 6)])
@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_muon_is_torchs_but_for_its_bfloat16(shape: tuple[int, int], adjust: str | None) -> None:
    value = normal(shape, torch.float32, 0)
    grad = torch.zeros_like(value)
    peer = torch.nn.Parameter(value.clone())
    options = {"lr": 0.1, "adjust_lr_fn": adjust}
    own, theirs = scratchnet.Muon([(value, grad)], **options), torch.optim.Muon([peer], **options)
    for step in range(STEPS):
        grad.copy_(normal(shape, torch.float32, step + 1))
        peer.grad = grad.clone()
        start = value.clone()
        with torch.no_grad():
            peer.copy_(value)
        own.step()
        theirs.step()
        # The iteration may enlarge a small singular value's rounding by 3.4445 in each of 5 steps,
        # but large ones settle: what is left is a few of bfloat16's own roundings.
        assert_close(
            value - start,
            peer.detach() - start,
            f"step {step}",
            rtol=8 * torch.finfo(torch.bfloat16).eps,
        )


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (3, 20), (20, 3), (5,)])
def test_muon_moves_equally_far_in_every_direction(shape: tuple[int, ...]) -> None:
    value, grad = torch.zeros(shape, dtype=torch.float64), normal(shape, torch.float64, 1)
    scratchnet.Muon([(value, grad)], 1.0, adjust_lr_fn="original").step()
    matrix = value.reshape(len(value), -1)
    scale = max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5
    singular = torch.linalg.svdvals(matrix) / scale
    assert (singular > 0.65).all()
    assert (singular < 1.2).all()


def test_muon_passes_the_checks_of_an_optimizer() -> None:
    options = {
        "lr": 0.1,
        "weight_decay": 0.2,
        "momentum": 0.8,
        "nesterov": False,
        "ns_steps": 3,
        "adjust_lr_fn": "match_rms_adamw",
    }
    check_optimizer(scratchnet.Muon, options)


def test_muon_stands_still_without_a_gradient() -> None:
    ours = [*parameters(torch.float32), (torch.zeros(0, 3), torch.zeros(0, 3))]
    before = [value.clone() for value, _ in ours]
    scratchnet.Muon(ours, weight_decay=0).step()
    for (value, _), old in zip(ours, before, strict=True):
        assert torch.equal(value, old)


def test_parameters_change_in_place() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    weight, before = layer.weight, layer.weight.clone()
    sgd = scratchnet.SGD(layer.param(), 0.5)
    layer.grad_weight.fill_(1)
    sgd.step()
    assert layer.weight is weight
    assert torch.equal(weight, before - 0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}),
        ("Adam", {"lr": 0.1}),
        ("Muon", {"lr": 0.1}),
    ],
)
def test_it_continues_from_a_saved_state(name: str, options: dict) -> None:
    def run(optimizer: object, params: list, steps: range) -> None:
        for step in steps:
            for i, (_, grad) in enumerate(params):
                grad.copy_(normal(grad.shape, torch.float32, 10 * step + i))
            optimizer.step()

    make = getattr(scratchnet, name)
    straight = parameters(torch.float32)
    run(make(straight, **options), straight, range(6))

    first, second = parameters(torch.float32), parameters(torch.float32)
    stopped = make(first, **options)
    run(stopped, first, range(3))
    for (value, _), (kept, _) in zip(second, first, strict=True):
        value.copy_(kept)
    resumed = make(second, **options)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    run(resumed, second, range(3, 6))
    for (value, _), (expected, _) in zip(second, straight, strict=True):
        assert torch.equal(value, expected)


def test_a_state_of_other_parameters_is_refused_and_nothing_changes() -> None:
    sgd = scratchnet.SGD(parameters(torch.float32), 0.1, momentum=0.9)
    sgd.step()
    state = copy.deepcopy(sgd.state_dict())
    other = scratchnet.SGD(scratchnet.Conv2d(2, 3, 3).param(), 0.1, momentum=0.9)
    with pytest.raises(ScratchnetError, match="this state belongs to another SGD"):
        other.load_state_dict(state)
    assert not other.state


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -0.1}, "lr is expected to be at least 0, got -0.1"),
        ("SGD", {"lr": float("nan")}, "lr is expected to be at least 0, got nan"),
        ("SGD", {"lr": 0.1, "momentum": -1}, "momentum is expected"),
        ("SGD", {"lr": 0.1, "weight_decay": -1}, "weight_decay is expected"),
        ("SGD", {"lr": 0.1, "nesterov": True}, "nesterov expects momentum > 0"),
        (
            "SGD",
            {"lr": 0.1, "nesterov": True, "momentum": 0.9, "dampening": 0.1},
            "dampening = 0, got momentum=0.9, dampening=0.1",
        ),
        ("Adam", {"betas": (1.0, 0.9)}, r"betas are expected in \[0, 1\)"),
        ("Adam", {"eps": -1}, "eps is expected"),
        ("Muon", {"momentum": 1.0}, r"momentum is expected in \[0, 1\), got 1.0"),
        ("Muon", {"weight_decay": -1}, "weight_decay is expected"),
        ("Muon", {"ns_steps": 0}, "ns_steps is expected to be at least 1"),
        ("Muon", {"adjust_lr_fn": "rms"}, "adjust_lr_fn is expected to be 'original' or"),
    ],
)
def test_wrong_options(name: str, options: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        getattr(scratchnet, name)(parameters(torch.float32), **options)


@pytest.mark.parametrize("make", [scratchnet.SGD, scratchnet.Adam, scratchnet.Muon])
def test_nothing_to_train(make: type) -> None:
    with pytest.raises(ArgumentError, match=r"model.param\(\) return\w* them; got none"):
        make(scratchnet.ReLU().param(), lr=0.1)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_groups_and_torchs_schedules(name: str) -> None:
    """Beside torch's, with options that differ from group to group, under two schedules."""
    model = scratchnet.Sequential(scratchnet.Conv2d(2, 3, 3), scratchnet.Conv2d(3, 2, 1))
    model.to(dtype=torch.float64)
    theirs = [torch.nn.Parameter(value.detach().clone()) for value in model.parameters()]
    ours = list(model.parameters())
    groups = [
        [{"params": values[:2], "lr": 0.1}, {"params": values[2:], "weight_decay": 0.3}]
        for values in (model[0].param() + model[1].param(), theirs)
    ]
    made = [getattr(scratchnet, name)(groups[0]), getattr(torch.optim, name)(groups[1])]
    assert made[0].lr == 0.1
    schedules = [
        torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4),
            ],
            [2],
        )
        for optimizer in made
    ]
    for step in range(STEPS):
        for i, (value, parameter) in enumerate(zip(ours, theirs, strict=True)):
            value.grad = normal(value.shape, torch.float64, 10 * step + i)
            parameter.grad = value.grad.clone()
        for optimizer, schedule in zip(made, schedules, strict=True):
            optimizer.step()
            schedule.step()
        assert made[0].param_groups[1]["lr"] == pytest.approx(made[1].param_groups[1]["lr"])
        for value, parameter in zip(ours, theirs, strict=True):
            assert_close(value.detach(), parameter.detach(), f"step {step}", rtol=1e-14)


@pytest.mark.parametrize("make", [scratchnet.SGD, scratchnet.Adam, scratchnet.Muon])
def test_pairs_and_parameters_are_the_same(make: type) -> None:
    a, b = (scratchnet.Conv2d(2, 3, 3, generator=torch.Generator().manual_seed(0)) for _ in "ab")
    optimizers = make(a.param(), lr=0.1), make(b.parameters(), lr=0.1)
    for layer, optimizer in zip((a, b), optimizers, strict=True):
        layer.grad_weight.fill_(0.5)
        layer.grad_bias.fill_(2)
        optimizer.step()
        optimizer.zero_grad()
        assert (layer.grad_weight == 0).all()
    assert torch.equal(a.weight, b.weight)
    assert torch.equal(a.bias, b.bias)


def test_a_pair_of_strangers_is_refused() -> None:
    a, b = scratchnet.Conv2d(2, 3, 3), scratchnet.Conv2d(2, 3, 3)
    with pytest.raises(ArgumentError, match="a parameter and its own gradient"):
        scratchnet.SGD([(a.weight, b.grad_weight)])


def test_a_closure_as_torchs_optimizers_take_it() -> None:
    layer = scratchnet.Conv2d(1, 1, 1)

    def closure() -> float:
        layer.grad_weight.fill_(1)
        return 2.5

    before = layer.weight.clone()
    assert scratchnet.SGD(layer.parameters(), lr=0.5).step(closure) == 2.5
    assert torch.equal(layer.weight, before - 0.5)


def test_hooks_are_called_while_they_are_registered() -> None:
    value = torch.ones(3)
    sgd = scratchnet.SGD([(value, torch.ones(3))], lr=0.5)
    seen = []
    before = sgd.register_step_pre_hook(lambda optimizer, args, kwargs: seen.append(value.clone()))
    after = sgd.register_step_post_hook(lambda optimizer, args, kwargs: seen.append(value.clone()))
    sgd.step()
    before.remove()
    after.remove()
    sgd.step()
    assert [float(x[0]) for x in seen] == [1, 0.5]
    assert float(value[0]) == 0


def test_a_subclass_with_an_update_of_its_own_is_not_stepped_by_the_kernel() -> None:
    class Backwards(scratchnet.SGD):
        def update(self, value: torch.Tensor, grad: torch.Tensor, *rest: object) -> None:
            value.add_(grad)

    value = torch.zeros(3)
    Backwards([(value, torch.ones(3))], lr=0.1).step()
    assert (value == 1).all()
