from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hemogat.benchmarks.bundle_latency import measure_bundle
from hemogat.benchmarks.latency import STAGES, Clip, Latencies, LatencySettings, Stage
from hemogat.benchmarks.latency_report import LatencyReport
from hemogat.errors import InputError

FEW = LatencySettings(utterances=6, warm_up_rounds=1)


def counts(latencies: Latencies) -> dict[Stage, int]:
    return {stage: summary.n for stage, summary in latencies.items()}


def test_a_bundle_is_measured_in_process_and_through_triton(tiny_bundle: Path) -> None:
    report = measure_bundle(tiny_bundle, settings=FEW)
    assert report.bundle == "tiny"
    assert report.workload.clips == 4
    assert report.workload.bank_rows == 24
    assert counts(report.in_process) == dict.fromkeys(STAGES, 6)
    assert report.triton is not None
    assert report.triton_missing is None
    assert report.triton.version[0].isdigit()
    models: tuple[Stage, ...] = ("audio_encoder", "text_encoder", "fusion")
    for stages in report.triton.stages.values():
        assert counts(stages) == dict.fromkeys((*models, "end_to_end"), 6)
        whole_ms = stages["end_to_end"].mean_ms
        assert all(0 < stages[model].mean_ms < whole_ms for model in models)
    assert report.triton.stages.keys() == {"grpc", "http"}
    assert LatencyReport.model_validate_json(report.to_json()) == report


def test_without_a_tritonserver_the_report_says_so(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pytriton", None)
    report = measure_bundle(tiny_bundle, settings=FEW)
    assert report.triton is None
    assert "tritonserver is neither on PATH" in (report.triton_missing or "")
    assert report.in_process["end_to_end"].n == 6


def test_clips_handed_in_are_what_is_measured(tiny_bundle: Path, tiny_clips: Path) -> None:
    clips = [Clip(tiny_clips / "sad-00.wav", None)]
    report = measure_bundle(tiny_bundle, clips=clips, settings=FEW, triton=False)
    assert report.workload.clips == 1
    assert report.workload.tokens is None
    assert "text_encoder" not in report.in_process
    assert report.triton is None
    assert report.triton_missing is None


def test_no_clips_handed_in_are_not_the_golden_ones(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        measure_bundle(tiny_bundle, clips=[], settings=FEW, triton=False)
