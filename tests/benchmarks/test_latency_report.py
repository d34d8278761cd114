from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.latency import Latencies, LatencySettings
from hemogat.benchmarks.latency_report import (
    LatencyReport,
    Spread,
    TritonLatency,
    Workload,
    latency_notes,
    stage_figures,
    write_report,
)
from hemogat.benchmarks.statistics import summarise


@pytest.fixture
def report() -> LatencyReport:
    settings = LatencySettings(utterances=2)
    workload = Workload(
        clips=1,
        windows=Spread(smallest=1, median=2.5, largest=4),
        tokens=None,
        bank_rows=24,
    )
    in_process: Latencies = {
        "fusion": summarise([1.0, 3.0]),
        "end_to_end": summarise([10.0, 20.0]),
    }
    triton = TritonLatency(
        version="2.51.0",
        stages={
            "grpc": {"end_to_end": summarise([11.0])},
            "http": {"end_to_end": summarise([12.0])},
        },
    )
    return LatencyReport(
        title="Latency of Demo/1, onnx-fp32",
        created_utc="2026-11-01T12:00:00+00:00",
        bundle="Demo/1",
        bundle_sha256="ab" * 32,
        environment=Environment(
            cpu="AMD EPYC(tm) 7B13",
            cores=2,
            cpu_flags=("avx2",),
            memory_gib=7.8,
            os="Debian GNU/Linux 12 (bookworm), Linux 6.1.0",
            versions={"python": "3.11.7", "onnxruntime": "1.32.0"},
            git_commit=None,
        ),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(1.5, 0.2, 0.3),
        settings=settings,
        workload=workload,
        notes=latency_notes(settings, workload, triton, None),
        in_process=in_process,
        triton=triton,
        triton_missing=None,
        figures=stage_figures(settings, in_process, triton),
    )


def without_triton(report: LatencyReport) -> LatencyReport:
    missing = "no tritonserver here"
    notes = latency_notes(report.settings, report.workload, None, missing)
    figures = stage_figures(report.settings, report.in_process, None)
    return report.model_copy(
        update={"triton": None, "triton_missing": missing, "notes": notes, "figures": figures}
    )


def test_it_survives_json(report: LatencyReport) -> None:
    for each in (report, without_triton(report)):
        assert LatencyReport.model_validate_json(each.to_json()) == each


def test_another_schema_version_is_refused(report: LatencyReport) -> None:
    text = report.to_json().replace('"schema_version": 2', '"schema_version": 1')
    with pytest.raises(ValidationError, match="schema_version"):
        LatencyReport.model_validate_json(text)


def test_the_table_has_every_place_and_stage(report: LatencyReport) -> None:
    lines = report.to_markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table == [
        "| where | stage | p50 ms | p90 ms | p95 ms | p99 ms | mean ms | n |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| in process | fusion | 2.00 | 2.80 | 2.90 | 2.98 | 2.00 | 2 |",
        "| in process | end_to_end | 15.00 | 19.00 | 19.50 | 19.90 | 15.00 | 2 |",
        "| Triton gRPC | end_to_end | 11.00 | 11.00 | 11.00 | 11.00 | 11.00 | 1 |",
        "| Triton HTTP | end_to_end | 12.00 | 12.00 | 12.00 | 12.00 | 12.00 | 1 |",
    ]


def test_the_conditions_are_told(report: LatencyReport) -> None:
    text = "\n".join(report.conditions())
    for fact in (
        "AMD EPYC(tm) 7B13, 2 cores (avx2), 7.8 GiB; Debian",
        "onnxruntime 1.32.0",
        "1 clips, 1 to 4 (median 2.5) windows of 1 s, no tokens; bank of 24 utterances",
        "0.1 before, 1.5 after",
        "Triton 2.51.0",
    ):
        assert fact in text
    assert "not measured" not in text


def test_what_kept_triton_out_is_told(report: LatencyReport) -> None:
    text = without_triton(report).to_markdown()
    assert "not measured through Triton: no tritonserver here" in text
    assert "Triton gRPC" not in text


def test_the_file_name_has_the_conditions(report: LatencyReport, tmp_path: Path) -> None:
    path = write_report(report, tmp_path / "results")
    assert path.name == "latency-demo-1-onnx-fp32-amd-epyc-tm-7b13-avx2-2c.json"
    assert LatencyReport.model_validate_json(path.read_bytes()) == report
    fewer = report.model_copy(update={"settings": LatencySettings(threads=1)})
    assert write_report(fewer, tmp_path / "results").name.endswith(
        "-fp32-1t-amd-epyc-tm-7b13-avx2-2c.json"
    )
    assert len(list((tmp_path / "results").iterdir())) == 4  # JSON and Markdown each


def test_the_same_conditions_replace_the_report(report: LatencyReport, tmp_path: Path) -> None:
    first = write_report(report, tmp_path)
    later = report.model_copy(update={"created_utc": "2026-11-02T12:00:00+00:00"})
    assert write_report(later, tmp_path) == first
    assert {path.name for path in tmp_path.iterdir()} == {first.name, first.with_suffix(".md").name}
    assert LatencyReport.model_validate_json(first.read_bytes()) == later


def test_every_result_is_a_figure_of_its_own(report: LatencyReport) -> None:
    medians = {f.key: f.value for f in report.figures if f.metric == "p50"}
    assert medians == {
        ("onnx-fp32, in process", "p50", "ms", "component=fusion"): 2.0,
        ("onnx-fp32, in process", "p50", "ms", "component=end_to_end"): 15.0,
        ("onnx-fp32, Triton gRPC", "p50", "ms", "component=end_to_end"): 11.0,
        ("onnx-fp32, Triton HTTP", "p50", "ms", "component=end_to_end"): 12.0,
    }
    assert len({figure.key for figure in report.figures}) == len(report.figures)
