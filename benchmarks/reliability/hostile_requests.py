"""Requests that no honest client sends, by kind; the same seed gives the same requests."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from hemogat.contract import (
    AUDIO_INPUT,
    ENTRY_MODEL,
    RATE_INPUT,
    SAMPLES_INPUT,
    STREAM_MODEL,
    TEXT_INPUT,
)
from reliability import hostile_audio
from reliability.infer import Tensor, request, string_tensor, utterance
from reliability.mutation import STRINGS

_STREAM_IDS = 40  # few, so that streams that nobody ends are begun anew
_DATATYPES = ("FP32", "INT64", "UINT8", "BOOL", "BF16", "BYTES", "STRING", "", "\0")
_SHAPES: tuple[tuple[int, ...], ...] = (
    *((), (1,), (1, 1, 1), (0, 1), (1, 0), (-1, 1), (1, -1), (17, 1), (2, 1)),
    *((2**31, 1), (2**32, 1), (2**62, 2**62), (2**63 - 1, 1), (1,) * 100),
)
_TEXTS = (
    *(b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"a\0b", b"\0", b" \n\t"),
    *(b"a" * 10**6, b"\0" * 10**6, "😀".encode() * 250_000, b"\xff" * 10**6, b"a " * 500_000),
    *("\u202eabc\u202c".encode(), "مرحبا كيف حالك".encode(), "e\u0301".encode() * 500),
    *(
        "👩‍👩‍👧‍👦".encode() * 1000,
        "\u200b\ufeff".encode(),
        "ﷺ".encode() * 9000,
        b"[PAD] [CLS] [SEP]",
    ),
    *(text.encode("utf-8", "surrogatepass") for text in STRINGS),
)


@dataclass(frozen=True)
class Hostile:
    """One request and what kind it is of."""

    kind: str
    message: Any


def hostile_requests(seed: int) -> Iterator[Hostile]:
    """Yield requests without end, every kind once at first."""
    random = Random(seed)
    kinds = list(KINDS)
    for kind in kinds:
        yield Hostile(kind, KINDS[kind][1](random))
    weights = [weight for weight, _ in KINDS.values()]
    while True:
        (kind,) = random.choices(kinds, weights)
        yield Hostile(kind, KINDS[kind][1](random))


def _of_audio(make: Callable[[Random], bytes]) -> Callable[[Random], Any]:
    def audio_request(random: Random) -> Any:
        return utterance(make(random), random.choice((b"stop that", None)))

    return audio_request


def _text(random: Random) -> Any:
    text = random.choice(_TEXTS)
    if random.random() < 0.5:
        text = random.randbytes(random.randint(0, 40)) + text[: random.choice((10, 10**6))]
    return utterance(None, text)


def _many_rows(random: Random) -> Any:
    """Return a batch in which good and bad rows stand side by side."""
    count = random.randint(2, 20)  # 16 are allowed
    texts = [random.choice((b"fine", b"", b"\xff", b"a\0b")) for _ in range(count)]
    return request(ENTRY_MODEL, [string_tensor(TEXT_INPUT.name, *texts)])


def _shape_or_type(random: Random) -> Any:
    good = string_tensor(random.choice((AUDIO_INPUT.name, TEXT_INPUT.name)), b"stop that")
    shape = random.choice((*_SHAPES, good.shape))
    datatype = random.choice((*_DATATYPES, good.datatype))
    return request(ENTRY_MODEL, [Tensor(good.name, datatype, shape, good.raw)])


def _lying_strings(random: Random) -> Any:
    """Return strings whose stated lengths are not theirs."""
    raw = b"".join(
        struct.pack("<I", random.choice((0, 3, 4, 5, 2**31, 2**32 - 1))) + b"abcd"
        for _ in range(random.randint(0, 3))
    )
    raw = raw[: random.choice((len(raw), len(raw) - 1, 3))]
    return request(ENTRY_MODEL, [Tensor(TEXT_INPUT.name, "BYTES", (1, 1), raw)])


def _inputs(random: Random) -> Any:
    """Leave inputs out, add others, repeat them, or ask for outputs that there are not."""
    good = string_tensor(TEXT_INPUT.name, b"stop that")
    others = [
        good,
        string_tensor("text", b"x"),
        string_tensor("", b"x"),
        Tensor("NEIGHBOURS", "INT64", (1, 1), bytes(8)),
        Tensor(AUDIO_INPUT.name, "BYTES", (1, 1), None),
        string_tensor(random.choice(STRINGS), b"x"),
    ]
    message = request(ENTRY_MODEL, random.choices(others, k=random.randint(0, 4)))
    if random.random() < 0.3:
        # Not LABEL: Triton 2.51 divides by zero when it is to rank strings (docs/reliability.md).
        output = message.outputs.add(name=random.choice(("PROBABILITIES", "NO", "\0")))
        output.parameters["classification"].int64_param = random.choice((-1, 0, 1, 2**62))
    return message


def _stream(random: Random) -> Any:
    number = random.randint(1, _STREAM_IDS)
    samples = np.full(random.choice((0, 1, 399, 16_000, 40_000)), 0.1, np.float32)
    if len(samples) and random.random() < 0.3:
        samples[-1] = random.choice((np.nan, np.inf, 3e38, 1e-40))
    inputs = [Tensor(SAMPLES_INPUT.name, "FP32", (1, len(samples)), samples.tobytes())]
    if random.random() < 0.4:
        rate_hz = random.choice((-1, 0, 1, 7, 8000, 384_000, 384_001, 2**62, -(2**63)))
        inputs.append(Tensor(RATE_INPUT.name, "INT64", (1, 1), struct.pack("<q", rate_hz)))
    if random.random() < 0.3:
        inputs.append(string_tensor(TEXT_INPUT.name, random.choice(_TEXTS)))
    if random.random() < 0.15:
        inputs = inputs[1:] or [Tensor(SAMPLES_INPUT.name, "FP32", (1, 7), bytes(3))]
    ids: tuple[bool | int | str, ...] = (
        0,
        -number,
        2**63 - 1,
        "",
        "\0",
        "😀\u202e",
        "x" * 128,
        True,
    )
    return request(
        STREAM_MODEL,
        inputs,
        {
            "sequence_id": random.choice((number, number, f"s{number}", random.choice(ids))),
            "sequence_start": random.random() < 0.6,
            "sequence_end": random.random() < 0.5,
            **({"priority": -1} if random.random() < 0.05 else {}),
            **({"sequence_start": "yes"} if random.random() < 0.05 else {}),
        },
    )


# How often each kind comes, and how one is made.
KINDS: dict[str, tuple[int, Callable[[Random], Any]]] = {
    "mutated audio": (40, _of_audio(hostile_audio.mutated_audio)),
    "lying header": (14, _of_audio(hostile_audio.lying_header)),
    "samples that are no numbers": (6, _of_audio(hostile_audio.no_numbers)),
    "many chunks": (1, _of_audio(hostile_audio.many_chunks)),
    "file at the limit of bytes": (1, _of_audio(hostile_audio.at_the_limit)),
    "decompression bomb": (
        1,
        _of_audio(lambda random: random.choice(hostile_audio.bombs())),
    ),
    "text": (12, _text),
    "rows of a batch": (4, _many_rows),
    "shape or type": (8, _shape_or_type),
    "lying strings": (4, _lying_strings),
    "inputs": (6, _inputs),
    "stream": (14, _stream),
}
