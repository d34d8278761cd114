from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemogat.benchmarks.engine_candidates import Candidate, engine_candidate
from hemogat.benchmarks.engine_latency import interleaved, summaries
from hemogat.benchmarks.engine_report import EngineSettings
from hemogat.benchmarks.peak_memory import peak_memory_mib
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays

FEW = EngineSettings(rounds=3, limit_s=0, warm_up_rounds=1)


def test_candidates_take_turns_and_pass_embeddings_on() -> None:
    calls: list[str] = []

    def candidate(name: str) -> Candidate:
        def embed(graph: str, output: str) -> Arrays:
            calls.append(f"{name} {graph}")
            return {output: np.full((1, 768), 7.0, np.float32)}

        def fuse(feeds: Arrays) -> Arrays:
            calls.append(f"{name} fusion")
            assert (feeds["audio_embedding"] == 7.0).all()
            assert (feeds["text_embedding"] == 7.0).all()
            return {}

        return Candidate(
            name,
            {
                "audio_encoder": lambda feeds: embed("audio", "audio_embedding"),
                "text_encoder": lambda feeds: embed("text", "text_embedding"),
                "fusion": fuse,
            },
        )

    found = interleaved([candidate("a"), candidate("b")], FEW, Progress())
    each = [f"{name} {graph}" for name in "ab" for graph in ("audio", "text", "fusion")]
    assert calls == each * 4
    for latencies in map(summaries, found):
        assert set(latencies) == {"audio_encoder", "text_encoder", "fusion", "end_to_end"}
        assert {summary.n for summary in latencies.values()} == {3}


def test_an_engine_is_opened_sized_and_weighed(tiny_bundle: Path) -> None:
    path = Bundle.open(tiny_bundle).graph_path("text_encoder", "onnx", "fp32")
    feeds = {
        "input_ids": np.ones((1, 16), np.int64),
        "attention_mask": np.ones((1, 16), np.int64),
    }
    candidate = engine_candidate("onnx", "fp32", {"text_encoder": path}, threads=1)
    assert candidate.name == "ONNX Runtime fp32"
    assert candidate.runs["text_encoder"](feeds)["text_embedding"].shape == (1, 16)
    files = sum(file.stat().st_size for file in path.parent.iterdir())
    assert candidate.size_mib == pytest.approx(files / 2**20)
    peak = peak_memory_mib("onnx", {"text_encoder": path}, {"text_encoder": feeds})
    assert peak is None or 20 < peak < 2000


def test_the_interval_is_of_rounds_in_their_order() -> None:
    turning = summaries({"fusion": [1.0, 3.0] * 20})["fusion"]
    drifting = summaries({"fusion": [1.0] * 20 + [3.0] * 20})["fusion"]
    assert turning.p50_ms == drifting.p50_ms == 2
    assert turning.n == 40
