from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hemogat.config import AudioConfig
from hemogat.data.audio import cut_windows, decode_audio
from hemogat.data.containers import MAX_FLAC_BLOCKS, MAX_ID3_TAGS, MAX_WAV_CHUNKS
from hemogat.errors import InputError

CONFIG = AudioConfig()
RATES_HZ = (8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000)
LOSSLESS = (("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"))
LOSSY = (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))
FORMATS_AND_RATES = [
    (kind, subtype, rate_hz)
    for kind, subtype in LOSSLESS + LOSSY
    for rate_hz in RATES_HZ
    if (kind, rate_hz) != ("MP3", 96000)  # there is no such MP3
]
TONE_HZ = 440.0
AMPLITUDE = 0.3
EMODB = Path(__file__).parents[3] / "shared" / "data" / "emodb"

Samples = NDArray[np.float64]


def tone(rate_hz: int, duration_s: float = 0.5, frequency_hz: float = TONE_HZ) -> Samples:
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    return AMPLITUDE * np.sin(2 * np.pi * frequency_hz * time_s)


def encode(samples: Samples, rate_hz: int = 16000, kind: str = "WAV", subtype: str = "") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype or None)
    return file.getvalue()


def refusal(source: str | Path | bytes, config: AudioConfig = CONFIG) -> str:
    """Return the reason for which ``source`` is refused, without the name in front."""
    name = "audio" if isinstance(source, bytes) else str(source)
    with pytest.raises(InputError) as refused:
        decode_audio(source, config)
    message = str(refused.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    return message.removeprefix(f"{name}: ")


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def with_wav_sizes(wav: bytes, riff: int, data: int) -> bytes:
    assert wav[36:40] == b"data"
    return put(put(wav, 4, riff.to_bytes(4, "little")), 40, data.to_bytes(4, "little"))


def with_flac_length(flac: bytes, frames: int) -> bytes:
    """Set the 36 bits of STREAMINFO that state the samples per channel; 0 is "unknown"."""
    return put(
        flac, 21, bytes([flac[21] & 0xF0 | frames >> 32]) + (frames % 2**32).to_bytes(4, "big")
    )


def without_mp3_header_frame(mp3: bytes) -> bytes:
    """Drop the Info frame, as encoders that write to a pipe leave it out."""
    return mp3[mp3.index(mp3[:2], mp3.index(b"Info")) :]


def constant_rate_mp3(samples: Samples, rate_hz: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, samples, rate_hz, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5
    )
    return file.getvalue()


class TestFormats:
    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize(("kind", "subtype", "rate_hz"), FORMATS_AND_RATES)
    def test_tone_survives(self, kind: str, subtype: str, rate_hz: int, channels: int) -> None:
        audio = np.stack([tone(rate_hz)] * channels, axis=1)

        samples = decode_audio(encode(audio, rate_hz, kind, subtype), CONFIG)

        assert samples.dtype == np.float32
        assert abs(len(samples) - 8000) <= 1
        # Away from the edges, where filters ring, it is the same tone sampled at 16 kHz.
        middle = slice(1000, 7000)
        tolerance = 0.05 if (kind, subtype) in LOSSY else 5e-4
        np.testing.assert_allclose(samples[middle], tone(16000)[middle], atol=tolerance)

    def test_opus(self) -> None:
        samples = decode_audio(encode(tone(48000), 48000, "OGG", "OPUS"), CONFIG)

        spectrum = np.abs(np.fft.rfft(samples))
        assert abs(len(samples) - 8000) <= 1
        assert np.argmax(spectrum) * 16000 / len(samples) == pytest.approx(TONE_HZ, abs=2)

    @pytest.mark.parametrize("channels", range(1, 9))
    @pytest.mark.parametrize(
        ("kind", "subtype", "tolerance"),
        [("WAV", "FLOAT", 1e-7), ("WAV", "PCM_24", 1e-6), ("FLAC", "PCM_16", 1e-4)],
    )
    def test_mono_is_the_mean(
        self, kind: str, subtype: str, tolerance: float, channels: int
    ) -> None:
        audio = np.random.default_rng(channels).uniform(-0.9, 0.9, (4000, channels))

        samples = decode_audio(encode(audio, 16000, kind, subtype), CONFIG)

        np.testing.assert_allclose(samples, audio.mean(axis=1), atol=tolerance)

    @pytest.mark.parametrize("channels", range(1, 9))
    def test_vorbis_channels(self, channels: int) -> None:
        audio = np.zeros((8000, channels))
        audio[:, 0] = tone(16000)

        samples = decode_audio(encode(audio, 16000, "OGG", "VORBIS"), CONFIG)

        np.testing.assert_allclose(samples[1000:7000], tone(16000)[1000:7000] / channels, atol=0.02)

    @pytest.mark.parametrize("rate_hz", [24000, 44100, 48000, 96000])
    def test_frequencies_above_8_khz_do_not_alias(self, rate_hz: int) -> None:
        samples = decode_audio(encode(tone(rate_hz, frequency_hz=10_000), rate_hz), CONFIG)

        assert np.abs(samples[1000:7000]).max() < 1e-3 * AMPLITUDE

    def test_resampled_duration_of_odd_lengths(self) -> None:
        for frames in range(1103, 1123):
            samples = decode_audio(encode(np.zeros(frames), 11025), CONFIG)
            assert abs(len(samples) - frames * 16000 / 11025) <= 1

    @pytest.mark.parametrize("tags", [1, 2])
    @pytest.mark.parametrize(("kind", "subtype"), [("MP3", ""), ("FLAC", ""), ("WAV", "")])
    def test_id3_tag_in_front(self, kind: str, subtype: str, tags: int) -> None:
        plain = encode(tone(16000), 16000, kind, subtype)
        tag = b"ID3\x04\x00\x00\x00\x00\x02\x03" + b"\xff" * (2 * 128 + 3)

        tagged = decode_audio(tag * tags + plain, CONFIG)

        np.testing.assert_array_equal(tagged, decode_audio(plain, CONFIG))

    def test_id3_tag_with_footer(self) -> None:
        plain = encode(tone(16000))
        tag = b"ID3\x04\x00\x10\x00\x00\x00\x01" + b"\0" + b"3DI" + bytes(7)
        np.testing.assert_array_equal(
            decode_audio(tag + plain, CONFIG), decode_audio(plain, CONFIG)
        )

    def test_mp3_without_header_frame(self) -> None:
        mp3 = without_mp3_header_frame(constant_rate_mp3(tone(44100, 2.0), 44100))

        samples = decode_audio(mp3, CONFIG)

        # Only the header frame tells how much the encoder added in front and behind.
        assert 32000 <= len(samples) <= 32000 + 1500

    def test_mp3_header_that_counts_itself(self) -> None:
        mp3 = constant_rate_mp3(tone(44100, 2.0), 44100)
        at = mp3.index(b"Info") + 8
        frames = int.from_bytes(mp3[at : at + 4], "big")

        one_more = decode_audio(put(mp3, at, (frames + 1).to_bytes(4, "big")), CONFIG)

        assert 32000 <= len(one_more) <= 32000 + 1500
        assert "truncated" in refusal(put(mp3, at, (frames + 3).to_bytes(4, "big")))

    def test_wav_extensible(self) -> None:
        samples = decode_audio(encode(tone(16000), 16000, "WAVEX"), CONFIG)
        np.testing.assert_array_equal(samples, decode_audio(encode(tone(16000)), CONFIG))

    @pytest.mark.parametrize("at", [12, 36])  # before "fmt ", before "data"
    def test_wav_with_another_chunk(self, at: int) -> None:
        plain = encode(tone(16000))
        odd = b"note" + (5).to_bytes(4, "little") + b"data!\0"  # an odd size is padded
        wav = put(plain[:at] + odd + plain[at:], 4, (len(plain) + 6).to_bytes(4, "little"))

        np.testing.assert_array_equal(decode_audio(wav, CONFIG), decode_audio(plain, CONFIG))
        assert "promises 16000 bytes of samples, 15999" in refusal(wav[:-1])


class TestStreams:
    """Files whose header was written before the length was known."""

    @pytest.mark.parametrize(
        ("riff", "data"),
        [
            (0, 0),
            (36, 0),
            (8, 0),
            (0xFFFFFFFF, 0),
            (0, 0xFFFFFFFF),
            (0xFFFFFFFF, 0xFFFFFFFF),  # ffmpeg
            (0x7FFFF024, 0x7FFFF000),  # SoX, eSpeak
            (0x80000024, 0x80000000),  # arecord
        ],
    )
    def test_streaming_wav(self, riff: int, data: int) -> None:
        wav = encode(tone(16000))

        samples = decode_audio(with_wav_sizes(wav, riff, data), CONFIG)

        np.testing.assert_array_equal(samples, decode_audio(wav, CONFIG))

    def test_streaming_flac(self) -> None:
        flac = encode(tone(44100), 44100, "FLAC")

        samples = decode_audio(with_flac_length(flac, 0), CONFIG)

        np.testing.assert_array_equal(samples, decode_audio(flac, CONFIG))

    def test_too_long_stream_is_not_decoded_to_its_end(self) -> None:
        flac = with_flac_length(encode(tone(16000, 3.0), 16000, "FLAC"), 0)
        config = AudioConfig(max_audio_s=1)

        # The damage behind the limit would be the reason if it were reached.
        assert "damaged" in refusal(flac[:-100])
        assert "longer than 1 s" in refusal(flac[:-100], config)


class TestSources:
    @pytest.mark.parametrize(("kind", "suffix"), [("WAV", ".raw"), ("FLAC", ".flac"), ("OGG", "")])
    def test_path_and_bytes_agree(self, tmp_path: Path, kind: str, suffix: str) -> None:
        data = encode(tone(22050), 22050, kind)
        path = tmp_path / f"clip{suffix}"
        path.write_bytes(data)

        expected = decode_audio(data, CONFIG)

        np.testing.assert_array_equal(decode_audio(path, CONFIG), expected)
        np.testing.assert_array_equal(decode_audio(str(path), CONFIG), expected)

    def test_name_stands_in_the_error(self, tmp_path: Path) -> None:
        for source in (b"", tmp_path / "none.wav"):
            with pytest.raises(InputError, match=r"^clip 3: "):
                decode_audio(source, CONFIG, name="clip 3")

    def test_missing_file(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "none.wav") == "no such file"

    def test_directory(self, tmp_path: Path) -> None:
        assert "is a directory" in refusal(tmp_path)

    def test_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "is not a regular file" in refusal(tmp_path / "pipe")

    def test_path_that_cannot_be(self, tmp_path: Path) -> None:
        assert "cannot be read (embedded null byte)" in refusal(str(tmp_path / "a\0b.wav"))
        assert "cannot be read (File name too long)" in refusal(tmp_path / ("a" * 300))

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty.wav").touch()
        assert "is empty (0 bytes)" in refusal(tmp_path / "empty.wav")
        assert "is empty (0 bytes)" in refusal(b"")

    def test_too_many_bytes(self, tmp_path: Path) -> None:
        data = encode(tone(16000))
        exact = AudioConfig(max_audio_bytes=len(data))
        short = AudioConfig(max_audio_bytes=len(data) - 1)

        assert len(decode_audio(data, exact)) == 8000
        assert f"more than {len(data) - 1} bytes" in refusal(data, short)

    def test_size_of_a_file_is_checked_before_it_is_read(self, tmp_path: Path) -> None:
        huge = tmp_path / "huge.wav"
        with huge.open("wb") as file:
            file.truncate(2**42)  # sparse
        # Reading as much as these settings allow would exhaust memory.
        assert "max_audio_bytes" in refusal(huge, AudioConfig(max_audio_bytes=2**41))


class TestRefusals:
    @pytest.mark.parametrize(
        "data",
        [
            b"\0",
            b"RIFF",
            b"RIFF\0\0\0\0AVI LIST",
            b"This is a text, not audio.\n" * 100,
            b"\x00\x00\x00\x20ftypM4A ",
            b"ID3\x04\x00\x00\x00\x00\x00\x05",
            encode(tone(16000), 16000, "AIFF"),
            encode(tone(16000), 16000, "RF64"),
        ],
        ids=["byte", "riff", "avi", "text", "m4a", "id3-only", "aiff", "rf64"],
    )
    def test_unknown_format(self, data: bytes) -> None:
        assert refusal(data) == ("is not audio of a known format; expected WAV, FLAC, OGG or MP3")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"fLaC" + b"\0" * 100, "is damaged, truncated or not FLAC audio ("),
            (b"OggS" + b"\0" * 100, "is damaged, truncated or not OGG audio ("),
            (b"\xff\xfb" + b"\0" * 100, "is damaged, truncated or not MP3 audio"),
            (put(encode(tone(16000)), 20, b"\x99\x99"), "is damaged, truncated or not WAV audio ("),
        ],
    )
    def test_right_start_wrong_content(self, data: bytes, reason: str) -> None:
        assert refusal(data).startswith(reason)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize(("kind", "subtype"), [*LOSSLESS, *LOSSY, ("OGG", "OPUS")])
    def test_truncated(self, kind: str, subtype: str, share: float) -> None:
        data = encode(tone(48000, 2.0), 48000, kind, subtype)
        if kind == "MP3":  # noticed to within one frame
            share *= 0.9
        cut = max(16, int(len(data) * share))

        assert "truncated" in refusal(data[:cut])

    @pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
    def test_one_missing_byte(self, kind: str) -> None:
        assert "truncated" in refusal(encode(tone(16000), 16000, kind)[:-1])

    def test_truncated_says_how_much_is_there(self) -> None:
        wav, flac = encode(tone(16000)), encode(tone(16000), 16000, "FLAC")

        assert refusal(wav[:-1000]) == (
            "is truncated: its header promises 16000 bytes of samples, 15000 are there"
        )
        assert refusal(with_flac_length(flac, 9000)) == (
            "is truncated: its header promises 9000 samples per channel, 8000 are there"
        )
        assert "ends before its samples begin" in refusal(wav[:36])

    @pytest.mark.parametrize("lie", [16001, 17000, 0x7FFFFFFF, 0xFFFFFFFE])
    def test_wav_header_that_promises_too_much(self, lie: int) -> None:
        wav = encode(tone(16000))
        assert f"promises {lie} bytes" in refusal(with_wav_sizes(wav, len(wav) - 8, lie))

    def test_no_samples(self) -> None:
        for kind in ("WAV", "OGG"):
            assert refusal(encode(np.zeros(0), 16000, kind)) == "holds no samples"

    def test_empty_wav_with_a_chunk_behind_is_no_stream(self) -> None:
        wav = encode(np.zeros(0))[:44] + b"LIST\x04\x00\x00\x00INFO"
        assert refusal(put(wav, 4, (len(wav) - 8).to_bytes(4, "little"))) == "holds no samples"

    @pytest.mark.parametrize("rate_hz", RATES_HZ)
    def test_shortest(self, rate_hz: int) -> None:
        frames = math.ceil(0.025 * rate_hz)

        samples = decode_audio(encode(np.zeros(frames), rate_hz), CONFIG)

        assert abs(len(samples) - 400) <= 1
        assert "expected at least 0.025 s (audio.min_audio_s)" in refusal(
            encode(np.zeros(frames - 1), rate_hz)
        )

    @pytest.mark.parametrize("rate_hz", RATES_HZ)
    def test_longest(self, rate_hz: int) -> None:
        config = AudioConfig(max_audio_s=2)

        samples = decode_audio(encode(np.zeros(2 * rate_hz), rate_hz), config)

        assert abs(len(samples) - 32000) <= 1
        assert refusal(encode(np.zeros(2 * rate_hz + 1), rate_hz), config) == (
            "is longer than 2 s (audio.max_audio_s); cut it"
        )

    def test_default_longest_is_a_minute(self) -> None:
        assert "longer than 60 s" in refusal(encode(np.zeros(60 * 8000 + 1), 8000, "FLAC"))

    def test_length_is_refused_by_the_header_alone(self) -> None:
        flac = encode(tone(16000), 16000, "FLAC")
        # 0.5 s of audio: whoever decodes first says "truncated".
        assert "longer than 60 s" in refusal(with_flac_length(flac, 2**36 - 1))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("at", [0, 3999, 7999])
    def test_samples_that_are_no_numbers(self, value: float, at: int) -> None:
        audio = np.zeros((8000, 2))
        audio[at, 1] = value
        for subtype in ("FLOAT", "DOUBLE"):
            reason = refusal(encode(audio, 16000, "WAV", subtype))
            assert reason == "holds NaN or infinite samples"

    def test_samples_too_large(self) -> None:
        assert "full scale is 1" in refusal(encode(np.full(8000, 1e20), 16000, "WAV", "FLOAT"))
        assert "infinite" in refusal(encode(np.full(8000, 1e300), 16000, "WAV", "DOUBLE"))

    def test_floats_beyond_full_scale_are_kept(self) -> None:
        audio = 32768 * tone(16000)
        samples = decode_audio(encode(audio, 16000, "WAV", "FLOAT"), CONFIG)
        np.testing.assert_allclose(samples, audio, rtol=1e-6)

    def test_channels(self) -> None:
        assert len(decode_audio(encode(np.zeros((800, 16))), CONFIG)) == 800
        assert refusal(encode(np.zeros((800, 17)))) == (
            "has 17 channels; expected at most 16 (audio.max_channels)"
        )

    def test_rate(self) -> None:
        assert len(decode_audio(encode(np.zeros(38400), 384_000), CONFIG)) == 1600
        assert refusal(encode(np.zeros(38400), 384_001)) == (
            "is sampled at 384001 Hz; expected at most 384000 (audio.max_rate_hz)"
        )
        assert "WAV" in refusal(put(encode(np.zeros(800)), 24, b"\0\0\0\0"))  # 0 Hz


