"""A made-up second through everything that a model does in its own process, before it is ready.

The engine models warm themselves up; they cannot be asked yet while the models load.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import soundfile
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle, BundleManifest
from hemogat.runtime.engine_session import Arrays
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.triton_entry import Entry, Row
from hemogat.serving.triton_stream import Chunk, Streams

_RATE_HZ = 24_000  # so that it is resampled
_PITCH_HZ = 220.0
_TEXT = b"a made-up second"


def warm_up_entry(bundle: Bundle, make: Callable[[InnerModels], Entry]) -> None:
    """Have an entry model that ``make`` makes answer a made-up utterance, with blank networks."""
    row: Row = (
        _file() if "audio" in bundle.manifest.modalities else None,
        _TEXT if "text" in bundle.manifest.modalities else None,
    )
    with suppress(InputError):  # a bundle may allow less
        make(_blank(bundle.manifest)).answer([row])


def warm_up_streams(bundle: Bundle, make: Callable[[InnerModels], Streams]) -> None:
    """Have streams that ``make`` makes answer a made-up utterance, with blank networks."""
    with suppress(InputError):
        make(_blank(bundle.manifest)).answer(Chunk(0, True, True, _samples(), _RATE_HZ, _TEXT))


def _blank(manifest: BundleManifest) -> InnerModels:
    """Return networks that answer at once, with zeros."""
    widths: dict[str | int, int] = {
        "audio_dim": manifest.dims.audio,
        "text_dim": manifest.dims.text,
        "label": len(manifest.labels),
    }

    def infer(graph: str, feeds: Arrays) -> Arrays:
        rows = len(next(iter(feeds.values())))
        return {
            output.name: np.zeros((rows, widths[output.axes[1]]), np.float32)
            for output in contract.GRAPHS[graph].outputs
            if output.axes[1] in widths
        }

    return InnerModels(manifest, infer, max_windows=1, explain=False)


def _samples() -> NDArray[np.float32]:
    time_s = np.arange(_RATE_HZ) / _RATE_HZ
    return np.asarray(0.1 * np.sin(2 * np.pi * _PITCH_HZ * time_s), np.float32)


def _file() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _samples(), _RATE_HZ, format="WAV")
    return file.getvalue()
