"""Changes to training audio that leave the emotion alone: speed, noise, gain."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio import functional

from hemogat.config import AugmentationConfig


def augment(
    samples: NDArray[np.float32],
    config: AugmentationConfig,
    rate_hz: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Change one utterance; each configured effect is applied with ``config.probability``.

    In this order: ``speed`` resamples by one of the factors, which moves the pitch too;
    ``noise_snr_db`` adds white noise at a signal-to-noise ratio from that range; ``gain_db``
    scales. Silence is given no noise, which could have no ratio to it.

    Args:
        samples: mono, [samples].
        config: the effects.
        rate_hz: of the samples.
        random: decides everything.

    Returns:
        float32 [samples], of another length if the speed was changed.
    """
    audio = torch.from_numpy(samples)
    if config.speed and random.random() < config.probability:
        factor = config.speed[int(random.integers(len(config.speed)))]
        audio, _ = functional.speed(audio, rate_hz, factor)
    if config.noise_snr_db and random.random() < config.probability and audio.any():
        snr_db = torch.tensor(random.uniform(*config.noise_snr_db))
        noise = torch.from_numpy(random.standard_normal(len(audio), dtype=np.float32))
        audio = functional.add_noise(audio, noise, snr_db.to(audio.dtype))
    if config.gain_db and random.random() < config.probability:
        audio = functional.gain(audio, random.uniform(*config.gain_db))
    changed: NDArray[np.float32] = audio.numpy()
    return changed
