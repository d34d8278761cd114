"""The script that compares the speed of training, at tiny size."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hemogat.config import HeadConfig

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    found = importlib.import_module("training_speed")
    monkeypatch.setattr(found, "HEAD", HeadConfig(hidden=16, heads=2))
    monkeypatch.setattr(found, "DIM", 8)
    monkeypatch.setattr(found, "CLUSTERS", 4)
    return found


@pytest.mark.parametrize("side", ["hemogat", "torch_geometric", "torch_geometric_kept"])
def test_a_side_waits_for_its_turn_and_tells_how_long_an_epoch_took(
    script: ModuleType, side: str
) -> None:
    order: list[str] = []
    told: list[dict[str, Any]] = []

    def tell(found: dict[str, Any]) -> None:
        order.append(next(iter(found)))
        told.append(found)

    script.work(side, 60, 20, 3, lambda: order.append("go"), tell)
    assert order == ["ready", "go", *["epoch_wall_s", "go"] * 3, "step_wall_s"]
    assert all(found["epoch_cpu_s"] > 0 for found in told[1:4])
    assert len(told[-1]["step_wall_s"]) == 2
    if side == "hemogat":
        assert told[-1]["max_logits_difference"] < 1e-4


def test_the_ratio_is_taken_round_by_round(script: ModuleType) -> None:
    def seconds(wall_s: float) -> dict[str, float]:
        return {"epoch_wall_s": wall_s, "epoch_cpu_s": 2 * wall_s}

    rounds = [
        {"hemogat": seconds(slow), "torch_geometric": seconds(ratio * slow)}
        for slow, ratio in ((1.0, 3.0), (4.0, 3.2), (2.0, 3.1))  # other work slows both
    ]
    ends = {"hemogat": {"step_wall_s": [1.0]}, "torch_geometric": {"step_wall_s": [3.5]}}
    found = script.summarise(rounds, ends)
    ratio = found["times_as_fast_as"]["torch_geometric"]["epoch_wall_s"]
    assert ratio["mean"] == pytest.approx(3.1)
    assert ratio["values"] == pytest.approx((3.0, 3.2, 3.1))
    assert ratio["high"] - ratio["mean"] == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert found["steps_times_as_fast_as"] == {"torch_geometric": 3.5}
