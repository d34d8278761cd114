"""Audio files that lie, explode or hold no numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.config import AudioConfig
from reliability.mutation import mutated
from reliability.parsers import encoded, sounds

_SIZES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FFFF000, 0x80000000, 44, 36)
_RATE_HZ = 16_000
_FLAC_RATE_AT = 18  # in the file: rate (20 bits), channels (3), bits (5), samples (36 bits)


@cache
def valid() -> dict[str, bytes]:
    """Return a valid file in every format."""
    return sounds()


def mutated_audio(random: Random) -> bytes:
    """Damage a valid file of any format."""
    return mutated(random.choice(list(valid().values())), random)


def lying_header(random: Random) -> bytes:
    """Have a header state another length, rate or number of channels than there is."""
    match random.randrange(4):
        case 0:  # sizes of the RIFF and of its samples
            wav = valid()["wav"]
            sizes = [random.choice(_SIZES).to_bytes(4, "little") for _ in range(2)]
            return wav[:4] + sizes[0] + wav[8:40] + sizes[1] + wav[44:]
        case 1:  # channels, rate, bytes a second, block and bits
            wav = valid()["wav"]
            channels = random.choice((0, 2, 16, 17, 255, 65_535)).to_bytes(2, "little")
            rate = random.choice((0, 1, 7999, 384_001, 2**31, 2**32 - 1)).to_bytes(4, "little")
            return wav[:22] + channels + rate + random.randbytes(8) + wav[36:]
        case 2:
            flac = valid()["flac"]
            return flac[:_FLAC_RATE_AT] + random.randbytes(8) + flac[_FLAC_RATE_AT + 8 :]
        case _:  # MP3: version, layer, bit rate, rate and channels of the first frame
            mp3 = bytearray(valid()["mp3"])
            mp3[1] |= random.randrange(32)
            mp3[2:4] = random.randbytes(2)
            return bytes(mp3)


def no_numbers(random: Random) -> bytes:
    """Return float samples with NaN, infinity, denormals or huge values among them."""
    samples: NDArray[Any] = np.full(4000, 0.1, np.float32)
    bad = random.choice((np.nan, np.inf, -np.inf, 1e-40, 3e38, 2.0**31, -(2.0**32), 1e-45))
    samples[random.randrange(4000) :: random.randint(1, 4000)] = bad
    return encoded(samples, _RATE_HZ, "WAV", "FLOAT")


def many_chunks(random: Random) -> bytes:
    """Return a WAV file of nothing but tiny chunks, or an MP3 file of nothing but tags."""
    count = random.choice((10, 1000, 20_000))
    if random.random() < 0.5:
        return b"ID3\4\0\0\0\0\0\0" * count + valid()["mp3"]
    wav = valid()["wav"]
    return wav[:36] + b"junk\0\0\0\0" * count + wav[36:]


def at_the_limit(random: Random) -> bytes:
    """Return a file of as many bytes as are let in, most of which some parser could step over."""
    kind = random.choice(list(_FILLINGS))
    head, unit, tail = _FILLINGS[kind]()
    room = AudioConfig().max_audio_bytes - len(head) - len(tail)
    return b"".join((head, unit * (room // len(unit)), tail))


def _inserted(kind: str, at: int, unit: bytes) -> Callable[[], tuple[bytes, bytes, bytes]]:
    return lambda: (valid()[kind][:at], unit, valid()[kind][at:])


def _flac_blocks() -> tuple[bytes, bytes, bytes]:
    flac = valid()["flac"]  # its stream information is no longer the last block of metadata
    return flac[:4] + bytes([flac[4] & 0x7F]) + flac[5:42], b"\1\0\0\0", flac[42:]


# Each a valid file's beginning, what is repeated, and the file's end.
_FILLINGS: dict[str, Callable[[], tuple[bytes, bytes, bytes]]] = {
    "tags": _inserted("mp3", 0, b"ID3\4\0\0\0\0\0\0"),
    "chunks": _inserted("wav", 36, b"junk\0\0\0\0"),
    "blocks": _flac_blocks,
    "pages": _inserted("ogg-vorbis", 58, b"OggS" + bytes(23)),
    "marks of pages": _inserted("ogg-vorbis", 58, b"OggS\xff\xff\xff\xff"),
    "zeros between pages": _inserted("ogg-opus", 47, bytes(16)),
    "zeros in an MP3": _inserted("mp3", 800, bytes(16)),
    "samples": lambda: (_wide_open_wav(), b"\0\1", b""),
}


def _wide_open_wav() -> bytes:
    """Return a WAV header of 16 channels at the fastest rate that leaves its length open."""
    format_ = struct.pack("<HHIIHH", 1, 16, 384_000, 384_000 * 32, 32, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + format_ + b"data\xff\xff\xff\xff"


@cache
def bombs() -> tuple[bytes, ...]:
    """Return few bytes each that decode to many: silence, long, fast and of many channels."""
    minutes = np.zeros((600 * _RATE_HZ, 1), np.int16)
    wide = np.zeros((20 * 48_000, 8), np.int16)
    return (
        encoded(minutes, _RATE_HZ, "FLAC"),
        encoded(minutes, _RATE_HZ, "OGG", "VORBIS"),
        encoded(wide, 48_000, "FLAC"),
        encoded(wide, 48_000, "OGG", "VORBIS"),
        encoded(np.zeros(50 * 96_000, np.int16), 96_000, "FLAC"),
    )
