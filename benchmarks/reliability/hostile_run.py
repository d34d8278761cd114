"""Hostile requests against a real server, with a valid one after each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.serving.server import TritonServer
from reliability.hostile_audio import valid
from reliability.hostile_requests import Hostile, hostile_requests
from reliability.infer import Answer, Wire, utterance
from reliability.server_tree import Footprint, footprint

TOLERANCE = 1e-6  # a batch of another size may add up in another order
ADMITTED = frozenset({"OK", "INVALID_ARGUMENT"})


@dataclass
class Outcome:
    """What came of a run; ``unexpected``: the first few answers that should not have been."""

    requests: int = 0
    valid_requests: int = 0
    statuses: dict[str, Counter[str]] = field(default_factory=dict)  # by kind
    unexpected: list[str] = field(default_factory=list)
    wrong_after: int = 0
    duration_s: float = 0.0
    slowest_s: float = 0.0
    slowest_kind: str = ""
    slowest_valid_s: float = 0.0  # of those who did nothing wrong, while others did

    def count(self, hostile: Hostile, answer: Answer, took_s: float) -> None:
        """Take in the answer to one hostile request."""
        self.requests += 1
        self.statuses.setdefault(hostile.kind, Counter())[answer.status] += 1
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest_kind = took_s, hostile.kind
        if answer.status not in ADMITTED:
            self._note(f"{hostile.kind}: {answer.status}: {answer.message:.300}")
        elif answer.probabilities is not None and not _are_probabilities(answer.probabilities):
            self._note(f"{hostile.kind}: probabilities {answer.probabilities.tolist()}")

    def count_valid(self, took_s: float) -> None:
        """Take in the answer to a valid request."""
        self.valid_requests += 1
        self.slowest_valid_s = max(self.slowest_valid_s, took_s)

    def _note(self, what: str) -> None:
        if len(self.unexpected) < 20:
            self.unexpected.append(what)


@dataclass(frozen=True)
class HostileReport:
    """A run, and what the server held before it (warm) and after it."""

    outcome: Outcome
    before: Footprint
    after: Footprint

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **vars(self.outcome),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "growth": self.before.growth_to(self.after),
        }


def run_hostile(
    server: TritonServer,
    count: int,
    *,
    seed: int = 0,
    workers: int = 2,
    valid_every: int = 1,
    settle_s: float = 0.0,
) -> HostileReport:
    """Send ``count`` hostile requests, and a valid one after every ``valid_every`` of them.

    Before it counts, half as many of another seed warm the server up. ``settle_s``: how long to
    wait before its memory is looked at, for streams that nobody ended to expire.
    """
    assert server.pid is not None
    with Wire(server.grpc_url) as wire:
        question = utterance(valid()["wav"], b"stop that right now")
        expected = wire.ask(question)
        if expected.probabilities is None:
            raise AssertionError(f"a valid request was answered with {expected}")

        def work(share: Sequence[Hostile], outcome: Outcome) -> None:
            for number, hostile in enumerate(share, start=1):
                began_s = time.perf_counter()
                answer = wire.ask(hostile.message)
                outcome.count(hostile, answer, time.perf_counter() - began_s)
                if number % valid_every == 0:
                    began_s = time.perf_counter()
                    outcome.wrong_after += not _same(wire.ask(question), expected.probabilities)
                    outcome.count_valid(time.perf_counter() - began_s)

        def run(count: int, seed: int) -> Outcome:
            outcome = Outcome()
            source = hostile_requests(seed)
            began_s = time.perf_counter()
            with ThreadPoolExecutor(workers) as pool:
                shares = [list(islice(source, count // workers)) for _ in range(workers)]
                for done in [pool.submit(work, share, outcome) for share in shares]:
                    done.result()
            outcome.duration_s = time.perf_counter() - began_s
            return outcome

        run(count // 2, seed + 1)
        time.sleep(settle_s)
        before = footprint(server.pid)
        outcome = run(count, seed)
        time.sleep(settle_s)
        return HostileReport(outcome, before, footprint(server.pid))


def _same(answer: Answer, expected: NDArray[np.float32]) -> bool:
    found = answer.probabilities
    return found is not None and bool(np.abs(found - expected).max() <= TOLERANCE)


def _are_probabilities(values: NDArray[np.float32]) -> bool:
    """Say whether each row sums to 1, or is all zeros, as a stream is before its first window."""
    sums = values.sum(axis=-1)
    return bool(
        np.isfinite(values).all()
        and (values >= 0).all()
        and (np.isclose(sums, 1, atol=1e-5) | (sums == 0)).all()
    )
