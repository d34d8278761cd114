from __future__ import annotations

import asyncio
import time

import pytest
from tritonclient.utils import InferenceServerException

from hemogat.benchmarks.load_drivers import closed_loop, open_loop
from hemogat.errors import HemogatError, InputError, ServerError, UnavailableError


class Server:
    """Answers after ``service_s``, one request at a time; remembers how many were there."""

    def __init__(self, service_s: float = 0.002) -> None:
        self.service_s = service_s
        self.under_way = 0
        self.most = 0
        self.numbers: list[int] = []
        self.lock = asyncio.Lock()

    async def send(self, number: int) -> None:
        self.numbers.append(number)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        async with self.lock:
            await asyncio.sleep(self.service_s)
        self.under_way -= 1


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_closed_loop_keeps_so_many_under_way(concurrency: int) -> None:
    async def run() -> None:
        server = Server()
        found = await closed_loop(server.send, concurrency, 0.05)
        assert server.most == concurrency
        assert server.under_way == 0
        assert server.numbers == list(range(len(found.samples)))
        assert found.duration_s >= 0.05
        assert all(s.error is None and s.latency_ms > 0 for s in found.samples)

    asyncio.run(run())


def test_an_open_loop_does_not_wait_for_answers() -> None:
    async def run() -> None:
        server = Server(service_s=0.03)
        found = await open_loop(server.send, [0.0, 0.001, 0.002, 0.003])
        assert server.most == 4
        # The last one's wait counts from when it was due, the queue included.
        assert found.samples[-1].latency_ms >= 4 * 30 - 3
        assert [s.due_s for s in found.samples] == [0.0, 0.001, 0.002, 0.003]

    asyncio.run(run())


def test_a_sender_that_comes_late_does_not_shorten_latencies() -> None:
    async def run() -> None:
        async def blocking(number: int) -> None:
            if number == 0:
                asyncio.get_running_loop().call_soon(time.sleep, 0.05)
            await asyncio.sleep(0)

        found = await open_loop(blocking, [0.0, 0.01])
        late = found.samples[1]
        assert late.latency_ms >= 40
        # ... and what it took from when it was sent is told too.
        assert late.lag_ms >= 39
        assert late.from_sent_ms == pytest.approx(late.latency_ms - late.lag_ms)
        assert found.samples[0].lag_ms < late.lag_ms

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnavailableError("overloaded"), "UNAVAILABLE"),
        (InputError("no audio"), "INVALID_ARGUMENT"),
        (ServerError("broke"), "UNKNOWN"),
    ],
)
def test_refusals_are_counted_by_status(error: HemogatError, status: str) -> None:
    async def refuse(number: int) -> None:
        raise error

    found = asyncio.run(open_loop(refuse, [0.0, 0.0]))
    assert [s.error for s in found.samples] == [status, status]


@pytest.mark.parametrize(
    "cause",
    [
        InferenceServerException("late", status="StatusCode.DEADLINE_EXCEEDED"),  # over gRPC
        TimeoutError(),  # over HTTP
    ],
)
def test_what_came_too_late_is_counted_as_such(cause: Exception) -> None:
    async def refuse(number: int) -> None:
        raise UnavailableError("late") from cause

    found = asyncio.run(open_loop(refuse, [0.0]))
    assert [s.error for s in found.samples] == ["DEADLINE_EXCEEDED"]


def test_other_errors_are_not_swallowed() -> None:
    async def fail(number: int) -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        asyncio.run(closed_loop(fail, 1, 0.1))
