from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hemogat.benchmarks.latency import STAGES, Clip, Latencies, LatencySettings, measure_pipeline
from hemogat.errors import InputError
from hemogat.runtime.pipeline import Pipeline

TEXT = "stop that right now"
FEW = LatencySettings(utterances=7, warm_up_rounds=1)


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.fixture(scope="module")
def clips(tiny_clips: Path) -> list[Clip]:
    return [Clip(path, TEXT) for path in sorted(tiny_clips.glob("angry-*.wav"))[:3]]


def counts(latencies: Latencies) -> dict[str, int]:
    return {stage: summary.n for stage, summary in latencies.items()}


def test_every_stage_is_measured_as_often_as_asked(pipeline: Pipeline, clips: list[Clip]) -> None:
    found = measure_pipeline(pipeline, clips, FEW)
    assert counts(found) == dict.fromkeys(STAGES, 7)
    assert all(0 < summary.p50_ms <= summary.p99_ms for summary in found.values())


def test_more_clips_than_utterances(pipeline: Pipeline, clips: list[Clip]) -> None:
    missing = Clip(Path("never-read.wav"), TEXT)
    settings = LatencySettings(utterances=3, warm_up_rounds=1)
    assert counts(measure_pipeline(pipeline, [*clips, missing], settings))["end_to_end"] == 3


def test_an_absent_modality_is_not_timed(pipeline: Pipeline, clips: list[Clip]) -> None:
    without_audio, without_text = Clip(None, TEXT), Clip(clips[0].audio, None)
    assert counts(measure_pipeline(pipeline, [without_audio], FEW)) == {
        "tokenise": 7, "text_encoder": 7, "fusion": 7, "end_to_end": 7,
    }  # fmt: skip
    assert counts(measure_pipeline(pipeline, [without_audio, without_text], FEW)) == {
        "decode": 3, "tokenise": 4, "audio_encoder": 3, "text_encoder": 4, "fusion": 7,
        "end_to_end": 7,
    }  # fmt: skip


def test_no_clips_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(InputError, match="no clips"):
        measure_pipeline(pipeline, [], FEW)


def test_a_clip_that_cannot_be_used_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(InputError, match=r"empty\.wav: is empty"):
        measure_pipeline(pipeline, [Clip(empty, TEXT)], FEW)


@pytest.mark.parametrize("module", ["bundle_latency", "accuracy"])
def test_measuring_a_bundle_loads_no_torch(module: str) -> None:
    code = (
        f"import sys, hemogat.benchmarks.{module}\n"
        "print([m for m in ('torch', 'transformers', 'torch_geometric') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
