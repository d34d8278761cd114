"""The sound of video files, taken out by the program ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from hemogat.errors import IncompleteError
from hemogat.progress import Progress

SAMPLE_RATE_HZ = 16_000


def extract_sound(
    jobs: Sequence[tuple[Path, Path]], progress: Progress | None = None
) -> dict[Path, str]:
    """Write the first sound track of each video as a mono FLAC file at 16 kHz.

    Files that exist already are kept, and each comes into being whole: an interrupted call is
    taken up by the next one.

    Args:
        jobs: video file and FLAC file to write.
        progress: draws a bar.

    Returns:
        Why a video could not be used, for those that could not.

    Raises:
        IncompleteError: there is something to do, and ffmpeg is not installed.
    """
    todo = [(video, sound) for video, sound in jobs if not sound.is_file()]
    if not todo:
        return {}
    program = shutil.which("ffmpeg")
    if program is None:
        raise IncompleteError(
            f"ffmpeg is needed to take the sound out of {len(todo)} video files "
            f"(the first: {todo[0][0]}), and is not on PATH; install it, as in: "
            "apt install ffmpeg"
        )
    failures: dict[Path, str] = {}
    with (
        (progress or Progress()).stage("Extract sound", len(jobs)) as stage,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        stage.advance(len(jobs) - len(todo))
        running = {pool.submit(_extract, program, *job): job[0] for job in todo}
        try:
            for done in as_completed(running):
                failure = done.result()
                if failure:
                    failures[running[done]] = failure
                stage.advance(note=running[done].name)
        except BaseException:  # Ctrl-C too: what has not begun shall not
            pool.shutdown(cancel_futures=True)
            raise
    return failures


def _extract(program: str, video: Path, sound: Path) -> str | None:
    """Return why it failed, None if it did not."""
    sound.parent.mkdir(parents=True, exist_ok=True)
    part = sound.with_name(f".{sound.name}.{os.getpid()}.part")
    silent = [program, "-nostdin", "-v", "error", "-y"]
    taken = ["-i", str(video.absolute()), "-map", "0:a:0", "-map_metadata", "-1"]
    wanted = ["-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-sample_fmt", "s16", "-f", "flac"]
    try:
        done = subprocess.run(
            [*silent, *taken, *wanted, str(part.absolute())], capture_output=True, check=False
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").split("\n")
            said = [" ".join(line.split()) for line in lines if line.strip()]
            return said[-1] if said else f"ffmpeg ended with status {done.returncode}"
        os.replace(part, sound)
        return None
    finally:
        part.unlink(missing_ok=True)
