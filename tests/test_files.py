from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from hemogat.errors import InputError
from hemogat.files import folder_written_whole, move_into_place, write_atomic


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("content", ["text, ‖ included", b"\x00bytes"])
def test_a_file_is_written_whole(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, content)
    expected = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == expected
    assert mode(path) == 0o644
    write_atomic(path, "second")
    assert path.read_text() == "second"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(InputError, match="folder"):
        write_atomic(tmp_path / "folder", "a file cannot replace a folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """So do devices: a rename would put a file into the place of /dev/null."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(path, "content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert path.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(InputError, match="socket: cannot be written, as it is no file"):
            write_atomic(path, "content")
    assert path.is_socket()


def test_behind_a_link_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, file = tmp_path / "link", tmp_path / "elsewhere" / "file"
    link.symlink_to(file)
    for content in ("new", "second"):
        write_atomic(link, content)
        assert link.is_symlink()
        assert file.read_text() == content


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with folder_written_whole(out) as folder:
        assert not out.exists()
        assert folder.parent == out.parent
        assert folder.name.startswith(".")
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("content")
    assert (out / "inner" / "file").read_text() == "content"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_others_can_read_what_was_written(tmp_path: Path) -> None:
    with folder_written_whole(tmp_path / "out") as folder:
        (folder / "inner").mkdir(mode=0o700)
        secret = folder / "inner" / "weights"
        secret.touch(mode=0o600)
        (folder / "link").symlink_to("/nowhere")
    out = tmp_path / "out"
    assert [mode(p) for p in (out, out / "inner", out / "inner" / "weights")] == [
        0o755,
        0o755,
        0o644,
    ]
    assert os.readlink(out / "link") == "/nowhere"


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        with folder_written_whole(out, replace_if_has="sign") as folder:
            (folder / "sign").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "sign").write_text("old")
    with pytest.raises(error):
        fail()
    assert (out / "sign").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_only_what_bears_the_sign_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # empty: nothing is lost
    for text in ("first", "second"):
        with folder_written_whole(out, replace_if_has="sign") as folder:
            (folder / "sign").write_text(text)
            (folder / text).touch()
    assert sorted(p.name for p in out.iterdir()) == ["second", "sign"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("sign", [None, "sign"])
def test_anything_else_is_refused_before_work(tmp_path: Path, sign: str | None) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    file.write_text("more of it")
    for path in (folder, file):
        with (
            pytest.raises(InputError, match=rf"{path}: exists already"),
            folder_written_whole(path, replace_if_has=sign),
        ):
            raise AssertionError("work began")
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert file.read_text() == "more of it"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_crash_while_the_old_folder_goes_leaves_none_of_it_under_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half of an old folder would be taken for something of the user's."""

    def crash(path: Path, **options: object) -> None:
        raise KeyboardInterrupt

    for name in ("filled", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    monkeypatch.setattr(shutil, "rmtree", crash)
    with pytest.raises(KeyboardInterrupt):
        move_into_place(tmp_path / "filled", tmp_path / "place", replace_if_has="file")
    assert [p.name for p in tmp_path.iterdir() if p.name[0] != "."] == ["place"]
    assert (tmp_path / "place" / "file").read_text() == "filled"
