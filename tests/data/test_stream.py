"""A stream's windows are the whole file's, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hemogat.config import AudioConfig
from hemogat.data.audio import cut_windows
from hemogat.data.stream import WindowStream
from hemogat.errors import InputError

CONFIG = AudioConfig(max_audio_s=6)


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(samples).standard_normal(samples).astype(np.float32)


def stream(
    samples: NDArray[np.float32], sizes: list[int], rate_hz: int = 16_000
) -> NDArray[np.float32]:
    windows = WindowStream(rate_hz, CONFIG)
    pieces = []
    start = 0
    for size in sizes:
        pieces.append(windows.push(samples[start : start + size]))
        start += size
    pieces.append(windows.push(samples[start:]))
    return np.concatenate([*pieces, windows.finish()])


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(400, 70_000) | st.sampled_from([16_000, 32_000, 16_001, 15_999, 48_000]),
    sizes=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_any_chunking_gives_the_windows_of_the_whole(samples: int, sizes: list[int]) -> None:
    whole = noise(samples)
    np.testing.assert_array_equal(stream(whole, sizes), cut_windows(whole, 16_000))


@settings(max_examples=15, deadline=None)
@given(
    rate_hz=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    seconds=st.floats(0.05, 4),
    sizes=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_other_rates_are_resampled_as_the_whole(
    rate_hz: int, seconds: float, sizes: list[int]
) -> None:
    whole = noise(int(rate_hz * seconds))
    resampled = soxr.resample(whole, rate_hz, 16_000, quality="HQ")
    np.testing.assert_array_equal(stream(whole, sizes, rate_hz), cut_windows(resampled, 16_000))


def test_a_window_comes_out_when_it_is_complete() -> None:
    windows = WindowStream(16_000, CONFIG)
    assert windows.push(noise(15_999)).shape == (0, 16_000)
    assert windows.push(noise(1)).shape == (1, 16_000)
    assert windows.push(noise(40_000)).shape == (2, 16_000)
    assert windows.finish().shape == (1, 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_audio_are_refused(value: float) -> None:
    bad = np.array([0.1, value], np.float32)
    with pytest.raises(InputError, match=r"^stream: holds a sample of size"):
        WindowStream(16_000, CONFIG).push(bad)


@pytest.mark.parametrize("rate_hz", [0, -1, 10**9])
def test_rates_out_of_range_are_refused(rate_hz: int) -> None:
    with pytest.raises(InputError, match=rf"sampled at {rate_hz} Hz; expected 1 to 384000"):
        WindowStream(rate_hz, CONFIG)


def test_streams_have_the_limits_of_files() -> None:
    windows = WindowStream(16_000, CONFIG)
    windows.push(noise(100))
    with pytest.raises(InputError, match=r"lasted 0\.00625 s; expected at least 0\.025 s"):
        windows.finish()
    windows = WindowStream(16_000, CONFIG)
    windows.push(noise(6 * 16_000))
    with pytest.raises(InputError, match="longer than 6 s"):
        windows.push(noise(1))
