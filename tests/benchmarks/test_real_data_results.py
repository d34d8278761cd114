"""What is written about real data is what the committed results show."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NAMES = ("meld-text", "emodb-speech")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("one_modality")


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def words(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", NAMES)
def test_the_differences_follow_from_the_figures(
    name: str, script: ModuleType, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(RESULTS / f"{name}.json", tmp_path))
    without = {key: value for key, value in stored(name).items() if key != "paired"}
    copy.write_text(json.dumps(without))
    table = script.recompute(copy)
    assert json.loads(copy.read_text()) == stored(name)
    assert table in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_a_difference_is_paired_by_seed() -> None:
    rows = {
        (row["head"], row["graph"]): row["figures"]["accuracy"]["values"]
        for row in stored("meld-text")["evaluation"]["plain_messages"]["rows"]
    }
    pairs = zip(rows["full", "inductive"], rows["full", "self_loop"], strict=True)
    found = stored("meld-text")["paired"]["bank minus self_loop"]["accuracy"]
    assert found["values"] == pytest.approx([a - b for a, b in pairs])
    assert found["low"] < found["mean"] < found["high"]


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def interval(found: dict[str, float]) -> str:
    return f"{points(found['low'])} to {points(found['high'])}"


def test_the_readme_says_no_more_than_the_intervals() -> None:
    meld = stored("meld-text")["paired"]
    graph, neighbours = meld["bank minus no_gnn"], meld["bank minus self_loop"]
    f1, accuracy = graph["weighted_f1"], graph["accuracy"]
    own_f1, own = neighbours["weighted_f1"], neighbours["accuracy"]
    readme = words(ROOT / "README.md")
    assert f"{points(f1['mean'])} weighted F1 (95 % interval {interval(f1)}), a gain" in readme
    assert f1["low"] > 0
    assert f"{points(accuracy['mean'])} accuracy ({interval(accuracy)}), neither" in readme
    assert accuracy["low"] < 0 < accuracy["high"]
    assert f"are {points(own['mean'])} accuracy ({interval(own)})" in readme
    assert own["low"] > 0
    shown = f"no gain in weighted F1 is shown ({points(own_f1['mean'])}, {interval(own_f1)})"
    assert shown in readme
    assert own_f1["low"] < 0 < own_f1["high"]
    for figures in stored("emodb-speech")["paired"].values():
        assert all(found["low"] < 0 < found["high"] for found in figures.values())
