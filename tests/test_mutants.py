"""The kit finds every planted fault, by the right check, with a message that leads to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from mutants import layers as faulty
from mutants import optimizers as faulty_optimizers
from rightlayers import L1, BatchNorm, Dropout, Embedding, Shared, SumAndProduct

import scratchnet
from scratchnet.layers.loss import Loss
from scratchnet.testing import Result, check_layer, check_optimizer
from scratchnet.testing.settings import torch_settings
from scratchnet.testing.twins import torch_twin

IMAGES = [torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))]


def conv(kind: type) -> Callable[[], scratchnet.Module]:
    return lambda: kind(4, 6, (3, 2), (2, 1), (1, 2))


LAYERS = {
    faulty.ViewedWeightGradient: (
        lambda: faulty.ViewedWeightGradient(4, 6, 3),
        "parameter_gradients",
        "gradient of weight.*the values are right but in the wrong places",
    ),
    faulty.AveragingUpsampling: (
        lambda: faulty.AveragingUpsampling(2),
        "input_gradient",
        "gradient of the input.*all are 0.25 times what they should be",
    ),
    faulty.SigmoidAtTheGradient: (
        faulty.SigmoidAtTheGradient,
        "linear_backward",
        "gradient of input 0 is not twice as large .* multiply the derivative, taken at the input",
    ),
    faulty.DerivativeAlone: (
        faulty.DerivativeAlone,
        "linear_backward",
        "gradient of input 0 is the same when .* multiply the derivative, .* by that gradient",
    ),
    faulty.FreshGradients: (
        conv(faulty.FreshGradients),
        "gradient_buffers",
        r"gradient of weight is another tensor after backward: .* write grad_weight \+=",
    ),
    faulty.OverwrittenGradients: (
        conv(faulty.OverwrittenGradients),
        "accumulation",
        r"gradient of weight after two batches is the last one alone.*write grad_weight \+=",
    ),
    faulty.NothingForParametersAlone: (
        conv(faulty.NothingForParametersAlone),
        "parameters_alone",
        "gradient of weight by backward_parameters .expected: backward's.",
    ),
    faulty.GradientInTheWeight: (
        conv(faulty.GradientInTheWeight),
        "parameters",
        "gradient of weight shares its memory with the weight",
    ),
    faulty.Flipped: (
        lambda: faulty.Flipped(4, 6, 3, (2, 1), (1, 0)),
        "twin_output",
        r"output: expected the shape \(2, 6, 3, 4\) of the twin's, got \(2, 6, 4, 3\)",
    ),
    faulty.RightForSquares: (
        lambda: faulty.RightForSquares(2),
        "twin_output",
        r"\(2, 4, 12, 10\) of the twin's, got \(2, 4, 10, 12\) \(height and width exchanged\?\)",
    ),
    faulty.PaddedOnOneSide: (
        lambda: faulty.PaddedOnOneSide(4, 6, 3, 1, 1),
        "twin_output",
        r"output for .* elements differ.*as if moved by \(1, 1\) \(padded on one side only\?\)",
    ),
    faulty.RemembersTheLastBatch: (
        conv(faulty.RemembersTheLastBatch),
        "fresh_each_batch",
        "gradient of weight after a batch of .*expected: a fresh layer's",
    ),
    faulty.NormalizedByTheFirstBatch: (
        faulty.NormalizedByTheFirstBatch,
        "fresh_each_batch",
        "output after a batch of",
    ),
    faulty.BiasOfOneImage: (
        conv(faulty.BiasOfOneImage),
        "batch_sum",
        "gradient of bias for a batch of 2 is that of image 0 alone: sum over the batch",
    ),
    faulty.InPlaceReLU: (faulty.InPlaceReLU, "inputs_untouched", "forward wrote to input 0"),
    faulty.OutputIsAView: (
        faulty.OutputIsAView,
        "no_aliases",
        "the output shares memory with the input",
    ),
    faulty.SinglePrecision: (
        faulty.SinglePrecision,
        "float64",
        "output of float64 inputs holds nothing but float32 numbers",
    ),
    faulty.CopiesOfParameters: (
        conv(faulty.CopiesOfParameters),
        "parameters",
        r"param\(\) and named_param\(\) list different tensors for weight",
    ),
    faulty.GradientWrittenInPlace: (
        faulty.GradientWrittenInPlace,
        "inputs_untouched",
        "backward wrote to the gradient it was given",
    ),
    faulty.KeepsInEval: (faulty.KeepsInEval, "eval_mode", "keeps a tensor in kept: use save"),
    faulty.CopyIsItself: (
        conv(faulty.CopyIsItself),
        "copies",
        "the deepcopy shares the memory of weight",
    ),
    faulty.ForgetsItsSlope: (
        lambda: faulty.ForgetsItsSlope(0.5),
        "config",
        "output of a layer made from config",
    ),
    faulty.CentredOverTheBatch: (
        faulty.CentredOverTheBatch,
        "batch_independence",
        "output of image 0 alone",
    ),
    faulty.NanFromNothing: (
        conv(faulty.NanFromNothing),
        "empty_batch",
        "gradient of bias: expected 0 from no images, got .*nan",
    ),
    faulty.ReadsMemoryInOrder: (
        faulty.ReadsMemoryInOrder,
        "memory_layouts",
        "gradient of input 0 for channels_last memory",
    ),
    faulty.MeanOverTheBatch: (
        conv(faulty.MeanOverTheBatch),
        "parameter_gradients",
        "gradient of weight.*all are 0.5 times",
    ),
    faulty.NoOrder: (
        faulty.NoOrder,
        "backward_before_forward",
        "raised AttributeError.*expected an OrderError, as reading self.saved raises it",
    ),
    faulty.InAGraph: (faulty.InAGraph, "no_graph", "the output has a grad_fn.*check_tensor"),
    faulty.TakesAnything: (faulty.TakesAnything, "wrong_inputs", "a list was accepted"),
    faulty.ZeroesByReplacing: (
        conv(faulty.ZeroesByReplacing),
        "gradient_buffers",
        "another tensor after zero_grad",
    ),
    faulty.BorderForgotten: (
        lambda: faulty.BorderForgotten(4, 6, 3, 1, 1),
        "input_gradient",
        "only in columns 5 of 6",
    ),
    faulty.FlatGradient: (
        faulty.FlatGradient,
        "contract",
        r"a gradient like input 0, \(2, 4, 6, 6\) torch.float32; got \(288,\)",
    ),
    faulty.ZeroesTheWeightsOnly: (
        conv(faulty.ZeroesTheWeightsOnly),
        "zero_grad",
        "gradient of bias is not 0 after zero_grad",
    ),
    faulty.ConvertsToNewTensors: (
        conv(faulty.ConvertsToNewTensors),
        "changes_of_dtype",
        r"weight is another tensor after to\(dtype=\)",
    ),
    faulty.StateUnderOtherNames: (
        conv(faulty.StateUnderOtherNames),
        "state_dict",
        "has the keys .*conv.weight.* not the parameters'",
    ),
    faulty.SaysTooLittle: (faulty.SaysTooLittle, "representation", "does not evaluate"),
    faulty.BroadcastsGradients: (
        faulty.BroadcastsGradients,
        "wrong_gradient",
        "a gradient of the shape .* was accepted.*check_grad refuses it",
    ),
    faulty.Noisy: (faulty.Noisy, "run_to_run", "second run against the first"),
    faulty.Seeds: (faulty.Seeds, "global_state", "seeds torch's global generator or draws"),
    faulty.StatisticsNotSaved: (
        lambda: faulty.StatisticsNotSaved(4),
        "complete_state",
        r"running_mean, running_var is lost; register it with add_buffer\(\)",
    ),
    faulty.FrozenMoves: (
        conv(faulty.FrozenMoves),
        "frozen",
        r"param\(\) lists weight, which is frozen: an optimizer would move it",
    ),
    faulty.StaleMask: (faulty.StaleMask, "noise", "eight forwards .* gave the same output"),
    faulty.StatisticsInEval: (
        lambda: faulty.StatisticsInEval(4),
        "eval_mode",
        "buffer running_mean changed in eval mode: change it only if self.training",
    ),
    faulty.KeepsTheLastInput: (
        faulty.KeepsTheLastInput,
        "used_twice",
        r"the first of two uses in one pass .*save\(\), which keeps it for each",
    ),
    faulty.KeepsWithoutSave: (
        faulty.KeepsWithoutSave,
        "changed_in_between",
        r"after input 0 was changed in place between .*keep tensors with save\(\)",
    ),
    faulty.SwitchesGradMode: (
        faulty.SwitchesGradMode,
        "global_state",
        "forward changes torch's grad mode from True to False, for everyone: set it back",
    ),
    faulty.SwitchesDtype: (
        faulty.SwitchesDtype,
        "global_state",
        "making the layer changes torch's default dtype from torch.float32 to torch.float64",
    ),
    faulty.SwitchesThreads: (
        faulty.SwitchesThreads,
        "global_state",
        "backward changes torch's number of threads from 3 to 1",
    ),
    faulty.SwitchesDeterminism: (
        faulty.SwitchesDeterminism,
        "global_state",
        "forward changes torch's deterministic mode from 0 to 1",
    ),
    faulty.GradientOfIndices: (
        lambda: faulty.GradientOfIndices(5, 3),
        "contract",
        "None as the gradient of input 0, which is of torch.int64: integers have no derivative",
    ),
    faulty.ReductionIgnored: (
        lambda: faulty.ReductionIgnored("sum"),
        "reductions",
        r"loss with reduction='sum' for .*\(expected: that of 'none'\)",
    ),
    faulty.GradientNotReduced: (
        faulty.GradientNotReduced,
        "reductions",
        "gradient with reduction='mean' .* all are [0-9]+ times",
    ),
}
# What those are given that do not take one batch of images.
INDICES = torch.tensor([[0, 3, 1], [2, 2, 4]])
PAIR = tuple(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
INPUTS = {
    faulty.GradientOfIndices: [INDICES],
    faulty.ReductionIgnored: [PAIR],
    faulty.GradientNotReduced: [PAIR],
}
# The layers that the mutants are made of.
RIGHT = {
    scratchnet.TransposeConv2d: lambda: scratchnet.TransposeConv2d(4, 4, 3),
    scratchnet.NearestUpsampling: lambda: scratchnet.NearestUpsampling(2),
    scratchnet.Sigmoid: scratchnet.Sigmoid,
    scratchnet.ReLU: scratchnet.ReLU,
    scratchnet.Conv2d: lambda: scratchnet.Conv2d(4, 6, (3, 2), (2, 1), (1, 2)),
    faulty.LeakyReLU: faulty.LeakyReLU,
    faulty.PlainReLU: faulty.PlainReLU,
    faulty.PlainSigmoid: faulty.PlainSigmoid,
}


def twin_of(factory: Callable[[], scratchnet.Module]) -> object:
    """The torch twin of the right layer that a mutant is made of."""
    with torch_settings():  # some mutants change them when they are made
        layer = factory()
    for right in RIGHT:
        if isinstance(layer, right) and right is not faulty.LeakyReLU:
            return torch_twin(right(**layer.config()))
    return None


def by_name(results: list[Result]) -> dict[str, Result]:
    return {result.name: result for result in results}


def the_failure(results: list[Result], check: str, message: str) -> None:
    """The named check failed with this message, and nothing less telling failed before it."""
    failed = [result for result in results if result.status == "failed"]
    assert failed, "the mutant survived"
    found = by_name(results)[check]
    assert found in failed, f"{check} passed; failed: {[result.name for result in failed]}"
    assert re.search(message, found.message), found.message


@pytest.mark.parametrize("right", RIGHT, ids=lambda kind: kind.__name__)
def test_what_the_mutants_are_made_of_is_right(right: type) -> None:
    check_layer(RIGHT[right], IMAGES, twin=twin_of(RIGHT[right]))


@pytest.mark.parametrize("mutant", LAYERS, ids=lambda kind: kind.__name__)
def test_layers(mutant: type) -> None:
    factory, check, message = LAYERS[mutant]
    images = INPUTS.get(mutant, IMAGES)
    results = check_layer(factory, images, twin=twin_of(factory), on_fail=None)
    the_failure(results, check, message)
    first = next(result for result in results if not result.ok)
    assert first.name == check, f"{first.name} failed first: {first.message}"


# Kinds that the project itself does not have yet: (layer, inputs, twin).
RIGHT_KINDS = {
    "BatchNorm2d": (lambda: BatchNorm(4), IMAGES, torch.nn.BatchNorm2d(4)),
    "BatchNorm1d": (lambda: BatchNorm(5), [IMAGES[0][0, 0, :4, :5]], torch.nn.BatchNorm1d(5)),
    "Dropout": (lambda: Dropout(0.3), IMAGES, torch.nn.Dropout(0.3)),
    "Dropout with a generator": (
        lambda: Dropout(0.3, generator=torch.Generator()),
        IMAGES,
        torch.nn.Dropout(0.3),
    ),
    "Embedding": (lambda: Embedding(5, 3), [INDICES], torch.nn.Embedding(5, 3)),
    "Shared": (lambda: Shared(4), IMAGES, None),
    "SumAndProduct": (SumAndProduct, [PAIR], lambda a, b: (a + b, a * b)),
    "L1": (lambda: L1("sum"), [PAIR], torch.nn.L1Loss(reduction="sum")),
    "MSE": (scratchnet.MSE, [PAIR], torch.nn.MSELoss()),
    "MSE, none": (lambda: scratchnet.MSE("none"), [PAIR], torch.nn.MSELoss(reduction="none")),
    "all in a row": (
        lambda: scratchnet.Sequential(
            Embedding(5, 4), BatchNorm(3), Dropout(0.2), scratchnet.ReLU(), BatchNorm(3)
        ),
        [INDICES],
        None,
    ),
}


@pytest.mark.parametrize("kind", RIGHT_KINDS)
def test_right_layers_of_other_kinds_are_not_accused(kind: str) -> None:
    factory, inputs, twin = RIGHT_KINDS[kind]
    expected = {}
    if kind == "all in a row":  # a Sequential is rebuilt from its modules
        expected = dict.fromkeys(("config", "representation"), "not of modules in a row")
    results = check_layer(factory, inputs, twin=twin, expected_failures=expected)
    names = {result.name for result in results}
    assert ("noise" in names) == ("Dropout" in kind or kind == "all in a row")
    assert ("reductions" in names) == isinstance(factory(), Loss)


SGD_OPTIONS = {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}
ADAM_OPTIONS = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "weight_decay": 0.1}
OPTIMIZERS = {
    faulty_optimizers.DecayThrownAway: ("option_weight_decay", "weight_decay=0.1 changes nothing"),
    faulty_optimizers.MomentumIgnored: ("option_momentum", "momentum=0.9 changes nothing"),
    faulty_optimizers.DampensTheFirst: ("twin_steps", r"after step 1 \(expected: the twin's\)"),
    faulty_optimizers.NewParameters: ("in_place", "step did not change parameter 0 in place"),
    faulty_optimizers.GradientsConsumed: ("in_place", "step wrote to gradient 0"),
    faulty_optimizers.RateKept: ("learning_rate", "after a step with lr set to 0"),
    faulty_optimizers.StateForgotten: ("saved_state", "after saving and resuming"),
    faulty_optimizers.Uncorrected: ("twin_steps", "after step 1"),
    faulty_optimizers.MovesTheFrozen: ("groups", "step moved a frozen parameter"),
    faulty_optimizers.OptionsOfTheFirstGroup: ("groups", "parameters of a group with lr = 0"),
}


@pytest.mark.parametrize("mutant", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_optimizers(mutant: type) -> None:
    check, message = OPTIMIZERS[mutant]
    adam = issubclass(mutant, scratchnet.Adam)
    options = ADAM_OPTIONS if adam else SGD_OPTIONS
    twin = torch.optim.Adam if adam else torch.optim.SGD
    the_failure(check_optimizer(mutant, options, twin=twin, on_fail=None), check, message)


@pytest.mark.parametrize(
    ("kind", "options"), [(scratchnet.SGD, SGD_OPTIONS), (scratchnet.Adam, ADAM_OPTIONS)]
)
def test_the_optimizers_the_mutants_are_made_of_are_right(kind: type, options: dict) -> None:
    check_optimizer(kind, options, twin=getattr(torch.optim, kind.__name__))


def test_none_is_left_out() -> None:
    for module, tested, right in (
        (faulty, LAYERS, {faulty.LeakyReLU, faulty.PlainReLU, faulty.PlainSigmoid}),
        (faulty_optimizers, OPTIMIZERS, set()),
    ):
        planted = {
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if kind.__module__ == module.__name__
        }
        assert planted == {*tested, *right}
    assert len(LAYERS) + len(OPTIMIZERS) >= 40
