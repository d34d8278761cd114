"""HTTP bodies that are no requests, sent as they are."""

from __future__ import annotations

import gzip
import http.client
import json
import struct
from collections.abc import Iterator, Mapping

from hemogat.contract import ENTRY_MODEL, TEXT_INPUT
from reliability.mutation import nested

_TENSOR = {"name": TEXT_INPUT.name, "shape": [1, 1], "datatype": "BYTES"}
_PATH = f"/v2/models/{ENTRY_MODEL}/infer"


def post(address: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Send a body to the entry model; return status and answer."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", _PATH, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def deep_json(depth: int) -> bytes:
    """Return a request whose data are brackets in brackets."""
    before, _, after = _json(_TENSOR | {"data": "HERE"}).partition(b'"HERE"')
    return before + nested(depth) + after


def broken_bodies() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Yield name, body and headers of each."""
    good = _TENSOR | {"data": ["stop that"]}
    for name, body in {
        "nothing": b"",
        "cut off": _json(good)[:-5],
        "no object": b"[]",
        "number too large": b"1e999",
        "no text": b"\xff\xfe\0",
        "inputs are no list": b'{"inputs": "x"}',
        "input of nothing": b'{"inputs": [{}]}',
        "moderately deep": deep_json(500),
        "lone surrogate": _json(good).replace(b"stop", b"\\ud800"),
        "invalid UTF-8": _json(good).replace(b"stop", b"\xff\xfe"),
        "null character": _json(good).replace(b"stop", b"\\u0000"),
        "shape of words": _json(good | {"shape": ["a"]}),
        "negative shape": _json(good | {"shape": [-1, 1]}),
        "huge shape": _json(good | {"shape": [2**62, 2**62]}),
        "numbers for strings": _json(good | {"data": [5, None]}),
        "too many values": _json(good | {"data": ["a"] * 50}),
    }.items():
        yield name, body, {}
    yield "gzip that is none", b"\x1f\x8bgarbage", {"Content-Encoding": "gzip"}
    yield "gzip cut off", gzip.compress(_json(good))[:-9], {"Content-Encoding": "gzip"}
    strings = struct.pack("<I", 2) + b"hi"
    for size in (0, 5, 7, -1, 2**63):
        head = _json(_TENSOR | {"parameters": {"binary_data_size": size}})
        header = {"Inference-Header-Content-Length": str(len(head))}
        yield f"binary size {size}", head + strings, header
    head = _json(_TENSOR | {"parameters": {"binary_data_size": len(strings)}})
    for length in (0, -1, 5, len(head) + 3, 10**18, "x"):
        header = {"Inference-Header-Content-Length": str(length)}
        yield f"header length {length}", head + strings, header


def _json(tensor: Mapping[str, object]) -> bytes:
    return json.dumps({"inputs": [tensor]}).encode()
