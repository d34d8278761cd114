"""``hemogat predict --stream``: an audio file sent at the pace at which it is spoken."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from hemogat.cli.output import print_json

_PIECE_S = 0.1
_ANY = 2**40


def stream_file(
    url: str | None, audio: Path, text: str | None, as_json: bool, timeout_s: float
) -> None:
    """Play ``audio`` to the server's stream model; print the emotion with every second.

    With ``as_json`` one object is printed for each line.
    """
    from hemogat.config import AudioConfig
    from hemogat.contract import SAMPLE_RATE_HZ
    from hemogat.data.audio import decode_audio
    from hemogat.serving.client import Client

    # The server judges by its bundle's limits, which nobody here knows.
    anything = AudioConfig(
        min_audio_s=1e-9,
        max_audio_s=_ANY,
        max_audio_bytes=max(1, audio.stat().st_size) if audio.is_file() else 1,
        max_channels=_ANY,
        max_rate_hz=_ANY,
    )
    samples = decode_audio(audio, anything)
    piece = round(_PIECE_S * SAMPLE_RATE_HZ)
    with Client(url, timeout_s=timeout_s) as client, client.stream(SAMPLE_RATE_HZ, text) as stream:
        started_s = time.monotonic()
        told = 0
        for start in range(0, len(samples), piece):
            spoken_s = min(start + piece, len(samples)) / SAMPLE_RATE_HZ
            time.sleep(max(0.0, started_s + spoken_s - time.monotonic()))
            answer = stream.send(samples[start : start + piece])
            if answer is not None and answer.windows > told:
                told = answer.windows
                _tell(f"{told} s", answer.to_dict(), as_json)
        _tell("whole", stream.finish().to_dict(), as_json)


def _tell(heard: str, answer: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json({"heard": heard, **answer})
        return
    probabilities = answer["probabilities"]
    assert isinstance(probabilities, dict)
    label = answer["label"]
    typer.echo(f"{heard:>6}  {label}  {probabilities[label]:.4f}")
