from __future__ import annotations

import os
from pathlib import Path

import pytest
from tritonclient import grpc

from hemogat.errors import InputError
from hemogat.serving.client_requests import Utterances


def send(audio: Path | bytes, limit: int | None = None) -> None:
    Utterances.of([audio]).tensors(grpc, limit)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for without an end."""
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match=f"^{path}: is not a regular file"):
            send(path)
    with pytest.raises(InputError, match=r"clip\.wav: cannot be read \(embedded null byte\)"):
        send(Path("\0clip.wav"))


@pytest.mark.parametrize("limit", [None, 10])
def test_a_file_that_no_server_takes_is_not_read(tmp_path: Path, limit: int | None) -> None:
    large = tmp_path / "large.wav"
    large.touch()
    os.truncate(large, 2**33)  # nothing of it is on the disk
    with pytest.raises(InputError, match=rf"^{large}: has more than {limit or 2**30} bytes"):
        send(large, limit)


def test_as_many_bytes_as_the_server_takes(tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    file.write_bytes(b"x" * 11)
    for audio, name in ((file, str(file)), (b"x" * 11, "utterance 0")):
        send(audio, 11)
        with pytest.raises(InputError, match=f"^{name}: has more than 10 bytes"):
            send(audio, 10)
