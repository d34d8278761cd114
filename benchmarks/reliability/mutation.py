"""Valid bytes and JSON, bent at random; the same random numbers bend them in the same way."""

from __future__ import annotations

import json
from random import Random
from typing import Any

HEADER_BYTES = (16, 64, 256)  # how far from the start damage is done, besides anywhere
_NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\x01\0\0\0")
STRINGS = (
    "",
    "\0",
    "a\0b",
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x",
    "\u202eabc\u202c",
    "😀" * 50,
    "a\nb",
    "%s%n",
    "x" * 10_000,
    "\ud7ff\ufeff\uffff",
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, 2**64, -(2**70), 10**400),
    *(0.5, 1e308, float("inf"), float("nan"), [], {}, [[]], {"": {}}),
    *STRINGS,
)


def mutated(content: bytes, random: Random) -> bytes:
    """Flip, overwrite, insert, delete, repeat and cut off bytes, mostly near the start."""
    data = bytearray(content)
    for _ in range(random.randint(1, 6)):
        reach = random.choice((*HEADER_BYTES, len(data))) + 1
        at = random.randrange(min(reach, len(data) + 1))
        match random.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + 4] = random.choice(_NUMBERS)
            case 2:
                data[at:at] = random.randbytes(random.randint(1, 8))
            case 3:
                del data[at : at + random.randint(1, 64)]
            case 4:
                data[at:at] = data[at : at + random.randint(1, 64)]
            case _:
                data[at : at + 8] = random.randbytes(8)
    if random.random() < 0.3:
        del data[random.randrange(len(data) + 1) :]
    return bytes(data)


def mutated_json(content: bytes, random: Random) -> bytes:
    """Put other values in the place of some values of a JSON document, or add and drop some."""
    document = json.loads(content)
    for _ in range(random.randint(1, 3)):
        document = _bent(document, random)
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    return text.encode("utf-8", errors="surrogatepass")


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Return brackets in brackets."""
    return opening * depth + closing * depth


def _bent(value: Any, random: Random) -> Any:
    inner = isinstance(value, dict | list) and len(value) > 0
    if not inner or random.random() < 0.15:
        return random.choice(_VALUES)
    if isinstance(value, dict):
        key = random.choice(list(value))
        match random.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {random.choice(STRINGS): random.choice(_VALUES)}
            case _:
                return value | {key: _bent(value[key], random)}
    at = random.randrange(len(value))
    return [*value[:at], _bent(value[at], random), *value[at + 1 :]]
