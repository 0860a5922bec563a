from __future__ import annotations

from pathlib import Path

import pytest
import torch
from crowded import little_room
from safetensors.torch import load_file, save_file

import scratchnet
from scratchnet import models
from scratchnet.errors import ScratchnetError
from scratchnet.io import tensorfile
from scratchnet.optim import SGD, Adam
from scratchnet.training import checkpoint, runs
from scratchnet.training.trainstate import TrainingState, flattened, load_state, save_state


def small(**args: int) -> scratchnet.Module:
    return models.build("residual", generator=torch.Generator().manual_seed(1), **args)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_alone_rebuilds_the_network(tmp_path: Path, dtype: torch.dtype) -> None:
    model = small(channels=4, depth=3).to(dtype=dtype)
    file = tmp_path / "w.safetensors"
    scratchnet.save(model, file, name="residual", args={"channels": 4, "depth": 3})
    loaded = scratchnet.load(file)
    assert repr(loaded) == repr(model)
    assert not loaded.training
    x = torch.rand((2, 3, 7, 5), dtype=dtype)
    assert torch.equal(loaded.forward(x), model.forward(x))


def test_the_keys_are_those_of_torch_nn(tmp_path: Path) -> None:
    model = scratchnet.Sequential(
        scratchnet.Conv2d(3, 4, 3), scratchnet.ReLU(), scratchnet.Conv2d(4, 2, 1)
    )
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
    scratchnet.save(model, tmp_path / "w.safetensors")
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"))
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(model.forward(x), twin(x))


def test_weights_of_torch_nn_load_into_a_model(tmp_path: Path) -> None:
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    save_file(twin.state_dict(), tmp_path / "foreign.safetensors")
    model = scratchnet.Sequential(scratchnet.Conv2d(3, 4, 3))
    assert scratchnet.load(tmp_path / "foreign.safetensors", model) is model
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(model.forward(x), twin(x))


def test_weights_that_share_or_permute_memory_are_saved_as_they_look(tmp_path: Path) -> None:
    model = scratchnet.Conv2d(3, 4, 3)
    model.weight = model.weight.to(memory_format=torch.channels_last)
    scratchnet.save(model, tmp_path / "w.safetensors")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["weight"], model.weight)


