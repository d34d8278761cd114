from __future__ import annotations

import heapq

import numpy as np
import pytest

from hemogat.serving.admission import Admission


class Clock:
    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


def simulate(admission: Admission, clock: Clock, gap_s: float, service_s: float) -> list[float]:
    """Offer 2000 requests to one worker; return how long the admitted ones took, in order."""
    random = np.random.default_rng(0)
    answers: list[float] = []  # times of answers to come
    free_s, took_s = 0.0, []
    for arrival_s in np.cumsum(random.exponential(gap_s, 2000)):
        while answers and answers[0] <= arrival_s:
            clock.time_s = heapq.heappop(answers)
            admission.leave()
        clock.time_s = float(arrival_s)
        if admission.enter() is None:
            free_s = max(free_s, clock.time_s) + service_s
            heapq.heappush(answers, free_s)
            took_s.append(free_s - clock.time_s)
    return took_s


@pytest.mark.parametrize("service_s", [0.02, 0.2])
def test_under_overload_what_is_let_in_waits_no_longer_than_allowed(service_s: float) -> None:
    clock = Clock()
    admission = Admission(4, 256, 1.0, clock)
    took_s = simulate(admission, clock, gap_s=service_s / 1.5, service_s=service_s)
    assert len(took_s) > 0.95 * 2000 / 1.5  # the worker is hardly ever idle
    # The wait for a slot, and the work of those that hold one.
    assert max(took_s[100:]) < 1.0 + 5 * service_s + 0.2
    first, last = took_s[300:800], took_s[-500:]
    assert np.median(last) == pytest.approx(np.median(first), rel=0.15)


def test_below_capacity_nobody_is_refused() -> None:
    clock = Clock()
    took_s = simulate(Admission(4, 256, 1.0, clock), clock, gap_s=0.04, service_s=0.02)
    assert len(took_s) == 2000


def test_those_that_can_be_worked_on_are_let_in_however_slow() -> None:
    clock = Clock()
    admission = Admission(2, 8, 1.0, clock)
    assert admission.enter() is None
    clock.time_s = 100.0
    admission.leave()
    assert [admission.enter() for _ in range(2)] == [None, None]
    assert admission.enter() == "overloaded: it would wait for about 100.0 s"


def test_the_number_of_waiting_ones_is_limited_too() -> None:
    admission = Admission(1, 2, 1.0, Clock())
    assert [admission.enter() for _ in range(3)] == [None] * 3
    assert admission.enter() == "overloaded: 2 requests are waiting"
    admission.leave()
    assert admission.enter() is None


def test_idle_time_is_not_taken_for_work() -> None:
    clock = Clock()
    admission = Admission(1, 8, 1.0, clock)
    for _ in range(20):
        assert admission.enter() is None
        clock.time_s += 0.1
        admission.leave()
        clock.time_s += 60.0
    assert [admission.enter() for _ in range(11)].count(None) == 9  # 1 in flight, 8 waiting
