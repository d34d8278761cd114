"""What stands around the samples of an audio file: told apart and checked before a decoder sees it.

Decoders step over tags, chunks and pages one by one, some of them in calls back into Python, and a
file may hold millions: so they are counted, and what no encoder writes is refused.
"""

from __future__ import annotations

from typing import Literal

from hemogat.errors import InputError

Container = Literal["WAV", "FLAC", "OGG", "MP3"]
EXPECTED = "expected WAV, FLAC, OGG or MP3"

MAX_ID3_TAGS = 64
MAX_WAV_CHUNKS = 1000  # before the samples
MAX_FLAC_BLOCKS = 1000  # of metadata
MAX_OGG_PAGES = 50_000  # 60 s in pages of one Opus frame of 2.5 ms are 24,000
MAX_OGG_MARKS_INSIDE = 64  # chance puts one into 4 GiB
# Data sizes of WAV headers written before the length was known: ffmpeg and most services write 0
# or 0xFFFFFFFF, SoX and eSpeak 0x7FFFF000, arecord 0x80000000.
STREAMING_SIZES = frozenset({0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF})


def checked_container(data: bytes, name: str) -> tuple[Container, bytes]:
    """Tell the container, and return the file as decoders take it: without tags, its size stated.

    Raises:
        InputError: it is none of the four, is cut off, or holds more parts than any encoder writes.
    """
    data = _skip_id3(data, name)
    container = _container(data, name)
    if container == "WAV":
        data = _settle_wav_size(data, name)
    elif container == "FLAC":
        _check_flac_blocks(data, name)
    elif container == "OGG":
        _check_ogg_pages(data, name)
    return container, data


def _skip_id3(data: bytes, name: str) -> bytes:
    """Drop ID3v2 tags, which may stand before any container."""
    start = tags = 0
    while data.startswith(b"ID3", start) and len(data) >= start + 10:
        tags += 1
        if tags > MAX_ID3_TAGS:
            raise InputError(f"{name}: has more than {MAX_ID3_TAGS} ID3 tags; remove them")
        flags, *digits = data[start + 5 : start + 10]
        size = 0
        for digit in digits:  # seven bits each
            size = size << 7 | digit & 0x7F
        start += 10 + size + (10 if flags & 0x10 else 0)  # the flag announces a footer
    return data[start:]


def _container(data: bytes, name: str) -> Container:
    """Tell the container by its first bytes: libsndfile's many other parsers see no data."""
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return "WAV"
    if data.startswith(b"fLaC"):
        return "FLAC"
    if data.startswith(b"OggS"):
        return "OGG"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:  # MPEG frame sync
        return "MP3"
    raise InputError(f"{name}: is not audio of a known format; {EXPECTED}")


def _settle_wav_size(data: bytes, name: str) -> bytes:
    """Refuse a WAV whose data chunk is not all there; state the size that a stream left open.

    libsndfile reads what there is in the first case, and nothing if a stream says 0.
    """
    at, chunks = 12, 0
    while at + 8 <= len(data):
        chunks += 1
        if chunks > MAX_WAV_CHUNKS:
            raise InputError(
                f"{name}: has more than {MAX_WAV_CHUNKS} chunks before its samples; write it anew"
            )
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            break
        at += 8 + size + size % 2
    else:
        raise InputError(f"{name}: is truncated: this WAV file ends before its samples begin")
    present = len(data) - at - 8
    riff_size = int.from_bytes(data[4:8], "little")
    # A data size of 0 is meant if the file as a whole has the size that its header states.
    if size in STREAMING_SIZES and (size > 0 or riff_size + 8 != len(data)):
        return b"".join((data[: at + 4], present.to_bytes(4, "little"), data[at + 8 :]))
    if size > present:
        raise InputError(
            f"{name}: is truncated: its header promises {size} bytes of samples, "
            f"{present} are there"
        )
    return data


def _check_ogg_pages(data: bytes, name: str) -> None:
    """Refuse a file that libogg would take minutes for, or whose last page is cut off.

    It sums up every page that seems to begin, also where that is inside another one: "OggS" again
    and again makes it read kilobytes for each four bytes of the file.
    """
    at = pages = 0
    while (at := data.find(b"OggS", at)) >= 0:
        pages += 1
        if pages > MAX_OGG_PAGES:
            raise InputError(f"{name}: has more than {MAX_OGG_PAGES} OGG pages; encode it anew")
        segments = data[at + 26 : at + 27] or b"\0"
        at += 27 + segments[0] + sum(data[at + 27 : at + 27 + segments[0]])
    if data.count(b"OggS") > pages + MAX_OGG_MARKS_INSIDE:
        raise InputError(f"{name}: is damaged: OGG pages begin inside of others")
    _check_last_ogg_page(data, name)


def _check_flac_blocks(data: bytes, name: str) -> None:
    at = 4
    for _ in range(MAX_FLAC_BLOCKS):
        header = data[at : at + 4]
        if len(header) < 4 or header[0] & 0x80:  # the last one, or libFLAC's to refuse
            return
        at += 4 + int.from_bytes(header[1:], "big")
    raise InputError(f"{name}: has more than {MAX_FLAC_BLOCKS} metadata blocks; encode it anew")


def _check_last_ogg_page(data: bytes, name: str) -> None:
    page = data.rfind(b"OggS")
    header = data[page : page + 27]
    segments = data[page + 27 : page + 27 + header[26]] if len(header) == 27 else b""
    if len(header) < 27 or page + 27 + header[26] + sum(segments) > len(data):
        raise InputError(f"{name}: is truncated: its last OGG page is incomplete")
