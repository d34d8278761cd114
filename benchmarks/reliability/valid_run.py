"""A soak: valid requests of mixed lengths, again and again, answered as the first time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.serving.server import TritonServer
from reliability.infer import Wire, utterance
from reliability.parsers import encoded
from reliability.server_tree import Footprint, footprint

# Seconds of audio; short ones are common, as they are in speech.
DURATIONS_S = (0.03, 0.3, 0.5, 0.8, 1.0, 1.0, 1.2, 1.5, 2.0, 2.4, 3.0, 4.5, 8.0, 15.0)
WARM_TENTHS = 3
_FORMATS = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))
_RATES_HZ = (8000, 16_000, 22_050, 48_000)
_TEXTS = (b"stop that", None, b"she left us alone " * 9, "مرحبا".encode(), b"word " * 200)


@dataclass
class SoakReport:
    """``different``: answers that are not the first pass's; ``largest``: by how much at most."""

    requests: int
    distinct: int
    errors: list[str]
    different: int
    largest: float
    duration_s: float
    before: Footprint
    after: Footprint
    rss_course_bytes: list[int] = field(default_factory=list)  # after each tenth

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **vars(self),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "growth": self.before.growth_to(self.after),
        }


def valid_requests(seed: int = 0) -> list[Any]:
    """Return requests of every duration with every kind of text, formats and rates in turn."""
    random = np.random.default_rng(seed)
    messages = [utterance(None, text) for text in _TEXTS if text is not None]
    for number, duration_s in enumerate(DURATIONS_S):
        for text_number, text in enumerate(_TEXTS):
            rate_hz = _RATES_HZ[(number + text_number) % len(_RATES_HZ)]
            kind = _FORMATS[(number // 2 + text_number) % len(_FORMATS)]
            noise = random.normal(0, 0.1, max(round(duration_s * rate_hz), 1200))
            messages.append(utterance(encoded(noise, rate_hz, *kind), text))
    return messages


def run_soak(server: TritonServer, count: int, *, workers: int = 4) -> SoakReport:
    """Send ``count`` valid requests; the answers of a first pass are what the others must equal.

    The first tenths warm the server up, whose memory grows until it has seen its largest batches:
    footprints are taken behind them and at the end.
    """
    assert server.pid is not None
    messages = valid_requests()
    lock = Lock()
    with Wire(server.grpc_url) as wire, ThreadPoolExecutor(workers) as pool:
        first = [_probabilities(wire, message) for message in messages]
        report = SoakReport(
            *(count, len(messages), [], 0, 0.0, 0.0),
            *(footprint(server.pid), footprint(server.pid)),
        )

        def ask(number: int) -> None:
            which = number % len(messages)
            answer = wire.ask(messages[which])
            with lock:
                if answer.probabilities is None:
                    report.errors.append(f"request {number}: {answer.status}: {answer.message}")
                    return
                difference = float(np.abs(answer.probabilities - first[which]).max())
                report.different += difference > 0
                report.largest = max(report.largest, difference)

        began_s = time.perf_counter()
        bounds = [count * tenth // 10 for tenth in range(11)]
        for tenth, (begin, end) in enumerate(pairwise(bounds)):
            list(pool.map(ask, range(begin, end)))
            found = footprint(server.pid)
            report.rss_course_bytes.append(found.rss_bytes)
            if tenth == WARM_TENTHS - 1:
                report.before = found
        report.after = found
        report.duration_s = time.perf_counter() - began_s
    return report


def _probabilities(wire: Wire, message: Any) -> NDArray[np.float32]:
    answer = wire.ask(message)
    if answer.probabilities is None:
        raise AssertionError(f"a valid request was answered with {answer}")
    return answer.probabilities
