from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hemogat.data.demo_voices import PROSODIES, SPEAKERS, Speaker, ask_for, shape_spectrum
from hemogat.data.espeak import SAMPLE_RATE_HZ, synthesise

TEXT = "The second report came this morning."
HIGH_AND_LOW = [Speaker("en-us", "f5", "test"), Speaker("en-gb-scotland", "m3", "test")]


def test_splits_share_no_voice() -> None:
    assert len({speaker.name for speaker in SPEAKERS}) == len(SPEAKERS) >= 10
    assert Counter(speaker.split for speaker in SPEAKERS) == {"train": 13, "val": 2, "test": 5}
    splits_by_variant = {(speaker.variant, speaker.split) for speaker in SPEAKERS}
    assert len(splits_by_variant) == len({speaker.variant for speaker in SPEAKERS})


@pytest.mark.parametrize("speaker", HIGH_AND_LOW, ids=lambda speaker: speaker.name)
def test_prosody_changes_the_sound_of_equal_words(speaker: Speaker) -> None:
    rng = np.random.default_rng(0)
    spoken = synthesise([ask_for(TEXT, speaker, prosody, rng) for prosody in PROSODIES.values()])
    clips = {
        emotion: shape_spectrum(samples / 32768, PROSODIES[emotion])
        for emotion, samples in zip(PROSODIES, spoken, strict=True)
    }
    seconds = {emotion: len(clip) / SAMPLE_RATE_HZ for emotion, clip in clips.items()}
    assert seconds["angry"] < seconds["happy"] < seconds["neutral"] < seconds["sad"]
    bright = {emotion: share_above(clip, 1000) for emotion, clip in clips.items()}
    assert bright["sad"] < 0.5 * bright["neutral"] < bright["neutral"] < 0.5 * bright["angry"]
    smiling = {emotion: share_above(clip, 2000) for emotion, clip in clips.items()}
    assert smiling["happy"] > 2 * smiling["neutral"]


def test_jitter_stays_within_what_espeak_takes() -> None:
    rng = np.random.default_rng(0)
    for emotion, prosody in PROSODIES.items():
        asked = [ask_for(TEXT, SPEAKERS[0], prosody, rng) for _ in range(200)]
        assert len(set(asked)) > 100, emotion
        for speech in asked:
            assert 0 <= speech.pitch <= 99
            assert 0 <= speech.pitch_range <= 99
            assert abs(speech.rate_wpm / prosody.rate_wpm - 1) < 0.07


def test_a_flat_spectrum_is_left_alone() -> None:
    samples = np.random.default_rng(0).standard_normal(1001)
    np.testing.assert_allclose(shape_spectrum(samples, PROSODIES["neutral"]), samples, atol=1e-12)


@pytest.mark.parametrize(("emotion", "gain_db"), [("angry", 8.0), ("sad", -8.0)])
def test_the_tilt_is_per_octave(emotion: str, gain_db: float) -> None:
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    levels = [
        np.std(shape_spectrum(np.sin(2 * np.pi * hertz * time_s), PROSODIES[emotion])[4000:-4000])
        for hertz in (500, 1000)
    ]
    assert 20 * np.log10(levels[1] / levels[0]) == pytest.approx(gain_db, abs=0.1)


def share_above(clip: np.ndarray, hertz: float) -> float:
    """Return the share of the clip's energy above a frequency."""
    energy = np.abs(np.fft.rfft(clip)) ** 2
    above = np.fft.rfftfreq(len(clip), 1 / SAMPLE_RATE_HZ) > hertz
    return float(energy[above].sum() / energy.sum())
