"""Sending requests at a server: so many at a time, at given times, or as streams at speaking pace.

Latency counts from when a request was due, so that a sender that comes late does not hide a
server that is slow (coordinated omission). How late it came is kept too: on a busy machine the
sender itself may be what is slow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import HemogatError, InputError, UnavailableError
from hemogat.serving.async_client import AsyncClient

_TOO_LATE = "DEADLINE_EXCEEDED"

# Sends the n-th request and waits for its answer.
Send = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Sample:
    """One request: when it was due and sent (s from the start), how long until its answer.

    ``latency_ms`` counts from when it was due. ``error``: None, or the status that the server
    refused or failed it with.
    """

    due_s: float
    sent_s: float
    latency_ms: float
    error: str | None

    @property
    def lag_ms(self) -> float:
        """How late it was sent."""
        return 1e3 * (self.sent_s - self.due_s)

    @property
    def from_sent_ms(self) -> float:
        """How long its answer took from when it was sent."""
        return self.latency_ms - self.lag_ms


@dataclass(frozen=True)
class Run:
    """All requests of one run, and the seconds from its start to the last answer."""

    samples: tuple[Sample, ...]
    duration_s: float


async def closed_loop(send: Send, concurrency: int, duration_s: float) -> Run:
    """Keep ``concurrency`` requests under way: each answer brings the next request.

    None is sent after ``duration_s``; those under way are waited for.
    """
    clock, numbers = _Clock(), count()
    samples: list[Sample] = []

    async def caller() -> None:
        while (now_s := clock.now_s()) < duration_s:
            samples.append(await clock.time(send(next(numbers)), now_s))

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return Run(tuple(samples), clock.now_s())


async def open_loop(send: Send, arrivals_s: Sequence[float] | NDArray[np.float64]) -> Run:
    """Send a request at each of these times, whatever has become of the ones before."""
    clock = _Clock()

    async def arrive(number: int, due_s: float) -> Sample:
        await clock.sleep_until(due_s)
        return await clock.time(send(number), due_s)

    arrivals = (arrive(number, float(due_s)) for number, due_s in enumerate(arrivals_s))
    samples = await asyncio.gather(*arrivals)
    return Run(tuple(samples), clock.now_s())


async def play_streams(
    client: AsyncClient,
    samples: NDArray[np.float32],
    streams: int,
    chunk_ms: int,
    text: str | None = None,
) -> Run:
    """Play ``samples`` (16 kHz, [n]) as that many streams at once, at the pace of speech.

    The streams start spread over the first second, as their windows are due once a second. An
    error ends its stream.
    """
    clock = _Clock()
    size = contract.SAMPLE_RATE_HZ * chunk_ms // 1000
    found: list[Sample] = []

    async def play(start_s: float) -> None:
        async with client.stream(contract.SAMPLE_RATE_HZ, text) as stream:
            for number, at in enumerate(range(0, len(samples), size)):
                # A chunk can be sent once it has been spoken.
                due_s = start_s + (number + 1) * chunk_ms / 1000
                await clock.sleep_until(due_s)
                found.append(await clock.time(stream.send(samples[at : at + size]), due_s))
                if found[-1].error is not None:
                    return
            found.append(await clock.time(stream.finish(), due_s))

    await asyncio.gather(*(play(number / streams) for number in range(streams)))
    return Run(tuple(found), clock.now_s())


class _Clock:
    """Seconds from the start of a run."""

    def __init__(self) -> None:
        self._start_s = time.perf_counter()

    def now_s(self) -> float:
        return time.perf_counter() - self._start_s

    async def sleep_until(self, due_s: float) -> None:
        await asyncio.sleep(max(0.0, due_s - self.now_s()))

    async def time(self, request: Awaitable[object], due_s: float) -> Sample:
        error, sent_s = None, max(due_s, self.now_s())
        try:
            await request
        except HemogatError as failure:
            error = _status(failure)
        return Sample(due_s, sent_s, 1e3 * (self.now_s() - due_s), error)


def _status(error: HemogatError) -> str:
    if isinstance(error.__cause__, TimeoutError):  # over HTTP, as gRPC calls it
        return _TOO_LATE
    status = getattr(error.__cause__, "status", None)  # of tritonclient's exception
    told = str(status()).removeprefix("StatusCode.") if callable(status) else "UNKNOWN"
    if isinstance(error, UnavailableError) and told != _TOO_LATE:
        return "UNAVAILABLE"
    return "INVALID_ARGUMENT" if isinstance(error, InputError) else told
