"""The voices of the demo corpus and how each emotion sounds in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemogat.data.espeak import SAMPLE_RATE_HZ, Speech
from hemogat.data.manifest import Split


@dataclass(frozen=True)
class Speaker:
    """One espeak-ng voice: an accent, a variant, and the split that it is in."""

    language: str
    variant: str
    split: Split

    @property
    def name(self) -> str:
        """The speaker as the manifest names it."""
        return f"{self.language}-{self.variant}"


# No variant is in two splits, and each split has high and low voices.
SPEAKERS: tuple[Speaker, ...] = (
    Speaker("en-us", "f1", "train"),
    Speaker("en-gb-x-rp", "m1", "train"),
    Speaker("en-gb-scotland", "f2", "train"),
    Speaker("en", "m2", "train"),
    Speaker("en-us", "Alicia", "train"),
    Speaker("en-gb-x-gbclan", "f3", "train"),
    Speaker("en-029", "m4", "train"),
    Speaker("en", "f4", "train"),
    Speaker("en-gb-x-gbcwmd", "Mike", "train"),
    Speaker("en-us-nyc", "Annie", "train"),
    Speaker("en-gb-x-rp", "linda", "train"),
    Speaker("en-us-nyc", "m7", "train"),
    Speaker("en-gb-scotland", "victor", "train"),
    Speaker("en-us", "aunty", "val"),
    Speaker("en", "m6", "val"),
    Speaker("en-us", "f5", "test"),
    Speaker("en-gb-scotland", "m3", "test"),
    Speaker("en-gb-x-rp", "belinda", "test"),
    Speaker("en", "norbert", "test"),
    Speaker("en-us-nyc", "boris", "test"),
)
HELD_OUT_SPEAKERS = tuple(speaker for speaker in SPEAKERS if speaker.split != "train")


@dataclass(frozen=True)
class Prosody:
    """How an emotion sounds, relative to the voice; see :class:`~hemogat.data.espeak.Speech`.

    ``tilt_db_per_octave`` is vocal effort: a tense voice is bright, a lax one dull. ``smile_db``
    is the height of a resonance near 2.8 kHz. Both are stronger than in life, so that a small
    network hears them within a minute of training.
    """

    rate_wpm: int
    pitch: int
    pitch_range: int
    tilt_db_per_octave: float = 0.0
    smile_db: float = 0.0


PROSODIES: dict[str, Prosody] = {
    "angry": Prosody(rate_wpm=225, pitch=48, pitch_range=94, tilt_db_per_octave=8.0),
    "happy": Prosody(rate_wpm=195, pitch=95, pitch_range=94, smile_db=24.0),
    "neutral": Prosody(rate_wpm=165, pitch=42, pitch_range=35),
    "sad": Prosody(rate_wpm=128, pitch=20, pitch_range=5, tilt_db_per_octave=-8.0),
}
_RATE_JITTER, _PITCH_JITTER, _RANGE_JITTER = 0.06, 4, 5
_SMILE_HZ, _SMILE_OCTAVES = 2800.0, 0.35
_LOWEST_SHAPED_HZ = 100.0  # below, the tilt goes no further


def ask_for(text: str, speaker: Speaker, prosody: Prosody, rng: np.random.Generator) -> Speech:
    """Return what to ask of espeak-ng, varied a little: no two deliveries are quite alike."""

    def vary(value: int, by: int) -> int:
        return int(np.clip(value + rng.integers(-by, by, endpoint=True), 0, 99))

    return Speech(
        text=text,
        language=speaker.language,
        variant=speaker.variant,
        rate_wpm=round(prosody.rate_wpm * rng.uniform(1 - _RATE_JITTER, 1 + _RATE_JITTER)),
        pitch=vary(prosody.pitch, _PITCH_JITTER),
        pitch_range=vary(prosody.pitch_range, _RANGE_JITTER),
    )


def shape_spectrum(samples: NDArray[np.float64], prosody: Prosody) -> NDArray[np.float64]:
    """Give samples at espeak-ng's rate the spectrum of ``prosody``, which espeak-ng cannot."""
    # A power of two: fast for any length, and what the filter spreads does not wrap around.
    padded = 2 ** (len(samples) + 1).bit_length()
    frequencies_hz = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE_HZ)
    frequencies_hz = np.maximum(frequencies_hz, _LOWEST_SHAPED_HZ)
    octaves_from_smile = np.log2(frequencies_hz / _SMILE_HZ)
    gain_db = prosody.tilt_db_per_octave * np.log2(frequencies_hz / 1000)
    gain_db += prosody.smile_db * np.exp(-((octaves_from_smile / _SMILE_OCTAVES) ** 2))
    spectrum = np.fft.rfft(samples, padded) * 10 ** (gain_db / 20)
    return np.fft.irfft(spectrum, padded)[: len(samples)]
