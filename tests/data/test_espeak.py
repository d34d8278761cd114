from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from hemogat.data.espeak import SAMPLE_RATE_HZ, Speech, synthesise
from hemogat.errors import HemogatError, IncompleteError

SPEECH = Speech(
    "The report came this morning.", "en-us", "f3", rate_wpm=170, pitch=50, pitch_range=50
)


def test_each_request_gets_its_own_sound() -> None:
    short, long = replace(SPEECH, text="Yes."), SPEECH
    spoken = synthesise([short, long, short])
    assert [samples.dtype for samples in spoken] == [np.int16] * 3
    assert len(spoken[1]) > 2 * len(spoken[0])
    seconds = len(spoken[1]) / SAMPLE_RATE_HZ
    assert 1 < seconds < 3
    assert all(np.abs(samples.astype(int)).max() > 3000 for samples in spoken)


def test_equal_requests_give_equal_samples() -> None:
    # f3 is breathy and m3 flutters: noise and flutter are what espeak-ng does not reset.
    requests = [SPEECH, replace(SPEECH, language="en-gb-scotland", variant="m3")]
    for first, second in zip(synthesise(requests), synthesise(requests), strict=True):
        np.testing.assert_array_equal(first, second)


def test_rate_pitch_and_range_are_heard() -> None:
    plain, fast, high, monotone = synthesise(
        [
            replace(SPEECH, pitch_range=60),
            replace(SPEECH, rate_wpm=260),
            replace(SPEECH, pitch=95),
            replace(SPEECH, pitch_range=0),
        ]
    )
    assert len(fast) < 0.8 * len(plain)
    assert np.median(pitch_hz(high)) > 1.3 * np.median(pitch_hz(plain))
    assert np.ptp(quartiles(pitch_hz(monotone))) < 0.5 * np.ptp(quartiles(pitch_hz(plain)))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"language": "en-nowhere"}, "en-nowhere+f3"), ({"variant": "nobody"}, "'nobody'")],
)
def test_unknown_voices_are_refused(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(HemogatError, match="not found") as caught:
        synthesise([SPEECH, replace(SPEECH, **wrong)])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(IncompleteError, match=r"\[demo\]"):
        synthesise([SPEECH])


def pitch_hz(samples: np.ndarray) -> np.ndarray:
    """Return the pitch of each voiced 50 ms frame, by autocorrelation."""
    size = SAMPLE_RATE_HZ // 20
    shortest, longest = SAMPLE_RATE_HZ // 500, SAMPLE_RATE_HZ // 60
    found = []
    for start in range(0, len(samples) - size, size):
        frame = samples[start : start + size].astype(float)
        frame -= frame.mean()
        correlation = np.correlate(frame, frame, "full")[size - 1 :]
        lag = shortest + correlation[shortest:longest].argmax()
        if correlation[lag] > 0.5 * correlation[0] > 0:
            found.append(SAMPLE_RATE_HZ / lag)
    return np.array(found)


def quartiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, [0.25, 0.75])