def test_a_failed_save_leaves_the_old_weights(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    checkpoint.save(small(channels=4), file, name="residual", args={"channels": 4})
    before = file.read_bytes()
    with little_room(2000), pytest.raises(ScratchnetError, match=r"cannot write .*: File too la"):
        checkpoint.save(small(channels=8), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    model = small(channels=4)
    next(iter(model.parameters()))[0] = value
    scratchnet.save(model, tmp_path / "w.safetensors", name="residual", args={"channels": 4})
    with pytest.raises(ScratchnetError, match=r"holds NaN or infinity in body\.0\.weight"):
        scratchnet.load(tmp_path / "w.safetensors")


def test_files_that_are_no_weights_give_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    checkpoint.save(small(), good, name="residual")
    (tmp_path / "text.safetensors").write_text("hello " * 50)
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    torch.save({"a": torch.zeros(3)}, tmp_path / "pickle.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name, message in {
        "text": "not a readable safetensors file",
        "empty": "not a readable safetensors file",
        "cut": "not a readable safetensors file",
        "pickle": "not a readable safetensors file",
        "folder": "not a readable safetensors file",
        "foreign": "not one of scratchnet's weights files",
        "missing": "there is no file",
    }.items():
        file = tmp_path / f"{name}.safetensors"
        with pytest.raises(ScratchnetError, match=message) as caught:
            scratchnet.load(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_of_another_shape_or_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    checkpoint.save(small(channels=4), file, name="residual", args={"channels": 8})
    with pytest.raises(ScratchnetError, match=r"does not fit the network: .*expects the shape"):
        scratchnet.load(file)
    checkpoint.save(small(channels=4), file, name="noise2noise")
    with pytest.raises(ScratchnetError, match=r"does not fit the network: .*missing"):
        scratchnet.load(file)
    checkpoint.save(small(channels=4), file, name="of-a-later-version")
    with pytest.raises(ScratchnetError, match="of-a-later-version"):
        scratchnet.load(file)
    checkpoint.save(small(channels=4), file, name="residual", args={"wings": 2})
    with pytest.raises(ScratchnetError, match="wings"):
        scratchnet.load(file)
    checkpoint.save(small(channels=4), file)
    with pytest.raises(ScratchnetError, match=r"does not name its network.*load\(path, model\)"):
        scratchnet.load(file)


def test_finding_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ScratchnetError, match=r"holds no model.safetensors"):
        checkpoint.find_weights(run)
    file = run / "model.safetensors"
    checkpoint.save(small(), file, name="residual")
    assert checkpoint.find_weights(run) == checkpoint.find_weights(file) == file
    with pytest.raises(ScratchnetError, match=r"no weights at .*nowhere"):
        checkpoint.find_weights(tmp_path / "nowhere")
    monkeypatch.setattr(checkpoint, "shipped", lambda: {"residual": file})
    assert checkpoint.find_weights() == checkpoint.find_weights("residual") == file
    monkeypatch.setattr(checkpoint, "shipped", lambda: {})
    with pytest.raises(ScratchnetError, match="no weights came with this installation"):
        checkpoint.find_weights()


def test_a_training_state_survives_the_disk(tmp_path: Path) -> None:
    model = small(channels=4, depth=2)
    for optimizer in (Adam(model.param()), SGD(model.param(), 0.1, momentum=0.9)):
        for _, grad in model.param():
            grad.normal_()
        optimizer.step()
        generator = torch.Generator().manual_seed(7)
        torch.rand(3, generator=generator)
        state = TrainingState(
            model.state_dict(), flattened(optimizer), generator.get_state(), 2, 7, [{"loss": 0.1}]
        )
        save_state(state, tmp_path / "s.safetensors")
        back = load_state(tmp_path / "s.safetensors")
        assert (back.epoch, back.step, back.history) == (2, 7, [{"loss": 0.1}])
        assert torch.equal(back.rng, generator.get_state())
        for mine, theirs in ((state.model, back.model), (state.optimizer, back.optimizer)):
            assert mine.keys() == theirs.keys()
            assert all(torch.as_tensor(mine[k]).equal(torch.as_tensor(theirs[k])) for k in mine)


def test_weights_are_no_training_state(tmp_path: Path) -> None:
    checkpoint.save(small(), tmp_path / "w.safetensors", name="residual")
    with pytest.raises(ScratchnetError, match="not a training state"):
        load_state(tmp_path / "w.safetensors")


def test_a_weights_file_says_how_it_was_trained(tmp_path: Path) -> None:
    checkpoint.save(small(), tmp_path / "w.safetensors", name="residual", config={"lr": 0.1})
    assert checkpoint.describe(tmp_path / "w.safetensors")["config"] == {"lr": 0.1}


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    for name in "abcdef":
        checkpoint.save(small(), tmp_path / name, name="residual", config={"lr": 1, "eps": 2})
    assert len({(tmp_path / name).read_bytes() for name in "abcdef"}) == 1


def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = tensorfile.safe_open

    def counted(path: object, **options: object) -> object:
        opened.append(path)
        return real(path, **options)

    monkeypatch.setattr(tensorfile, "safe_open", counted)
    (tmp_path / "net.py").write_text(
        "from scratchnet import models\ndef model(**args): return models.residual(**args)\n"
    )
    weights, state = tmp_path / "w.safetensors", tmp_path / "s.safetensors"
    checkpoint.save(small(channels=4), weights, name="residual", args={"channels": 4})
    save_state(TrainingState({}, {}, torch.zeros(3), 1, 2), state)
    for read in (
        lambda: checkpoint.load(weights),
        lambda: checkpoint.load(weights, small(channels=4)),
        lambda: checkpoint.load(weights, code=str(tmp_path / "net.py")),
        lambda: load_state(state),
        lambda: runs.settings_of(weights),
    ):
        opened.clear()
        read()
        assert len(opened) == 1
