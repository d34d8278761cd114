from __future__ import annotations

import numpy as np

from hemogat.export.speed import _interval, _taking_turns, load_per_core


def test_engine_and_torch_take_turns() -> None:
    asked: list[tuple[str, int]] = []
    found = _taking_turns(
        *("fusion", 7),
        here=lambda n: asked.append(("here", n)),
        there=lambda n: asked.append(("there", n)),
    )
    assert found.rounds is not None
    assert found.rounds >= 12
    measured = asked[-2 * found.rounds :]
    for number in range(found.rounds):
        turn = measured[2 * number : 2 * number + 2]
        assert {who for who, _ in turn} == {"here", "there"}
        assert {n for _, n in turn} == {number % 7}
    firsts = [who for who, _ in measured[::2]]
    assert abs(firsts.count("here") - firsts.count("there")) <= 1
    assert found.interval_ms is not None
    assert found.interval_ms[0] <= found.p50_ms <= found.interval_ms[1]


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = [
        low <= 0 <= high
        for low, high in (_interval(np.sort(random.normal(size=60))) for _ in range(2000))
    ]
    assert 0.94 <= np.mean(held) <= 0.98
    assert load_per_core() >= 0
