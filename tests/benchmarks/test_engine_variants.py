from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("engine_variants")


def test_forms_and_settings_take_turns(script: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    graph = tiny_bundle / "audio_encoder" / "onnx-fp32"
    for place in ("1-d/fp32", "exported/fp32", "exported/int8"):
        shutil.copytree(graph, tmp_path / place)
    rows = script.measure("audio_encoder", tmp_path, 1, 2)
    names = [row["variant"] for row in rows]
    assert names[:3] == ["1-d fp32", "exported fp32", "exported int8"]
    assert len(names) == len(set(names)) == 3 + 2 * len(script.SETTINGS)
    assert {row["n"] for row in rows} == {2}
    assert all(row["nodes"] > 50 and row["p50_ms"] > 0 for row in rows)


def test_the_committed_result_has_every_form(script: Any) -> None:
    (path,) = (SCRIPTS / "results").glob("engine-variants-base-*.json")
    found = {(row["graph"], row["variant"]) for row in json.loads(path.read_text())["variants"]}
    for form in ("1-d", "exported"):
        for kind in ("fp32", "int8", "openvino-fp32", "openvino-int8"):
            assert ("audio_encoder", f"{form} {kind}") in found
    for settings in script.SETTINGS:
        assert ("text_encoder", f"exported int8, {settings}") in found
