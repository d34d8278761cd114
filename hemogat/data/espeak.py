"""Speech synthesis with espeak-ng, the library that the package espeakng-loader carries.

The library keeps state that no call resets (the phase of its pitch flutter, its noise generators),
so what it says depends on what it said before. :func:`synthesise` therefore runs each list of
requests in a fresh process: equal lists give equal samples, and a crash of the C library reaches
the caller as an exception.
"""

from __future__ import annotations

import ctypes
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemogat.errors import HemogatError
from hemogat.optional import require

SAMPLE_RATE_HZ = 22_050

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_STATUS = {-1: "internal error", 1: "buffer full", 2: "not found"}
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Speech:
    """What to say and how.

    ``language`` and ``variant`` name the voice (``en-us`` and ``f3``). ``rate_wpm`` is in words
    per minute (80 to 450); ``pitch`` and ``pitch_range`` go from 0 to 99, 50 is the voice's own.
    """

    text: str
    language: str
    variant: str
    rate_wpm: int
    pitch: int
    pitch_range: int


def synthesise(requests: Sequence[Speech]) -> list[NDArray[np.int16]]:
    """Return the samples of each request: mono, at :data:`SAMPLE_RATE_HZ`.

    Raises:
        IncompleteError: espeakng-loader is not installed.
        HemogatError: espeak-ng refused a request (unknown voice, nothing to say) or died.
    """
    require("espeakng_loader", extra="demo")
    worker = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([asdict(request) for request in requests]).encode(),
        capture_output=True,
        check=False,
    )
    if worker.returncode:
        last_line = worker.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise HemogatError(
            f"espeak-ng failed (exit status {worker.returncode}): {last_line or 'no message'}"
        )
    reply = io.BytesIO(worker.stdout)
    lengths, samples = np.load(reply), np.load(reply)
    return np.split(samples, np.cumsum(lengths)[:-1])


class _Library:
    """The loaded library; its state is the process's, so make one per process."""

    def __init__(self) -> None:
        loader = require("espeakng_loader", extra="demo")
        self._variants = Path(loader.get_data_path()) / "voices" / "!v"
        self._lib = ctypes.CDLL(loader.get_library_path())
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        rate_hz = self._lib.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, loader.get_data_path().encode(), _INITIALIZE_DONT_EXIT
        )
        if rate_hz != SAMPLE_RATE_HZ:
            raise HemogatError(
                f"espeak-ng: expected {SAMPLE_RATE_HZ} Hz from initialisation, found {rate_hz}; "
                f"is {loader.get_data_path()} complete?"
            )
        # Initialisation seeds the generator with the time.
        self._check(self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1)), "seed")
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _SYNTH_CALLBACK(self._collect)  # the library keeps only the pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def say(self, request: Speech) -> NDArray[np.int16]:
        self._select_voice(request)
        for parameter, value in (
            (_RATE, request.rate_wpm),
            (_PITCH, request.pitch),
            (_RANGE, request.pitch_range),
        ):
            self._check(self._lib.espeak_SetParameter(parameter, value, 0), f"parameter {value}")
        self._chunks.clear()
        text = request.text.encode()
        status = self._lib.espeak_Synth(text, len(text) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
        self._check(status, f"text {request.text!r}")
        if not self._chunks:
            raise HemogatError(f"espeak-ng: expected something to say, found {request.text!r}")
        return np.concatenate(self._chunks)

    def _select_voice(self, request: Speech) -> None:
        # espeak-ng takes an unknown variant for none, in silence.
        if not (self._variants / request.variant).is_file():
            raise HemogatError(f"espeak-ng: voice variant {request.variant!r} not found")
        voice = f"{request.language}+{request.variant}"
        self._check(self._lib.espeak_SetVoiceByName(voice.encode()), f"voice {voice!r}")

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    @staticmethod
    def _check(status: int, what: str) -> None:
        if status:
            reason = _STATUS.get(status, f"status {status:#x}")
            raise HemogatError(f"espeak-ng: {what}: {reason}")


def _main() -> None:
    requests = [Speech(**fields) for fields in json.load(sys.stdin)]
    library = _Library()
    try:
        spoken = [library.say(request) for request in requests]
    except HemogatError as error:
        sys.exit(str(error))
    np.save(sys.stdout.buffer, np.array([len(samples) for samples in spoken]))
    np.save(sys.stdout.buffer, np.concatenate(spoken))


if __name__ == "__main__":
    _main()
