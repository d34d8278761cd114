from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from hemogat.data.ffmpeg import extract_sound
from hemogat.errors import IncompleteError

FFMPEG = shutil.which("ffmpeg")
# Takes ffmpeg's arguments: copies a video that holds "sound", after writing half of it.
STAND_IN = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = -i ] && video="$2"; shift; done
echo half > "$1"
grep -q sound "$video" || { echo "$video: no such stream" >&2; exit 1; }
cat "$video" > "$1"
echo "$video" >> "$(dirname "$0")/calls"
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program named ffmpeg on PATH, and return the file in which it notes its calls."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program.parent / "calls"


def test_what_is_there_is_kept(stand_in: Path, tmp_path: Path) -> None:
    jobs = [(tmp_path / f"{n}.mp4", tmp_path / "out" / f"{n}.flac") for n in range(3)]
    for video, _ in jobs:
        video.write_text("sound\n")
    jobs[1][1].parent.mkdir()
    jobs[1][1].write_text("from before")

    assert extract_sound(jobs) == {}

    assert [sound.read_text() for _, sound in jobs] == ["sound\n", "from before", "sound\n"]
    assert sorted(stand_in.read_text().split()) == [str(jobs[0][0]), str(jobs[2][0])]
    assert extract_sound(jobs) == {}
    assert len(stand_in.read_text().split()) == 2


def test_a_failure_is_said_and_leaves_nothing(stand_in: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_text("sound")
    bad.touch()
    out = tmp_path / "out"

    failures = extract_sound([(good, out / "good.flac"), (bad, out / "bad.flac")])

    assert failures == {bad: f"{bad}: no such stream"}
    assert os.listdir(out) == ["good.flac"]


def test_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    video, sound = tmp_path / "a.mp4", tmp_path / "a.flac"
    with pytest.raises(IncompleteError, match=r"ffmpeg is needed .* 1 video files .*a\.mp4"):
        extract_sound([(video, sound)])
    sound.touch()
    assert extract_sound([(video, sound)]) == {}


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
def test_a_real_video(tmp_path: Path) -> None:
    assert FFMPEG is not None
    video, silent, sound = (tmp_path / name for name in ("a.mp4", "b.mp4", "a.flac"))
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=1"]
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=44100:duration=1", "-ac", "2"]
    for arguments in ([*picture, *tone, str(video)], [*picture, str(silent)]):
        subprocess.run([FFMPEG, "-v", "error", *arguments], check=True)

    failures = extract_sound([(video, sound), (silent, tmp_path / "b.flac")])

    assert list(failures) == [silent]
    assert failures[silent]
    heard = soundfile.info(sound)
    assert (heard.format, heard.samplerate, heard.channels) == ("FLAC", 16_000, 1)
    assert heard.duration == pytest.approx(1, abs=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.mp4", "b.mp4"]
