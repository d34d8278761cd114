from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hemogat.config import AugmentationConfig
from hemogat.training.augmentation import augment

RATE_HZ = 16_000
TONE = (0.1 * np.sin(np.arange(RATE_HZ) * 2 * np.pi * 200 / RATE_HZ)).astype(np.float32)


def changed(seed: int = 0, samples: NDArray[np.float32] = TONE, **settings: object) -> NDArray:
    config = AugmentationConfig.model_validate({"probability": 1.0} | settings)
    return augment(samples, config, RATE_HZ, np.random.default_rng(seed))


def test_nothing_is_changed_unless_the_recipe_says_so() -> None:
    assert (augment(TONE, AugmentationConfig(), RATE_HZ, np.random.default_rng(0)) == TONE).all()
    assert (
        changed(probability=0.0, speed=[2.0], noise_snr_db=[0, 0], gain_db=[6, 6]) == TONE
    ).all()


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    found = changed(speed=[factor])
    assert len(found) == pytest.approx(len(TONE) / factor, abs=2)
    peak_hz = np.abs(np.fft.rfft(found)).argmax() * RATE_HZ / len(found)
    assert peak_hz == pytest.approx(200 * factor, abs=2)


@pytest.mark.parametrize("snr_db", [0.0, 15.0])
def test_noise_has_the_ratio_asked_for(snr_db: float) -> None:
    noise = changed(noise_snr_db=[snr_db, snr_db]) - TONE
    found_db = 10 * np.log10(np.square(TONE).mean() / np.square(noise).mean())
    assert found_db == pytest.approx(snr_db, abs=0.1)


def test_gain_is_in_decibels() -> None:
    np.testing.assert_allclose(changed(gain_db=[-6.0206, -6.0206]), TONE / 2, rtol=1e-4)


def test_values_come_from_the_ranges() -> None:
    gains = [np.abs(changed(seed, gain_db=[-3, 3])).max() / 0.1 for seed in range(50)]
    assert 10 ** (-3 / 20) - 1e-3 <= min(gains) < 0.9
    assert 1.1 < max(gains) <= 10 ** (3 / 20) + 1e-3
    lengths = {len(changed(seed, speed=[0.8, 1.25])) for seed in range(20)}
    assert lengths == {20_000, 12_800}


def test_the_seed_decides_everything() -> None:
    settings = {"speed": [0.9, 1.1], "noise_snr_db": [5, 20], "gain_db": [-6, 6]}
    one, same, other = (changed(seed, **settings) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32


def test_silence_stays_silence() -> None:
    silence = np.zeros(4_000, np.float32)
    assert not changed(samples=silence, noise_snr_db=[10, 10], gain_db=[3, 3]).any()
