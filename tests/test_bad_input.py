"""Bad input, by the table: one clear line, the right exit code, nothing half written."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from commandline import Cli
from PIL import Image
from safetensors.torch import save_file

import scratchnet as s
from scratchnet.data import from_directory, from_images, from_noisy_folders
from scratchnet.data.images import load_image
from scratchnet.data.noise import parse_noise
from scratchnet.denoise.denoiser import Denoiser
from scratchnet.errors import ScratchnetError
from scratchnet.io.imagefile import ImageData, read_image, write_image
from scratchnet.optim import SGD, Adam
from scratchnet.training import runs
from scratchnet.training.config import TrainConfig, load_config, preset
from scratchnet.training.trainstate import load_state

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def table_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files, and damaged, odd and hostile ones beside them."""
    desk = tmp_path_factory.mktemp("desk")
    tiny.data_dir(desk / "data")
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    good = Image.fromarray(noise)
    good.save(desk / "good.png")
    png = (desk / "good.png").read_bytes()
    (desk / "pictures").mkdir()
    good.save(desk / "pictures" / "a.png")
    (desk / "empty").mkdir()
    (desk / "mixed").mkdir()
    good.save(desk / "mixed" / "a.png")
    (desk / "mixed" / "b.png").write_bytes(png[:200])
    (desk / "no.png").write_text("no image")
    (desk / "nothing.png").touch()
    (desk / "cut.png").write_bytes(png[:300])
    (desk / "crc.png").write_bytes(png[:60] + bytes([png[60] ^ 255]) + png[61:])
    (desk / "header.png").write_bytes(
        png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:]
    )
    (desk / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (desk / "svg.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    good.save(desk / "film.gif", save_all=True, append_images=[good.rotate(90)])
    bmp = bytearray()
    good.save(desk / "bomb.bmp")
    bmp += (desk / "bomb.bmp").read_bytes()
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    (desk / "bomb.bmp").write_bytes(bmp)
    (desk / "folder.png").mkdir()
    os.symlink("loop.png", desk / "loop.png")
    os.symlink("nowhere.png", desk / "dangling.png")
    model = s.models.build("residual", channels=2, depth=2)
    s.save(model, desk / "good.safetensors", name="residual", args={"channels": 2, "depth": 2})
    weights = (desk / "good.safetensors").read_bytes()
    state = model.state_dict()
    key = next(iter(state))
    for name, tensors in {
        "shape": state | {key: torch.zeros(1)},
        "missing": {k: v for k, v in state.items() if k != key},
        "extra": state | {"other": torch.zeros(1)},
        "nan": state | {key: torch.full_like(state[key], NAN)},
        "complex": state | {key: state[key].to(torch.complex64)},
    }.items():
        about = {"format": "scratchnet-weights-1", "name": "residual", "config": None}
        about |= {"args": {"channels": 2, "depth": 2}}
        save_file(
            {k: v.clone() for k, v in tensors.items()},
            desk / f"{name}.safetensors",
            {"scratchnet": json.dumps(about)},
        )
    for name, about in {
        "unnamed": {"name": None},
        "code": {"name": "evil.py"},
        "module": {"name": "os:getcwd"},
        "unknown": {"name": "nonesuch"},
        "arguments": {"args": {"wings": 2}},
        "list": {"args": [1, 2]},
        "number": {"name": 7},
        "huge": {"args": {"channels": -1}},
        "other": {"format": "else"},
    }.items():
        whole = {"format": "scratchnet-weights-1", "name": "residual", "args": {}, "config": None}
        save_file(
            {k: v.clone() for k, v in state.items()},
            desk / f"{name}.safetensors",
            {"scratchnet": json.dumps(whole | about)},
        )
    (desk / "cut.safetensors").write_bytes(weights[:-9])
    (desk / "long.safetensors").write_bytes(struct.pack("<Q", 2**62) + weights[8:])
    (desk / "garbled.safetensors").write_bytes(weights[:8] + b"[" + weights[9:])
    (desk / "zero.safetensors").touch()
    torch.save(state, desk / "pickle.safetensors")
    config = TrainConfig().as_dict()
    for name, content in {
        "typed": config | {"lr": "fast"},
        "negative": config | {"batch_size": -4},
        "extra": config | {"wings": 2},
        "nan": config | {"lr": NAN},
        "null": config | {"model": None},
        "array": [1, 2],
        "code": config | {"model": "evil.py"},
        "loss": config | {"loss": "evil:f"},
    }.items():
        (desk / f"{name}.json").write_text(json.dumps(content))
    (desk / "broken.json").write_text('{"lr": ')
    (desk / "binary.json").write_bytes(b"\xff\xfe\x00")
    (desk / "evil.py").write_text("raise SystemError('it ran')\n")
    for name, pair in {
        "float": (torch.rand(2, 3, 8, 8),) * 2,
        "single": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "flat": (torch.zeros(2, 8, 8, dtype=torch.uint8),) * 2,
        "none": (torch.zeros(0, 3, 8, 8, dtype=torch.uint8),) * 2,
        "words": ("a", "b"),
    }.items():
        (desk / f"data-{name}").mkdir()
        for file in ("train_data.pkl", "val_data.pkl"):
            torch.save(pair, desk / f"data-{name}" / file)
    return desk


W = ("-w", "good.safetensors")
SMALL = ("--size", 8, "--n-train", 2, "--n-val", 1, "--epochs", 1)

COMMANDS: list[tuple[Any, ...]] = [
    # denoise: inputs
    *(
        ("denoise", f"{name}", "out.png", *W)
        for name in ("no.png", "nothing.png", "cut.png", "crc.png", "header.png", "script.png",
                     "svg.png", "film.gif", "bomb.bmp", "loop.png", "dangling.png", "nowhere.png",
                     "good.safetensors", "evil.py", "no\x00null.png", "empty")
    ),
    ("denoise", "folder.png", "out", *W),
    ("denoise", "x" * 300 + ".png", "out.png", *W),
    # denoise: outputs and options
    ("denoise", "good.png", "good.png", *W, "--force"),
    ("denoise", "good.png", "./good.png", *W, "--force"),
    ("denoise", "good.png", "out.doc", *W),
    ("denoise", "good.png", "out", *W),
    ("denoise", "good.png", "no.png", *W),
    ("denoise", "good.png", "good.png/out.png", *W),
    ("denoise", "good.png", "pictures", "good.safetensors", *W),
    ("denoise", "good.png", "good.png", "pictures", *W),
    ("denoise", *W),
    ("denoise", "good.png", *W),
    ("denoise", "good.png", "out.png", *W, "--tile", "0"),
    ("denoise", "good.png", "out.png", *W, "--tile", "-3"),
    ("denoise", "good.png", "out.png", *W, "--tile", "1.5"),
    ("denoise", "good.png", "out.png", *W, "--threads", "0"),
    ("denoise", "good.png", "out.png", *W, "--threads", "99999"),
    ("denoise", "good.png", "out.png", *W, "--backend", "nonesuch"),
    ("denoise", "good.png", "out.png", *W, "--backend", "no.such:thing"),
    ("denoise", "good.png", "out.png", *W, "--model", "nowhere.py"),
    ("denoise", "good.png", "out.png", *W, "--model", "evil.py"),
    ("denoise", "good.png", "out.png", *W, "--model", "noise2noise"),
    ("denoise", "good.png", "out.png", *W, "--wings"),
    # weights
    *(
        ("denoise", "good.png", "out.png", "-w", f"{name}.safetensors")
        for name in ("shape", "missing", "extra", "nan", "unnamed", "code", "module", "unknown",
                     "arguments", "list", "number", "huge", "other", "cut", "long", "garbled",
                     "zero", "pickle", "nowhere")
    ),
    *(
        ("evaluate", f"{name}", "--data", "data")
        for name in ("shape.safetensors", "nan.safetensors", "code.safetensors", "good.png",
                     "cut.safetensors", "empty", "nonesuch")
    ),
    ("denoise", "good.png", "out.png", "-w", "good.png"),
    ("denoise", "good.png", "out.png", "-w", "empty"),
    # train: data
    *(("train", "--data", f"data-{n}") for n in ("float", "single", "flat", "none", "words")),
    ("train", "--data", "nowhere"),
    ("train", "--data", "good.png"),
    ("train", "--data", "empty"),
    ("train", "--images", "empty", *SMALL),
    ("train", "--images", "good.png", *SMALL),
    ("train", "--images", "mixed", *SMALL),
    ("train", "--images", "pictures", "--size", 4000, "--n-train", 2, "--n-val", 1),
    ("train", "--noisy-a", "pictures", *SMALL),
    ("train", "--noisy-a", "pictures", "--noisy-b", "empty", *SMALL),
    ("train", "--noisy-a", "pictures", "--noisy-b", "pictures", *SMALL),
    ("train", "--data", "data", "--images", "pictures"),
    # train: options
    *(
        ("train", "--data", "data", option, value)
        for option, value in (
            ("--epochs", "0"), ("--epochs", "-1"), ("--epochs", "1.5"), ("--epochs", "many"),
            ("--seed", "-1"), ("--seed", str(2**63)), ("--batch-size", "0"), ("--lr", "0"),
            ("--lr", "-1"), ("--lr", "nan"), ("--lr", "inf"), ("--n-train", "0"), ("--n-val", "-2"),
            ("--size", "0"), ("--model", "nonesuch"), ("--model", "nowhere.py"),
            ("--model", "evil.py"), ("--model", "os:getcwd"), ("--model", "data"),
            ("--model-arg", "depth"), ("--model-arg", "depth=1"), ("--model-arg", "depth=many"),
            ("--model-arg", "channels=0"), ("--model-arg", "channels=-3"),
            ("--model-arg", "channels=1.5"), ("--model-arg", "wings=2"), ("--dtype", "float16"),
            ("--dtype", "int8"), ("--optimizer", "nonesuch"), ("--optimizer", "torch.optim:No"),
            ("--optimizer", "os:getcwd"), ("--optimizer-arg", "wings=2"), ("--momentum", "0.9"),
            ("--weight-decay", "-1"), ("--eps", "-1"), ("--loss", "nonesuch"), ("--schedule", "no"),
            ("--backend", "nonesuch"), ("--threads", "0"), ("--threads", "100000"),
            ("--checkpoint-every", "0"), ("--checkpoint-every", "often"), ("--preset", "slow"),
            ("--config", "nowhere.json"), ("--config", "typed.json"), ("--config", "negative.json"),
            ("--config", "extra.json"), ("--config", "nan.json"), ("--config", "null.json"),
            ("--config", "array.json"), ("--config", "code.json"), ("--config", "loss.json"),
            ("--config", "broken.json"), ("--config", "binary.json"), ("--config", "empty"),
            ("--config", "good.safetensors"), ("--config", "cut.safetensors"),
            ("--out", "good.png"), ("--out", "pictures"), ("--out", "good.png/run"),
        )
    ),
    *(
        ("train", "--noise", noise, *SMALL)
        for noise in ("fog", "gaussian", "gaussian:", "gaussian:-5", "gaussian:9-3", "gaussian:nan",
                      "poisson:0", "poisson:inf", "impulse:2", "subpixel:3", "no.such:thing:3", ":")
    ),
    ("train", "--resume"),
    ("train", "--resume", "--out", "nowhere"),
    ("train", "--resume", "--out", "pictures"),
    ("train", "--resume", "--out", "data", "--seed", "3"),
    # the others
    ("compare", "--data", "nowhere"),
    ("compare", "--model", "nonesuch", "--data", "data"),
    ("compare", "--optimizer", "nonesuch", "--data", "data"),
    ("compare", "--seeds", "0"),
    ("compare", "--layout", "diagonal"),
    ("compare", "--config", "code.json"),
    ("compare", "--out", "pictures"),
    ("evaluate", "good.safetensors", "--data", "data", "--out", "sheet.doc"),
    ("evaluate", "good.safetensors", "--noise", "fog"),
    ("check", "nonesuch"),
    ("check", "--replay", "nowhere"),
    ("check", "--replay", "good.png"),
    ("check", "Conv2d", "--arg", "in_channels"),
    ("bench", "--layer", "nonesuch"),
    ("bench", "--op", "nonesuch"),
    ("bench", "--rival", "nowhere.py"),
    ("new-plugin",),
    ("new-plugin", "two words"),
    ("new-plugin", "../escape"),
    ("info", "--wings"),
    ("fly",),
    ("--wings",),
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: " ".join(map(repr, a))[:90])
def test_a_bad_command_line_is_one_line_and_writes_nothing(
    cli: Cli, table_desk: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(table_desk)
    before = sorted(table_desk.rglob("*"))
    result = cli(*arguments)
    assert result.code in (1, 2), result.out
    assert "Traceback" not in result.err
    assert "a mistake of scratchnet" not in result.err
    if result.code == 1:
        assert result.err.startswith("scratchnet: ")
        assert result.err.count("\n") == 1, result.err
    assert sorted(table_desk.rglob("*")) == before


def test_one_bad_file_among_many_costs_only_itself(
    cli: Cli, table_desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table_desk)
    bad = ["cut.png", "bomb.bmp", "script.png", "header.png", "film.gif"]
    result = cli("denoise", "good.png", *bad, tmp_path / "out", *W)
    assert result.code == 1
    assert "5 of 6 images could not be done" in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


X = torch.rand(1, 2, 6, 6)


def conv(**options: Any) -> s.Conv2d:
    return s.Conv2d(2, 3, 3, **options)


def backward(net: s.Module, grad: Any, x: torch.Tensor = X) -> None:
    net.forward(x)
    net.backward(grad)


def twice() -> None:
    net = conv()
    net.forward(X)
    net.forward(X)
    for _ in range(3):
        net.backward(torch.ones(1, 3, 4, 4))
        net.backward(torch.ones(1, 3, 4, 4))


CALLS: dict[str, Callable[[], Any]] = {
    "channels 0": lambda: s.Conv2d(0, 3, 3),
    "channels negative": lambda: s.Conv2d(2, -3, 3),
    "channels fractional": lambda: s.Conv2d(2.0, 3, 3),
    "channels bool": lambda: s.Conv2d(True, 3, 3),
    "kernel 0": lambda: s.Conv2d(2, 3, 0),
    "kernel triple": lambda: s.Conv2d(2, 3, (1, 2, 3)),
    "kernel text": lambda: s.Conv2d(2, 3, "33"),
    "stride 0": lambda: conv(stride=0),
    "padding negative": lambda: conv(padding=-1),
    "dilation 0": lambda: conv(dilation=(0, 0)),
    "groups 0": lambda: conv(groups=0),
    "groups that do not divide": lambda: conv(groups=2),
    "dtype of integers": lambda: conv(dtype=torch.int64),
    "backend unknown": lambda: conv(backend="nonesuch")(X),
    "list for a tensor": lambda: conv()([1, 2]),
    "array for a tensor": lambda: conv()(np.zeros((1, 2, 6, 6), np.float32)),
    "None for a tensor": lambda: conv()(None),
    "integers": lambda: conv()(torch.ones(1, 2, 6, 6, dtype=torch.uint8)),
    "booleans": lambda: conv()(torch.ones(1, 2, 6, 6, dtype=torch.bool)),
    "complex numbers": lambda: conv()(torch.ones(1, 2, 6, 6, dtype=torch.complex64)),
    "float64 into float32": lambda: conv()(X.double()),
    "half into float32": lambda: conv()(X.half()),
    "rank 1": lambda: conv()(X.flatten()),
    "rank 2": lambda: conv()(X[0, 0]),
    "rank 5": lambda: conv()(X[None]),
    "other channels": lambda: conv()(torch.rand(1, 3, 6, 6)),
    "no channels": lambda: conv()(torch.rand(1, 0, 6, 6)),
    "no rows": lambda: conv()(torch.rand(1, 2, 0, 6)),
    "too small": lambda: conv()(torch.rand(1, 2, 2, 2)),
    "on meta": lambda: conv()(X.to("meta")),
    "backward first": lambda: conv().backward(torch.ones(1, 3, 4, 4)),
    "backward in eval": lambda: backward(conv().eval(), torch.ones(1, 3, 4, 4)),
    "backward of another shape": lambda: backward(conv(), torch.ones(1, 3, 5, 4)),
    "backward of another batch": lambda: backward(conv(), torch.ones(2, 3, 4, 4)),
    "backward of another dtype": lambda: backward(conv(), torch.ones(1, 3, 4, 4).double()),
    "backward of integers": lambda: backward(conv(), torch.ones(1, 3, 4, 4, dtype=torch.int32)),
    "backward of None": lambda: backward(conv(), None),
    "backward of a number": lambda: backward(conv(), 1.0),
    "backward twice after two forwards": twice,
    "Sequential of a list": lambda: s.Sequential([conv()]),
    "Sequential of a class": lambda: s.Sequential(s.ReLU),
    "Residual that changes the shape": lambda: s.Residual(conv())(X),
    "Concat that changes the size": lambda: s.Concat(conv())(X),
    "ReLU of integers": lambda: s.ReLU()(torch.ones(3, dtype=torch.int64)),
    "Sigmoid of text": lambda: s.Sigmoid()("x"),
    "Upsampling by 0": lambda: s.Upsampling(2, 3, 3, scale_factor=0),
    "Upsampling by a half": lambda: s.Upsampling(2, 3, 3, scale_factor=0.5),
    "NearestUpsampling negative": lambda: s.NearestUpsampling(-1),
    "MSE of other shapes": lambda: s.MSE().forward(X, X[0]),
    "MSE of other dtypes": lambda: s.MSE().forward(X, X.double()),
    "MSE reduction": lambda: s.MSE(reduction="most"),
    "MSE backward first": lambda: s.MSE().backward(),
    "SGD of nothing": lambda: SGD([]),
    "SGD of a module": lambda: SGD(conv()),
    "SGD negative rate": lambda: SGD(conv().param(), lr=-1.0),
    "SGD nan": lambda: SGD(conv().param(), lr=NAN),
    "SGD negative momentum": lambda: SGD(conv().param(), lr=0.1, momentum=-0.1),
    "SGD nesterov alone": lambda: SGD(conv().param(), lr=0.1, nesterov=True),
    "Adam betas": lambda: Adam(conv().param(), betas=(1.0, 0.9)),
    "Adam eps": lambda: Adam(conv().param(), eps=-1.0),
    "to integers": lambda: conv().to(dtype=torch.int32),
    "state of another": lambda: conv().load_state_dict({}),
    "state of another shape": lambda: conv().load_state_dict(
        {"weight": torch.zeros(1), "bias": torch.zeros(3)}
    ),
    "use_backend unknown": lambda: s.use_backend("nonesuch").__enter__(),
    "use_backend of a number": lambda: s.use_backend(7).__enter__(),
    "set_backend unknown": lambda: s.set_backend("auto+nonesuch"),
    "layer unknown": lambda: s.layers.get("Conv9d"),
    "op unknown": lambda: s.ops.get("conv9d"),
    "build unknown": lambda: s.build("Conv9d"),
    "network unknown": lambda: s.models.build("nonesuch"),
    "network depth": lambda: s.models.build("residual", depth=0),
    "network argument": lambda: s.models.build("residual", wings=2),
    "load missing": lambda: s.load("/nowhere.safetensors"),
    "load a folder": lambda: s.load("/tmp"),
    "save into a file": lambda: s.save(conv(), "/dev/null/w.safetensors"),
    "preset unknown": lambda: preset("slow"),
    "setting unknown": lambda: TrainConfig().replace(wings=2),
    "setting of another type": lambda: TrainConfig(epochs="three"),
    "setting out of range": lambda: TrainConfig(batch_size=0),
    "setting not finite": lambda: TrainConfig(lr=INF),
    "config missing": lambda: load_config("/nowhere.json"),
    "nothing to resume": lambda: runs.resumable(Path("/nowhere")),
    "state missing": lambda: load_state("/nowhere"),
    "folder missing": lambda: from_images("/nowhere"),
    "data missing": lambda: from_directory("/nowhere"),
    "noisy folders missing": lambda: from_noisy_folders("/nowhere", "/nowhere"),
    "noise unknown": lambda: parse_noise("fog"),
    "noise of a word": lambda: parse_noise("gaussian:x"),
    "tile 0": lambda: Denoiser(s.ReLU(), tile=0),
    "network that shrinks": lambda: Denoiser(s.Conv2d(3, 3, 3)),
    "image tensor of one channel": lambda: Denoiser(s.ReLU()).tensor(torch.rand(1, 1, 4, 4)),
    "image missing": lambda: read_image("/nowhere.png"),
    "photograph missing": lambda: load_image("/nowhere.png"),
    "image without a format": lambda: write_image(
        "/tmp/x", ImageData(np.zeros((2, 2, 3), np.uint8))
    ),
    "psnr of other shapes": lambda: s.psnr(X, X[0]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_one_of_our_own_errors_and_one_line(name: str) -> None:
    with pytest.raises(ScratchnetError) as caught:
        CALLS[name]()
    message = str(caught.value)
    assert message
    assert "\n" not in message


def test_the_table_is_long() -> None:
    assert len(COMMANDS) + len(CALLS) >= 250
