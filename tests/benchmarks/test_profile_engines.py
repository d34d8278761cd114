from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("profile_engines")


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "macs"),
    [
        ("Conv", [[1, 4, 1, 20], [6, 2, 1, 3]], [1, 6, 1, 18], 6 * 18 * 2 * 3),  # 2 groups
        ("MatMul", [[1, 49, 768]], [1, 49, 3072], 49 * 768 * 3072),  # weights packed away
        ("FullyConnected", [[2, 8], [5, 8]], [2, 5], 80),
        ("Softmax", [[2, 8]], [2, 8], 0),
    ],
)
def test_multiply_accumulates(
    script: Any, kind: str, inputs: list[list[int]], output: list[int], macs: int
) -> None:
    assert script.count_macs(kind, inputs, output) == macs


@pytest.mark.parametrize(("engine", "convolution"), [("onnx", "Conv"), ("openvino", "Convolution")])
def test_a_graph_is_profiled(
    engine: str, convolution: str, script: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    from hemogat.benchmarks.base_models import sample_feeds
    from hemogat.export.openvino_ir import convert

    path = tiny_bundle / "audio_encoder" / "onnx-fp32" / "model.onnx"
    if engine == "openvino":
        path = convert(path, tmp_path, "fp32")
    profile = {"onnx": script.profile_onnx, "openvino": script.profile_openvino}[engine]
    nodes = profile(str(path), sample_feeds()["audio_encoder"], 1, 2)
    rows = script.by_kind(nodes)
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.01)
    (found, *_) = [row for row in rows if row["kind"].startswith(convolution)]
    # The widest layers: 8 channels to 8, 3 taps, over 1599, 799, 399 and 199 frames.
    assert found["gmacs"] >= round(8 * 8 * 3 * (1599 + 799 + 399 + 199) / 1e9, 4)
    assert found["gmac_per_s"] > 0
    assert "| kind | nodes |" in script.table(
        {"graph": "audio_encoder", "target": engine, "kinds": rows}
    )


def test_the_committed_profile_is_of_this_schema(script: Any) -> None:
    (path,) = (SCRIPTS / "results").glob("profile-base-*.json")
    profiles = json.loads(path.read_text())["profiles"]
    graphs = {profile["graph"] for profile in profiles}
    assert graphs == {"audio_encoder", "text_encoder", "fusion"}
    for profile in profiles:
        assert script.table(profile).count("\n") == len(profile["kinds"]) + 4
