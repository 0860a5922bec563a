from __future__ import annotations

import os
from pathlib import Path

import pytest

from scratchnet.errors import ScratchnetError
from scratchnet.io.files import atomic, read_json, write_json, write_text


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "a.txt"
    write_text(file, "one")
    write_text(file, "zwei – två")
    assert file.read_text(encoding="utf-8") == "zwei – två"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_there_was(
    tmp_path: Path, error: BaseException, existed: bool
) -> None:
    file = tmp_path / "a.txt"
    if existed:
        file.write_text("old")

    def fail() -> None:
        with atomic(file) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == (["a.txt"] if existed else [])
    if existed:
        assert file.read_text() == "old"


def test_the_temporary_file_keeps_the_ending(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path


def test_new_files_have_the_usual_permissions_and_replaced_ones_keep_theirs(tmp_path: Path) -> None:
    file, usual = tmp_path / "a", tmp_path / "usual"
    usual.touch()
    write_text(file, "x")
    assert file.stat().st_mode == usual.stat().st_mode
    os.chmod(file, 0o640)
    write_text(file, "y")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScratchnetError, match=r"cannot write .*file/a.txt: "):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_directory_in_the_way_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ScratchnetError, match=r"cannot write .*a\.txt: Is a directory"):
        write_text(tmp_path / "a.txt", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_disk_that_keeps_something_else_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: len(content))
    with pytest.raises(ScratchnetError, match="something else came back"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("sync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    write_text(tmp_path / "a.txt", "x")
    assert steps == ["sync", "replace", "sync"]


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "ö": {"b": True}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
