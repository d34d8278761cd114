from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose

from hemogat.benchmarks.outside_candidates import outside_entries
from hemogat.benchmarks.random_heads import build_head_of
from hemogat.benchmarks.runners import GatherRunner
from hemogat.benchmarks.targets import Case, GatherTarget, HeadShape
from hemogat.config import GraphConfig, HeadConfig
from hemogat.export.onnx_graphs import export_fusion
from hemogat.runtime.bundle import Dims
from hemogat.runtime.onnx_session import OnnxSession


def test_a_bank_outside_the_graph_answers_as_the_one_inside(tmp_path: Path) -> None:
    dims = Dims(audio=16, text=16)
    shape = HeadShape(dims=dims, head=HeadConfig(hidden=16, heads=2), bank_rows=40)
    head, bank = build_head_of(shape)
    fusion = export_fusion(head, bank, GraphConfig(), tmp_path / "fusion", 20)

    random = np.random.default_rng(0)
    feeds = {
        "audio_embedding": random.standard_normal((1, 16), np.float32),
        "text_embedding": random.standard_normal((1, 16), np.float32),
        "present": np.ones((1, 2), np.bool_),
    }
    expected = OnnxSession(str(fusion)).run(feeds)["probabilities"]
    exact, compressed = outside_entries(head, bank, shape, fusion, tmp_path)
    for entry, tolerance in ((exact, 1e-5), (compressed, 0.02)):
        assert isinstance(entry.target, GatherTarget)
        runner = GatherRunner(entry.target, 1, "cpu")
        assert_allclose(runner.answer(feeds)["probabilities"], expected, atol=tolerance)
        runner.prepare(Case(component="fusion"))()
        assert runner.opened.size_mib
    assert exact.name != compressed.name
