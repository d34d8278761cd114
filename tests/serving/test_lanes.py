from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from hemogat.serving.lanes import Lanes


@settings(max_examples=20, deadline=None)
@given(jobs=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30))
def test_a_lanes_jobs_run_in_order_and_never_together(jobs: list[tuple[int, bool]]) -> None:
    began: dict[int, list[int]] = {lane: [] for lane, _ in jobs}
    at_work: set[int] = set()
    together = []

    def job(lane: int, number: int, fails: bool) -> None:
        together.append(lane in at_work)
        at_work.add(lane)
        began[lane].append(number)
        time.sleep(0.0005)
        at_work.remove(lane)
        if fails:
            raise ValueError(number)

    with ThreadPoolExecutor(4) as executor:
        lanes = Lanes(executor)
        left = threading.Barrier(len(began) + 1)
        for number, (lane, fails) in enumerate(jobs):
            lanes.submit(lane, lambda lane=lane, n=number, f=fails: job(lane, n, f))  # type: ignore[misc]
        for lane in began:  # an executor that shuts down takes no following job
            lanes.submit(lane, lambda: left.wait(10) and None)
        left.wait(10)
    assert not any(together)
    for lane, numbers in began.items():
        assert numbers == [n for n, (of, _) in enumerate(jobs) if of == lane]


def test_lanes_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as executor:
        lanes = Lanes(executor)
        met: list[int] = []
        for lane in ("a", "b"):
            lanes.submit(lane, lambda: met.append(meeting.wait(10)))
    assert sorted(met) == [0, 1]
