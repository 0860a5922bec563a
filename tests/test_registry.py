"""Finding plugins, and each way in which that can go wrong, on really installed distributions."""

from __future__ import annotations

import sys

import pytest
import torch
from installed import BACKEND, LAYER, Site

import scratchnet
from scratchnet.errors import PluginError

BUILT_IN = ["Conv2d", "NearestUpsampling", "ReLU", "Residual", "Sigmoid", "TransposeConv2d"]


def message(name: str, registry: object = scratchnet.layers) -> str:
    with pytest.raises(PluginError) as error:
        registry.get(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_built_in_ones_are_there() -> None:
    assert set(BUILT_IN) <= set(scratchnet.layers.names())
    assert {"reference", "cpp"} <= set(scratchnet.backends.names())
    info = scratchnet.layers.info("Conv2d")
    assert info.builtin
    assert info.origin == f"scratchnet {scratchnet.__version__}"
    assert scratchnet.layers.get("Conv2d") is scratchnet.Conv2d


def test_an_installed_layer_can_be_listed_built_and_trained(site: Site) -> None:
    module = site.install("scale-three", LAYER.format(factor=3), layers={"times-3": "Layer"})
    assert "times-3" in scratchnet.layers.names()
    info = scratchnet.layers.info("times-3")
    assert (info.distribution, info.version, info.builtin) == ("scale-three", "1.0", False)
    assert info.target == f"{module}:Layer"
    assert module not in sys.modules, "listing must import nothing"

    layer = scratchnet.build("times-3")
    assert module in sys.modules
    assert layer(torch.ones(2)).tolist() == [3, 3]
    assert layer.backward(torch.ones(2)).tolist() == [3, 3]
    assert scratchnet.layers.get("times-3") is scratchnet.layers.get("times-3")


@pytest.mark.parametrize(
    ("asked", "meant"), [("conv2d", "Conv2d"), ("Conv2", "Conv2d"), ("sigmod", "Sigmoid")]
)
def test_a_missing_one_is_guessed(asked: str, meant: str) -> None:
    text = message(asked)
    assert text.startswith(f"there is no layer {asked!r}: did you mean {meant!r}?")
    assert "Conv2d, " in text
    assert "package.module:Object" in text


def test_a_missing_one_that_resembles_nothing() -> None:
    text = message("zzz", scratchnet.backends)
    assert "there is no backend 'zzz': known are cpp, reference" in text
    assert "did you mean" not in text


def test_a_broken_one_quotes_its_error_and_breaks_nothing_else(site: Site) -> None:
    site.install("broken-one", "import no_such_module_anywhere\n", layers={"broken": "Layer"})
    site.install("fine", LAYER.format(factor=2), layers={"fine": "Layer"})
    text = message("broken")
    assert "layer 'broken' (broken-one 1.0) cannot be imported from broken_one:Layer" in text
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in text
    assert "SCRATCHNET_BLOCK=broken" in text
    assert scratchnet.build("fine")(torch.ones(1)).item() == 2


def test_an_object_that_is_not_in_the_module(site: Site) -> None:
    site.install("hollow", "", layers={"hollow": "Layer"})
    assert "AttributeError: module 'hollow' has no attribute 'Layer'" in message("hollow")


def test_a_failure_is_remembered_and_not_imported_again(site: Site) -> None:
    source = "import builtins\nbuiltins.times = getattr(builtins, 'times', 0) + 1\n1 / 0\n"
    site.install("counting", source, layers={"counting": "Layer"})
    try:
        first, second = message("counting"), message("counting")
        assert "ZeroDivisionError" in first
        assert first == second
        import builtins

        assert builtins.times == 1
    finally:
        del builtins.times


def test_two_of_one_name_are_both_named(site: Site) -> None:
    first = site.install("swish-one", LAYER.format(factor=1), layers={"swish": "Layer"})
    site.install(
        "swish-two", LAYER.format(factor=2), layers={"swish": "Layer", "x": "Layer"}, version="2.5"
    )
    text = message("swish")
    for part in ("swish-one 1.0", "swish-two 2.5", "SCRATCHNET_BLOCK=DISTRIBUTION", "uninstall"):
        assert part in text
    assert any("claimed by" in line for line in scratchnet.layers.registry.problems())
    with pytest.raises(PluginError, match="claimed by"):
        scratchnet.layers.info("swish")
    # the ways out that the message names
    assert scratchnet.build(f"{first}:Layer")(torch.ones(1)).item() == 1
    assert scratchnet.build("x")(torch.ones(1)).item() == 2


def test_blocking_one_of_two_of_one_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("swish-one", LAYER.format(factor=1), layers={"swish": "Layer"})
    site.install("swish-two", LAYER.format(factor=2), layers={"swish": "Layer"})
    monkeypatch.setenv("SCRATCHNET_BLOCK", "swish-one")
    assert scratchnet.build("swish")(torch.ones(1)).item() == 2


def test_another_api_version(site: Site) -> None:
    source = LAYER.format(factor=1) + "    api_version = 99\n"
    site.install("from-the-future", source, layers={"future": "Layer"}, version="9.0")
    text = message("future")
    assert "layer 'future' (from-the-future 9.0) is written for api_version 99" in text
    assert "this scratchnet has 1" in text


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (("scratchnet", "torch==1.2.3"), "torch==1.2.3"),
        (("torch>=99; python_version > '3'",), "torch>=99"),
        ((f"torch=={torch.__version__}", "numpy==1.0"), None),
        ((f"torch=={torch.__version__.partition('+')[0]}",), None),
        (("torch==1.2.3; python_version < '3'",), None),
        (("torch==1.2.3; extra == 'old'", "not a requirement"), None),
        (("torch",), None),
        ((), None),
    ],
)
def test_built_for_another_torch(requires: tuple[str, ...], said: str | None, site: Site) -> None:
    source = LAYER.format(factor=5)
    module = site.install("built", source, layers={"built": "Layer"}, requires=requires)
    if said is None:
        assert scratchnet.build("built")(torch.ones(1)).item() == 5
        assert scratchnet.layers.registry.problems() == []
        return
    text = message("built")
    assert text == (
        f"layer 'built' (built 1.0) is built for {said}, but torch {torch.__version__} is running: "
        "install a release of the plugin for this torch, or that torch"
    )
    assert module not in sys.modules, "what another torch was compiled for may crash this one"
    assert scratchnet.layers.registry.problems() == [text]


