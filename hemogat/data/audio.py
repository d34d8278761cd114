"""Audio: any supported file to 16 kHz mono samples, and samples to windows.

Files come from outside, so nothing in them is believed: sizes, lengths, rates and channels are
checked before memory is spent on them, and a file that holds less than its header promises is
refused rather than read as far as it goes.
"""

from __future__ import annotations

import io
import os
import stat

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hemogat.config import AudioConfig
from hemogat.data.containers import Container, checked_container
from hemogat.errors import InputError

AudioSource = str | os.PathLike[str] | bytes

BLOCK_FRAMES = 65_536  # decoded at a time, so that channels multiply one block, not the file
# Integer samples stored as floats stay below this; the squares of a second of them fit a float32.
MAX_ABS_SAMPLE = 2.0**31
SF_COUNT_MAX = 2**63 - 1  # libsndfile's length of a stream that does not state it
# Encoders that count the MP3 header frame as audio promise one MPEG frame too many.
MP3_FRAME_SAMPLES = 1152


def decode_audio(
    source: AudioSource, config: AudioConfig, *, name: str | None = None
) -> NDArray[np.float32]:
    """Decode a WAV, FLAC, OGG or MP3 file of any rate and channel count.

    Channels are averaged, then the result is resampled to ``config.sample_rate_hz``. Truncation
    is noticed wherever the container states a length: in WAV and FLAC, in MP3 with a Xing or Info
    header (to within one MPEG frame), and in OGG by an unfinished last page.

    Args:
        source: path of the file, or its whole content.
        config: the limits to hold it to.
        name: what to call it in errors; default: the path, or "audio" for bytes.

    Returns:
        Mono samples at ``config.sample_rate_hz``, float32 [samples], full scale 1.0, finite.

    Raises:
        InputError: there is no such file, or it is not audio that can be used; says why.
    """
    if isinstance(source, bytes):
        name = name or "audio"
        data = source
    else:
        name = name or os.fspath(source)
        data = _read_file(source, config, name)
    _check_size(len(data), config, name)
    container, data = checked_container(data, name)
    samples, rate_hz = _decode_mono(data, container, config, name)
    if rate_hz != config.sample_rate_hz:
        samples = soxr.resample(samples, rate_hz, config.sample_rate_hz, quality="HQ")
    return samples


def cut_windows(samples: NDArray[np.float32], window_samples: int) -> NDArray[np.float32]:
    """Cut an utterance into windows of equal length.

    Windows do not overlap, but for the last one: it is the utterance's final ``window_samples``
    samples. Only an utterance shorter than one window is zero-padded, at its end.

    Args:
        samples: mono, [samples].
        window_samples: length of a window.

    Returns:
        [windows, window_samples], at least one window.

    Raises:
        InputError: there are no samples.
    """
    count = len(samples)
    if count == 0:
        raise InputError("audio: holds no samples, so no windows can be cut from it")
    if count < window_samples:
        samples = np.pad(samples, (0, window_samples - count))
        count = window_samples
    starts = list(range(0, count - window_samples + 1, window_samples))
    if count % window_samples:
        starts.append(count - window_samples)
    return np.stack([samples[start : start + window_samples] for start in starts])


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile declares no types
    """Read from front to back only.

    soundfile seeks after each read of a seekable file, which fails at the end of a FLAC stream of
    unstated length, and it clips reads to the stated length, which may be an estimate.
    """

    def seekable(self) -> bool:
        return False


def _read_file(path: str | os.PathLike[str], config: AudioConfig, name: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name}: is a directory; expected an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: is not a regular file; expected an audio file")
        _check_size(status.st_size, config, name)
        with open(path, "rb") as file:
            # One byte more than allowed shows a file that has grown since.
            return file.read(config.max_audio_bytes + 1)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read ({reason})") from error


def _check_size(size_bytes: int, config: AudioConfig, name: str) -> None:
    if size_bytes == 0:
        raise InputError(f"{name}: is empty (0 bytes); expected an audio file")
    if size_bytes > config.max_audio_bytes:
        raise InputError(
            f"{name}: has more than {config.max_audio_bytes} bytes (audio.max_audio_bytes); "
            "cut or compress it"
        )


def _decode_mono(
    data: bytes, container: Container, config: AudioConfig, name: str
) -> tuple[NDArray[np.float32], int]:
    """Decode to mono at the file's own rate; return samples and rate."""
    try:
        with _SequentialFile(io.BytesIO(data)) as file:
            _check_format(file, config, name)
            rate_hz = file.samplerate
            promised = _promised_frames(file, container, data)
            _check_longest(promised / rate_hz, config, name)
            samples = _read_mono(file, config, name)
    except soundfile.LibsndfileError as error:
        # Whatever is wrong with an MP3, libsndfile says that the file does not exist.
        reason = "" if container == "MP3" else f" ({' '.join(error.error_string.split())})"
        raise InputError(
            f"{name}: is damaged, truncated or not {container} audio{reason}"
        ) from error
    if len(samples) < promised:
        raise InputError(
            f"{name}: is truncated: its header promises {promised} samples per channel, "
            f"{len(samples)} are there"
        )
    if len(samples) == 0:
        raise InputError(f"{name}: holds no samples")
    duration_s = len(samples) / rate_hz
    _check_longest(duration_s, config, name)
    if duration_s < config.min_audio_s:
        raise InputError(
            f"{name}: lasts {duration_s:.4g} s; expected at least {config.min_audio_s:g} s "
            "(audio.min_audio_s)"
        )
    return samples, rate_hz


def _check_format(file: soundfile.SoundFile, config: AudioConfig, name: str) -> None:
    if file.channels > config.max_channels:
        raise InputError(
            f"{name}: has {file.channels} channels; expected at most {config.max_channels} "
            "(audio.max_channels)"
        )
    if file.samplerate > config.max_rate_hz:
        raise InputError(
            f"{name}: is sampled at {file.samplerate} Hz; expected at most {config.max_rate_hz} "
            "(audio.max_rate_hz)"
        )


def _promised_frames(file: soundfile.SoundFile, container: Container, data: bytes) -> int:
    """Return the samples per channel that the header promises, 0 if it promises nothing."""
    if file.frames == SF_COUNT_MAX:
        return 0
    if container != "MP3":
        return int(file.frames)
    # Without a Xing or Info header, libsndfile estimates the length from the first frame.
    is_stated = b"Xing" in data[:64] or b"Info" in data[:64]
    return max(0, file.frames - MP3_FRAME_SAMPLES) if is_stated else 0


def _check_longest(duration_s: float, config: AudioConfig, name: str) -> None:
    if duration_s > config.max_audio_s:
        raise InputError(
            f"{name}: is longer than {config.max_audio_s:g} s (audio.max_audio_s); cut it"
        )


def _read_mono(file: soundfile.SoundFile, config: AudioConfig, name: str) -> NDArray[np.float32]:
    """Average the channels block by block, up to one sample past the longest duration allowed."""
    left = int(config.max_audio_s * file.samplerate) + 1
    blocks = [np.zeros(0, np.float32)]
    while left:
        block = file.read(min(BLOCK_FRAMES, left), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        peak = np.abs(block).max()
        if not np.isfinite(peak):
            raise InputError(f"{name}: holds NaN or infinite samples")
        if peak > MAX_ABS_SAMPLE:
            raise InputError(
                f"{name}: holds a sample of size {peak:.3g}; full scale is 1, "
                f"and at most {MAX_ABS_SAMPLE:.3g} is accepted"
            )
        blocks.append(block.mean(axis=1, dtype=np.float64).astype(np.float32))
        left -= len(block)
    return np.concatenate(blocks)
