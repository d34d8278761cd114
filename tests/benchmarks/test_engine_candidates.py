from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hemogat.benchmarks.base_models import sample_feeds, write_encoder
from hemogat.benchmarks.engine_candidates import _ENGINES, engine_entries, write_engines
from hemogat.benchmarks.engine_report import EngineSettings
from hemogat.contract import Engine
from hemogat.errors import IncompleteError
from hemogat.model.encoders import AudioEncoder
from hemogat.progress import Progress
from hemogat.runtime.sessions import open_graph
from hemogat.training.run_directory import RunDirectory


def test_an_encoder_is_written_for_every_engine_and_precision(
    tiny_run: Path, tmp_path: Path
) -> None:
    encoder = RunDirectory.open(tiny_run).audio_encoder()
    assert isinstance(encoder, AudioEncoder)
    onnx = write_encoder(encoder, tmp_path / "onnx-fp32" / "audio_encoder")
    written = {"onnx-fp32": onnx} | write_engines("audio_encoder", onnx, tmp_path, 2)
    assert written.keys() == set(_ENGINES)
    feeds = sample_feeds()["audio_encoder"]
    expected = open_graph(str(onnx), "onnx", threads=1, device="cpu").run(feeds)["audio_embedding"]
    for name, path in written.items():
        assert path.parent == tmp_path / name / "audio_encoder"
        engine: Engine = "onnx" if name.startswith("onnx") else "openvino"
        if "bf16" in name:
            continue  # not every processor runs it
        found = open_graph(str(path), engine, threads=1, device="cpu").run(feeds)
        cosine = np.vdot(found["audio_embedding"], expected)
        cosine /= np.linalg.norm(found["audio_embedding"]) * np.linalg.norm(expected)
        assert cosine > (0.9 if "int8" in name else 1 - 1e-6)


def test_what_the_preset_needs_is_missed_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(IncompleteError, match="nncf"):
        engine_entries(EngineSettings(), tmp_path, Progress())
    assert not any(tmp_path.iterdir())
