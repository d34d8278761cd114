from __future__ import annotations

import queue
import time

from hemogat.serving.deadlines import Deadlines


def test_what_is_taken_in_time_is_not_given_up() -> None:
    given_up: queue.Queue[str] = queue.Queue()
    deadlines = Deadlines(0.2, given_up.put)
    deadlines.start()
    for item in ("done", "late", "later"):
        deadlines.add(item)
    assert deadlines.take("done")
    assert [given_up.get(timeout=10) for _ in range(2)] == ["late", "later"]
    assert not deadlines.take("late")
    assert "late" not in deadlines
    deadlines.stop()
    assert given_up.empty()


def test_nothing_is_given_up_before_its_time() -> None:
    given_up_s: queue.Queue[float] = queue.Queue()
    deadlines = Deadlines(0.1, lambda _: given_up_s.put(time.monotonic()))
    deadlines.start()
    started_s = time.monotonic()
    deadlines.add("late")
    assert given_up_s.get(timeout=10) - started_s >= 0.1
    deadlines.stop()


def test_each_is_taken_once() -> None:
    deadlines: Deadlines[int] = Deadlines(60.0, lambda _: None)
    deadlines.add(1)
    assert deadlines.take(1)
    assert not deadlines.take(1)


def test_what_comes_too_late_is_given_up_then() -> None:
    given_up: list[str] = []
    deadlines = Deadlines(0.01, given_up.append)  # nobody watches
    deadlines.add("late")
    time.sleep(0.02)
    assert not deadlines.take("late")
    assert given_up == ["late"]


def test_one_that_cannot_be_given_up_keeps_none_of_the_others_waiting() -> None:
    given_up: queue.Queue[str] = queue.Queue()

    def give_up(item: str) -> None:
        if item == "gone":
            raise RuntimeError("its client is gone")
        given_up.put(item)

    deadlines = Deadlines(0.1, give_up)
    deadlines.start()
    for item in ("gone", "late"):
        deadlines.add(item)
    assert given_up.get(timeout=10) == "late"
    deadlines.stop()
