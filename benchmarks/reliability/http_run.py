"""HTTP bodies that are no requests against a real server, with a valid request after each."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hemogat.serving.client import Client
from hemogat.serving.server import TritonServer
from reliability.http_requests import broken_bodies, post
from reliability.server_tree import Footprint, footprint

_TEXT = "stop that"
_TOLERANCE = 1e-6


@dataclass
class HttpReport:
    """``statuses``: of HTTP, by body; ``unexpected``: the first answers that should not be."""

    requests: int
    distinct: int
    before: Footprint
    after: Footprint
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    valid_requests: int = 0
    wrong_after: int = 0
    duration_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **vars(self),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "growth": self.before.growth_to(self.after),
        }


def run_http(server: TritonServer, count: int) -> HttpReport:
    """Send ``count`` bodies, all kinds in turns, and a valid request after each.

    Before it counts, half as many warm the server up.
    """
    assert server.pid is not None
    distinct = len(list(broken_bodies()))
    now = footprint(server.pid)
    with Client(server.http_url, "http") as client:
        expected = client.predict(text=_TEXT).probabilities
        _send(server, client, HttpReport(count // 2, distinct, now, now), expected)
        now = footprint(server.pid)
        report = HttpReport(count, distinct, now, now)
        began_s = time.perf_counter()
        _send(server, client, report, expected)
        report.duration_s = time.perf_counter() - began_s
    report.after = footprint(server.pid)
    return report


def _send(
    server: TritonServer, client: Client, report: HttpReport, expected: dict[str, float]
) -> None:
    bodies = list(broken_bodies())
    for number in range(report.requests):
        what, body, headers = bodies[number % len(bodies)]
        status, answer = post(server.http_url, body, headers)
        report.statuses.setdefault(what, Counter())[status] += 1
        if not _is_admitted(status, answer) and len(report.unexpected) < 20:
            report.unexpected.append(f"{what}: {status}: {answer[:300]!r}")
        found = client.predict(text=_TEXT).probabilities
        report.valid_requests += 1
        report.wrong_after += any(abs(found[k] - expected[k]) > _TOLERANCE for k in expected)


def _is_admitted(status: int, answer: bytes) -> bool:
    """Triton's front end answers 500 where it is the JSON itself that it cannot use."""
    return status in (200, 400) or (status == 500 and b"pars" in answer)