VALID = [encode(tone(16000, 0.3), 16000, *kind) for kind in (*LOSSLESS, *LOSSY)] + [
    encode(tone(48000, 0.3), 48000, "OGG", "OPUS"),
    encode(np.stack([tone(8000, 0.3)] * 3, axis=1), 8000, "WAVEX", "PCM_16"),
    encode(tone(8000, 0.3), 8000, "WAV", "IMA_ADPCM"),
    encode(tone(8000, 0.3), 8000, "WAV", "ULAW"),
]


def decode_or_reason(data: bytes) -> NDArray[np.float32] | str:
    try:
        return decode_audio(data, AudioConfig(max_audio_s=5))
    except InputError as refused:
        return str(refused)


def assert_samples_or_refused(data: bytes) -> None:
    outcome = decode_or_reason(data)
    if isinstance(outcome, str):
        assert "\n" not in outcome
    else:
        assert outcome.dtype == np.float32
        assert 399 <= len(outcome) <= 5 * 16000 + 1
        assert np.isfinite(outcome).all()


class TestManyParts:
    """Files of as many bytes as are let in, of nothing but parts that a decoder steps over."""

    @pytest.mark.parametrize(
        ("kind", "at", "part", "most", "reason"),
        [
            ("MP3", 0, b"ID3\4" + bytes(6), MAX_ID3_TAGS, "more than 64 ID3 tags"),
            ("WAV", 36, b"junk" + bytes(4), MAX_WAV_CHUNKS - 2, "more than 1000 chunks"),
            ("OGG", 58, b"OggS" + bytes(23), 49_000, "more than 50000 OGG pages"),
            ("FLAC", 42, b"\1\0\0\0", MAX_FLAC_BLOCKS - 2, "more than 1000 metadata blocks"),
        ],
    )
    def test_parts(self, kind: str, at: int, part: bytes, most: int, reason: str) -> None:
        audio = bytearray(encode(tone(16000), 16000, kind, ""))
        if kind == "FLAC":
            audio[4] &= 0x7F  # no longer the last block
        samples = decode_audio(bytes(audio[:at] + part * most + audio[at:]), CONFIG)
        np.testing.assert_array_equal(
            samples, decode_audio(encode(tone(16000), 16000, kind, ""), CONFIG)
        )
        full = CONFIG.max_audio_bytes - len(audio)
        assert reason in refusal(bytes(audio[:at] + part * (full // len(part)) + audio[at:]))

    @pytest.mark.parametrize("part", [b"OggS", b"OggS\xff\xff\xff\xff", b"OggS" + b"\xff" * 40])
    def test_ogg_pages_within_pages(self, part: bytes) -> None:
        ogg = encode(tone(16000), 16000, "OGG", "VORBIS")
        full = part * ((CONFIG.max_audio_bytes - len(ogg)) // len(part))
        assert "OGG pages" in refusal(ogg[:58] + full + ogg[58:])

    def test_a_minute_of_the_usual_fits(self) -> None:
        frames = 60 * 48_000
        wav = encode(np.zeros((frames, 2), np.float32), 48_000, "WAV", "FLOAT")
        assert len(decode_audio(wav, AudioConfig())) == 60 * 16_000


class TestHostileBytes:
    @settings(max_examples=150, deadline=None)
    @given(
        start=st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"\xff\xfb", b"ID3"]),
        rest=st.binary(max_size=500),
    )
    def test_invented(self, start: bytes, rest: bytes) -> None:
        assert_samples_or_refused(start + rest)

    @settings(max_examples=400, deadline=None)
    @given(data=st.data())
    def test_mutated(self, data: st.DataObject) -> None:
        audio = bytearray(data.draw(st.sampled_from(VALID)))
        reach = data.draw(st.sampled_from([64, 256, len(audio)]))  # headers matter most
        for _ in range(data.draw(st.integers(1, 6))):
            start = data.draw(st.integers(0, reach))
            end = start + data.draw(st.integers(0, 8))
            audio[start:end] = data.draw(st.binary(max_size=8))
        if data.draw(st.booleans()):
            del audio[data.draw(st.integers(0, len(audio))) :]
        assert_samples_or_refused(bytes(audio))


def windows_by_definition(samples: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Every whole window from the start, then the final one if samples are left over."""
    windows = []
    position = 0
    while position + size <= len(samples):
        windows.append(list(samples[position : position + size]))
        position += size
    if position < len(samples):
        last = list(samples[-size:])
        windows.append(last + [0.0] * (size - len(last)))
    return np.array(windows, np.float32)


class TestWindows:
    @settings(max_examples=40, deadline=None)
    @given(count=st.integers(400, 480_000))  # 25 ms to 30 s
    @example(400)
    @example(15_999)
    @example(16_000)
    @example(16_001)
    @example(31_999)
    @example(32_000)
    @example(32_001)
    @example(480_000)
    def test_as_defined(self, count: int) -> None:
        samples = np.arange(1, count + 1, dtype=np.float32)

        windows = cut_windows(samples, CONFIG.window_samples)

        assert windows.dtype == np.float32
        assert windows.shape == (math.ceil(count / 16_000), 16_000)
        np.testing.assert_array_equal(windows, windows_by_definition(samples, 16_000))

    @given(count=st.integers(1, 100), size=st.integers(1, 40))
    def test_any_window(self, count: int, size: int) -> None:
        samples = np.arange(1, count + 1, dtype=np.float32)
        np.testing.assert_array_equal(
            cut_windows(samples, size), windows_by_definition(samples, size)
        )

    def test_written_out(self) -> None:
        samples = np.arange(1, 8, dtype=np.float32)
        assert cut_windows(samples, 3).tolist() == [[1, 2, 3], [4, 5, 6], [5, 6, 7]]
        assert cut_windows(samples[:6], 3).tolist() == [[1, 2, 3], [4, 5, 6]]
        assert cut_windows(samples[:2], 3).tolist() == [[1, 2, 0]]

    def test_windows_do_not_change_with_the_utterance_they_were_cut_from(self) -> None:
        samples = np.ones(5, np.float32)
        windows = cut_windows(samples, 5)
        samples[:] = 2
        assert windows.tolist() == [[1.0] * 5]

    def test_no_samples(self) -> None:
        with pytest.raises(InputError, match="no samples"):
            cut_windows(np.zeros(0, np.float32), 16_000)


@pytest.mark.skipif(not EMODB.is_dir(), reason="needs real speech in ../shared/data/emodb")
def test_real_speech() -> None:
    paths = sorted(EMODB.glob("*.flac"))[:20]
    assert paths
    for path in paths:
        expected, rate_hz = soundfile.read(path, dtype="float32")
        samples = decode_audio(path, CONFIG)
        assert len(samples) == pytest.approx(len(expected) * 16000 / rate_hz, abs=1)
        if rate_hz == 16000:
            np.testing.assert_array_equal(samples, expected)
