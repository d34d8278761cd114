"""Audio that arrives in pieces: the windows of the whole file, each as soon as it is complete."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from hemogat.config import AudioConfig
from hemogat.data.audio import MAX_ABS_SAMPLE
from hemogat.errors import InputError

_NOTHING = np.zeros(0, np.float32)


class WindowStream:
    """Resamples and cuts mono samples of any chunking as the whole would be.

    The windows of all :meth:`push` calls and of :meth:`finish`, joined, equal what
    :func:`hemogat.data.audio.cut_windows` gives for all samples at once.

    Args:
        rate_hz: of the samples to come.
        config: the limits to hold the stream to.

    Raises:
        InputError: ``rate_hz`` is out of range.
    """

    def __init__(self, rate_hz: int, config: AudioConfig) -> None:
        if not 0 < rate_hz <= config.max_rate_hz:
            raise InputError(
                f"stream: is sampled at {rate_hz} Hz; expected 1 to {config.max_rate_hz} "
                "(audio.max_rate_hz)"
            )
        self._config = config
        self._rate_hz = rate_hz
        self._received = 0
        self._resampler = (
            None
            if rate_hz == config.sample_rate_hz
            else soxr.ResampleStream(rate_hz, config.sample_rate_hz, 1, "float32", quality="HQ")
        )
        # The samples since the last whole window, behind that window: the last window of all
        # reaches back into it.
        self._tail = _NOTHING
        self._pending_samples = 0

    @property
    def received_s(self) -> float:
        """How much audio has come in."""
        return self._received / self._rate_hz

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples [n], any n; return the windows [W, window_samples] that they complete.

        Raises:
            InputError: the samples cannot be used, or the stream has become too long.
        """
        self._check(samples)
        self._received += len(samples)
        if self.received_s > self._config.max_audio_s:
            raise InputError(
                f"stream: is longer than {self._config.max_audio_s:g} s (audio.max_audio_s); "
                "end it and start another"
            )
        return self._complete(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        """Return the windows that were still missing, [W, window_samples].

        Raises:
            InputError: the stream was too short.
        """
        if self.received_s < self._config.min_audio_s:
            raise InputError(
                f"stream: lasted {self.received_s:.4g} s; expected at least "
                f"{self._config.min_audio_s:g} s (audio.min_audio_s)"
            )
        size = self._config.window_samples
        complete = self._complete(_NOTHING, last=True)
        if not self._pending_samples:
            return complete
        missing = max(0, size - len(self._tail))  # only a stream shorter than one window
        last = np.pad(self._tail, (0, missing))[-size:]
        return np.concatenate([complete, last[None]])

    def _complete(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        size = self._config.window_samples
        joined = np.concatenate([self._tail, samples])
        pending = self._pending_samples + len(samples)
        count = pending // size
        start = len(joined) - pending
        windows: NDArray[np.float32] = joined[start : start + count * size].reshape(count, size)
        self._pending_samples = pending - count * size
        self._tail = joined[-(size + self._pending_samples) :]
        return windows

    def _check(self, samples: NDArray[np.float32]) -> None:
        if len(samples) == 0:
            return
        peak = np.abs(samples).max()
        if not np.isfinite(peak) or peak > MAX_ABS_SAMPLE:
            raise InputError(
                f"stream: holds a sample of size {peak:.3g}; full scale is 1, "
                f"and at most {MAX_ABS_SAMPLE:.3g} is accepted"
            )
