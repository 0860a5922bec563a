"""What goes wrong around a command: names that are no text, streams that are full, nonsense."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commandline import Cli
from crowded import little_room
from PIL import Image

import scratchnet
from scratchnet.cli.console import printable


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 30), 50).convert("RGB").save("a.png")
    model = scratchnet.Conv2d(3, 3, 1)
    scratchnet.save(
        model, "w.safetensors", name="Conv2d",
        args={"in_channels": 3, "out_channels": 3, "kernel_size": 1},
    )  # fmt: skip
    return tmp_path


def test_force_on_a_full_disk_keeps_the_image_that_was_there(cli: Cli, desk: Path) -> None:
    assert cli("denoise", "a.png", "b.jpg", "-w", "w.safetensors").code == 0
    before = (desk / "b.jpg").read_bytes()
    with little_room(300):
        result = cli("denoise", "a.png", "b.jpg", "-w", "w.safetensors", "--force")
    assert result.code == 1
    assert result.err == "scratchnet: cannot write b.jpg: File too large\n"
    assert (desk / "b.jpg").read_bytes() == before
    assert sorted(p.name for p in desk.iterdir()) == ["a.png", "b.jpg", "w.safetensors"]


def test_an_output_that_is_not_finite_is_no_black_image(cli: Cli, desk: Path) -> None:
    model = scratchnet.load("w.safetensors")
    model.weight.fill_(3e38)
    args = {"in_channels": 3, "out_channels": 3, "kernel_size": 1}
    scratchnet.save(model, "w.safetensors", name="Conv2d", args=args)
    result = cli("denoise", "a.png", "b.png", "-w", "w.safetensors")
    assert result.code == 1
    assert "output is not finite" in result.err
    assert not (desk / "b.png").exists()


def test_no_name_of_a_file_reaches_the_terminal_as_a_command(cli: Cli, desk: Path) -> None:
    name = "a\x1b[31m[b]\udce9.png"
    Image.new("RGB", (5, 5)).save("plain.png")
    (desk / "plain.png").rename(desk / name)
    done = cli("denoise", name, "out.png", "-w", "w.safetensors")
    assert done.code == 0, done.err
    (desk / "bad\x1b]0;x\x07.png").write_text("no image")
    refused = cli("denoise", "bad\x1b]0;x\x07.png", "c.png", "-w", "w.safetensors")
    missing = cli("denoise", "no\x1b[2J.png", "c.png", "-w", "w.safetensors")
    for result in (done, refused, missing):
        assert "\x1b" not in result.out + result.err
    assert "bad\\x1b]0;x\\x07.png cannot be read" in refused.err
    assert printable("größe\udce9\x9b\n") == "größe\\udce9\\x9b\n"


@pytest.mark.parametrize("arguments", [("denoise", "", "out"), ("train", "--images="), ("",)])
def test_an_empty_argument_does_not_mean_this_folder(
    cli: Cli, desk: Path, arguments: tuple[str, ...]
) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert "an argument is empty" in result.err


def test_a_dollar_in_a_name_is_no_formula(cli: Cli, desk: Path) -> None:
    folder = desk / r"x$\frac$"
    folder.mkdir()
    for i in range(2):
        Image.effect_noise((40, 40), 50 + i).save(folder / f"{i}.png")
    result = cli(
        "train", "--images", folder, "--noise", "gaussian:9", "--n-train", 4, "--n-val", 2,
        "--size", 8, "--epochs", 1, "--model-arg", "channels=2", "--out", "run",
    )  # fmt: skip
    assert result.code == 0, result.err


def test_a_mistake_of_our_own_is_one_line_and_a_traceback_if_asked(
    cli: Cli, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by no means\nmore")

    monkeypatch.setattr("scratchnet.training.checkpoint.find_weights", fail)
    result = cli("denoise", "a.png", "b.png")
    assert result.code == 1
    assert result.err.startswith("scratchnet: ZeroDivisionError: by no means (this is a mistake of")
    monkeypatch.setattr("sys.argv", ["scratchnet", "--debug", "denoise", "a.png", "b.png"])
    with pytest.raises(ZeroDivisionError):
        scratchnet.cli.main()


def test_numbers_of_threads_that_crash_a_pool_are_refused(cli: Cli, desk: Path) -> None:
    result = cli("denoise", "a.png", "b.png", "--threads", 100_000)
    assert result.code == 1
    assert "threads must be up to 1024, got 100000" in result.err


@pytest.mark.parametrize("stream", ["/dev/full", None])
def test_an_output_that_is_full_or_closed_is_no_traceback(stream: str | None) -> None:
    command = [sys.executable, "-m", "scratchnet", "info", "--json"]
    closing = "exec >&-; " if stream is None else f"exec >{stream}; "
    done = subprocess.run(
        ["/bin/sh", "-c", closing + '"$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Exception ignored" not in done.stderr
    if stream:
        assert (done.returncode, done.stderr) == (1, "scratchnet: No space left on device\n")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_data_that_repeat_one_value_terabytes_long_are_refused(cli: Cli, desk: Path) -> None:
    huge = torch.zeros(1, dtype=torch.uint8).expand(10**9, 3, 100, 100)
    torch.save((huge, huge), "train_data.pkl")
    assert (desk / "train_data.pkl").stat().st_size < 5000
    torch.save((huge[:2].contiguous(),) * 2, "val_data.pkl")
    result = cli("train", "--data", ".", "--out", "run")
    assert result.code == 1
    assert "repeats fewer values in memory" in result.err


def test_nothing_opens_a_socket(cli: Cli, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    small = ("--size", 8, "--n-train", 2, "--n-val", 1)
    for command in (
        ("train", *small, "--epochs", 1, "--model-arg", "channels=2", "--out", "run"),
        ("train", "--resume", "--out", "run", "--epochs", 2),
        ("denoise", "a.png", "b.png", "--compare"),
        ("evaluate", "run"),
        ("check", "ReLU", "--quiet"),
        ("info",),
    ):
        result = cli(*command)
        assert result.code == 0, result.err


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_runs_code_runs_none_and_nobody_advises_to(cli: Cli, desk: Path) -> None:
    torch.save((Evil(), Evil()), "train_data.pkl")
    result = cli("train", "--data", ".", "--out", "run")
    assert result.code == 1
    assert "it holds something else than tensors, or is damaged" in result.err
    assert "weights_only" not in result.err
    assert not (desk / "ran").exists()