def test_something_that_is_no_layer(site: Site) -> None:
    site.install("no-layer", "class Layer:\n    api_version = 1\n\n", layers={"nothing": "Layer"})
    assert "expected a subclass of scratchnet.Module" in message("nothing")
    site.install("no-backend", "class B:\n    api_version = 2\n", backends={"nothing": "B"})
    assert "expected a scratchnet.backends.base.Backend, got <" in message(
        "nothing", scratchnet.backends
    )


@pytest.mark.parametrize(
    ("variable", "value", "hidden"),
    [
        ("SCRATCHNET_BLOCK", "one", {"one"}),
        ("SCRATCHNET_BLOCK", "dist-one, two", {"one", "two"}),
        ("SCRATCHNET_BLOCK", "Conv2d,scratchnet", set()),
        ("SCRATCHNET_PLUGINS", "one", {"two"}),
        ("SCRATCHNET_PLUGINS", "dist-two", {"one"}),
        ("SCRATCHNET_PLUGINS", "", {"one", "two"}),
    ],
)
def test_allowed_and_blocked(
    variable: str, value: str, hidden: set[str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("dist-one", LAYER.format(factor=1), layers={"one": "Layer"})
    site.install("dist-two", LAYER.format(factor=2), layers={"two": "Layer"})
    monkeypatch.setenv(variable, value)
    assert {"one", "two"} - set(scratchnet.layers.names()) == hidden
    assert set(BUILT_IN) <= set(scratchnet.layers.names())
    for name in hidden:
        text = message(name)
        assert "is installed but hidden by" in text
        assert variable in text
    # a name that was hidden when first asked for can be had once it is no longer
    monkeypatch.delenv(variable)
    assert {"one", "two"} <= set(scratchnet.layers.names())
    for factor, name in enumerate(("one", "two"), start=1):
        assert scratchnet.build(name)(torch.ones(1)).item() == factor


def test_a_loaded_plugin_that_is_blocked_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("dist-one", LAYER.format(factor=1), layers={"one": "Layer"})
    scratchnet.layers.get("one")
    monkeypatch.setenv("SCRATCHNET_BLOCK", "one")
    assert "hidden by" in message("one")


def test_a_built_in_name_cannot_be_shadowed(site: Site) -> None:
    site.install("usurper", LAYER.format(factor=9), layers={"Conv2d": "Layer"})
    assert scratchnet.layers.get("Conv2d") is scratchnet.Conv2d
    assert scratchnet.layers.info("Conv2d").builtin
    assert scratchnet.layers.registry.problems() == [
        "layer 'Conv2d' of usurper 1.0 is ignored: the name is built in"
    ]
    with pytest.raises(PluginError, match=r"'Conv2d' exists \(scratchnet .*choose another name"):
        scratchnet.layers.register("Conv2d", scratchnet.ReLU)


def test_a_path_works_wherever_a_name_does(site: Site) -> None:
    module = site.install("by-path", LAYER.format(factor=7))
    assert scratchnet.build(f"{module}:Layer")(torch.ones(1)).item() == 7
    assert "given by its path" in message("no_such_package:Layer")
    site.install("more", BACKEND.format(name="more", priority=0, available=True))
    with scratchnet.use_backend("more:backend"):
        assert scratchnet.NearestUpsampling(2)(torch.ones(1, 1, 1, 1)).sum() == 4


def test_registering_at_run_time() -> None:
    class Twice(scratchnet.Module):
        pass

    assert "there is no layer 'twice'" in message("twice")
    scratchnet.layers.register("twice", Twice)
    try:
        assert scratchnet.layers.get("twice") is Twice
        assert scratchnet.layers.info("twice").origin == "register()"
        with pytest.raises(PluginError, match=r"exists .*unregister\('twice'\) first"):
            scratchnet.layers.register("twice", Twice)
    finally:
        scratchnet.layers.unregister("twice")
    assert "twice" not in scratchnet.layers.names()
    assert "there is no layer 'twice'" in message("twice")
    with pytest.raises(PluginError, match="was not registered"):
        scratchnet.layers.unregister("Conv2d")


def test_an_unavailable_backend_says_why(site: Site) -> None:
    reason = "built for torch 1.0, but 2.0 is running: reinstall it"
    site.install(
        "stale",
        BACKEND.format(name="stale", priority=0, available=reason),
        backends={"stale": "backend"},
    )
    with pytest.raises(scratchnet.errors.BackendError, match=f"'stale' is not available: {reason}"):
        scratchnet.set_backend("stale")
    x = torch.ones(1, 1, 1, 1)
    with pytest.raises(scratchnet.errors.BackendError, match=reason):
        scratchnet.NearestUpsampling(2, backend="stale")(x)
    text = str(scratchnet.explain("upsample_nearest", x, scale=(2, 2)))
    assert reason in text


def test_registering_one_leaves_the_others_loaded() -> None:
    reference = scratchnet.backends.get("reference")
    scratchnet.backends.register("mine", reference)
    try:
        assert scratchnet.backends.get("reference") is reference
    finally:
        scratchnet.backends.unregister("mine")
    assert scratchnet.backends.get("reference") is reference


def test_what_is_no_such_plugin_says_so(site: Site) -> None:
    site.install("wrong-kind", "x = 3", losses={"three": "x"}, optimizers={"three": "x"})
    from scratchnet import optim
    from scratchnet.layers import loss

    assert "cannot be used: TypeError: expected a subclass of scratchnet.layers.loss" in message(
        "three", loss.registry
    )
    assert "expected a function or a class, got 3" in message("three", optim.registry)
