from __future__ import annotations

from pathlib import Path

import pytest

from scratchnet.denoise.jobs import Job, plan
from scratchnet.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.png", "sub/a.png", "sub/deep/c.jpg", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def targets(jobs: list[Job], out: Path) -> list[str]:
    return [str(job.target.relative_to(out)) for job in jobs]


def test_one_image_goes_to_a_file_or_into_a_folder_that_exists(photos: Path) -> None:
    assert plan([photos / "a.png"], photos / "b.tif") == [Job(photos / "a.png", photos / "b.tif")]
    assert plan([photos / "a.png"], photos / "sub/deep") == [
        Job(photos / "a.png", photos / "sub/deep/a.png")
    ]


def test_several_images_and_folders_go_into_a_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    assert targets(plan([photos / "a.png", photos / "sub/deep/c.jpg"], out), out) == [
        "a.png",
        "c.jpg",
    ]
    assert targets(plan([photos], out), out) == ["a.png", "sub/a.png", "sub/deep/c.jpg"]


def test_results_inside_the_input_folder_are_not_inputs_next_time(photos: Path) -> None:
    out = photos / "sub" / "deep"
    (out / "a.png").write_bytes(b"result")
    assert targets(plan([photos], out, force=True), out) == ["a.png", "sub/a.png"]


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["nowhere.png"], "b.png", "there is no image or folder .*nowhere.png"),
        (["a.png"], "a.png", "is an input and would be overwritten"),
        (["a.png", "sub/a.png"], ".", "is an input and would be overwritten"),
        (["a.png", "sub/a.png"], "new", "would both be written to .*new/a.png"),
        (["a.png", "sub/a.png"], "notes.txt", "notes.txt is a file, but several images"),
        (["a.png"], "notes.txt", "no image format"),
        (["a.png"], "b.xyz", "no image format"),
        (["a.png"], "sub", "sub/a.png exists already.*--force"),
        ([], "b.png", "nothing to denoise"),
    ],
)
def test_plans_that_would_lose_something_are_refused(
    photos: Path, inputs: list[str], out: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        plan([photos / name for name in inputs], photos / out)


def test_inputs_are_never_overwritten_not_even_by_force(photos: Path) -> None:
    assert plan([photos / "a.png"], photos / "sub", force=True)
    for inputs, out in (([photos], photos), ([photos / "a.png"], photos / "sub/../a.png")):
        with pytest.raises(DataError):
            plan(inputs, out, force=True)


def test_the_image_of_before_and_after_is_guarded_too(photos: Path) -> None:
    (photos / "b-compare.png").write_bytes(b"mine")
    assert plan([photos / "a.png"], photos / "b.png")
    with pytest.raises(DataError, match=r"b-compare\.png exists already"):
        plan([photos / "a.png"], photos / "b.png", compare=True)
