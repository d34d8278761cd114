from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.benchmarks.engine_report import (
    BankLatency,
    EngineLatency,
    EngineReport,
    EngineSettings,
    TransductiveLatency,
    engine_figures,
    engine_notes,
    write_engine_report,
)
from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.statistics import summarise


def engine(name: str, *, fusion_ms: float, whole_ms: float) -> EngineLatency:
    is_torch = name.startswith("torch")
    return EngineLatency(
        name=name,
        tokens=16,
        stages={"fusion": summarise([fusion_ms]), "end_to_end": summarise([whole_ms])},
        size_mib=None if is_torch else 900.0,
        peak_memory_mib=None if is_torch else 1200.4,
    )


@pytest.fixture
def report() -> EngineReport:
    settings = EngineSettings(rounds=1)
    engines = (
        engine("torch eager fp32, 16 tokens", fusion_ms=8, whole_ms=200),
        engine("torch eager fp32, padded to 128", fusion_ms=8, whole_ms=320),
        engine("ONNX Runtime fp32", fusion_ms=4, whole_ms=100),
        engine("OpenVINO int8", fusion_ms=2, whole_ms=40),
    )
    skipped = {"openvino-bf16": "this CPU does not have it"}
    larger_banks = (BankLatency(rows=44_070, fusion=engine("X", fusion_ms=6, whole_ms=6)),)
    transductive = TransductiveLatency(
        nodes=4408,
        authors_graph=summarise([6000.0]),
        authors_forward=summarise([2000.0]),
        authors_total=summarise([8000.0]),
        ours_total=summarise([1000.0]),
    )
    return EngineReport(
        created_utc="2026-11-01T12:00:00+00:00",
        environment=Environment(
            cpu="AMD EPYC",
            cores=2,
            cpu_flags=("avx2",),
            memory_gib=7.8,
            os="Linux",
            versions={"python": "3.11.7"},
            git_commit=None,
        ),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(1.5, 0.2, 0.3),
        settings=settings,
        notes=engine_notes(settings, 99.0, engines, skipped, transductive),
        export_s=99.0,
        engines=engines,
        skipped=skipped,
        larger_banks=larger_banks,
        transductive=transductive,
        figures=engine_figures(settings, engines, larger_banks, transductive),
    )


def test_it_survives_json(report: EngineReport) -> None:
    assert EngineReport.model_validate_json(report.to_json()) == report


def test_every_engine_is_compared_with_torch_and_plain_onnx_runtime(report: EngineReport) -> None:
    assert report.ratio_columns()[2:5] == (
        "times faster than torch eager fp32, 16 tokens",
        "times faster than torch eager fp32, padded to 128",
        "times faster than ONNX Runtime fp32",
    )
    rows = {row[0]: row[1:] for row in report.ratio_rows()}
    assert rows["OpenVINO int8"] == ("40.0", "5.00", "8.00", "2.50", "900", "1200")
    assert rows["torch eager fp32, 16 tokens"] == ("200.0", "1.00", "1.60", "0.50", "", "")


def test_what_it_depends_on_is_told(report: EngineReport) -> None:
    text = report.to_markdown()
    for fact in (
        "not measured: openvino-bf16: this CPU does not have it",
        "the authors' way takes 4000 times as long as the fastest fusion graph here",
        "our transductive path 500 times",
        "| X, 44070 bank rows | fusion | 6.00 |",
        "| authors' way, graph | 4408 nodes | 6000.00 |",
    ):
        assert fact in text


def test_the_file_name_has_the_conditions(report: EngineReport, tmp_path: Path) -> None:
    path = write_engine_report(report, tmp_path)
    assert path.name == "engines-base-amd-epyc-2c.json"
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".md"}


def test_every_result_is_a_figure_of_its_own(report: EngineReport) -> None:
    by_key = {figure.key: figure.value for figure in report.figures}
    assert len(by_key) == len(report.figures)
    name = "OpenVINO int8"
    assert by_key[(name, "p50", "ms", "bank_rows=4407", "component=fusion")] == 2
    whole = ("bank_rows=4407", "component=end_to_end", "tokens=16")
    assert by_key[(name, "p50", "ms", *whole)] == 40
    assert by_key[(name, "size", "MiB")] == 900
    assert by_key[("X", "p50", "ms", "bank_rows=44070", "component=fusion")] == 6
