from __future__ import annotations

import json
from pathlib import Path

import pytest

from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.report_comparison import compare
from hemogat.errors import InputError

# Reports as version 1 had them; that of load is a published one, cut down.
OLD = Path(__file__).with_name("reports_v1")


def test_a_load_report_is_read() -> None:
    found = read_report(OLD / "load.json")
    raw = json.loads((OLD / "load.json").read_text())
    assert found.kind == "load"
    assert found.title == "demo under load, onnx-fp32"
    medians = {figure.key: figure.value for figure in found.figures}
    axes = ("load=open loop", "rate=50 % of capacity")
    (level,) = (level for level in raw["levels"] if level["kind"] == "open loop")
    assert medians[("Triton", "p50", "ms", *axes)] == level["latency"]["p50_ms"]
    assert found.other_cpu_share is None
    # It can be compared; without intervals by what is tolerated.
    changes = compare(found, found).changes
    judged = {change.judged_by for change in changes if change.before.metric != "errors"}
    assert judged == {"tolerance"}
    assert {change.verdict for change in changes} <= {"within tolerance", "within noise"}


def test_an_engine_report_is_read() -> None:
    found = read_report(OLD / "engines.json")
    assert found.kind == "engines"
    assert any(figure.metric == "size" for figure in found.figures)
    medians = {(f.target, f.axes["component"]) for f in found.figures if f.metric == "p50"}
    assert ("authors' way", "graph and forward") in medians


def test_a_latency_report_is_read() -> None:
    found = read_report(OLD / "latency.json")
    targets = {figure.target for figure in found.figures}
    assert targets == {"onnx-fp32, in process", "onnx-fp32, Triton gRPC"}


def test_what_lacks_a_field_is_refused(tmp_path: Path) -> None:
    raw = json.loads((OLD / "latency.json").read_text())
    del raw["workload"]
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="is no benchmark report: workload"):
        read_report(path)
    path.write_text('{"schema_version": 1, "accuracy": 1}')
    with pytest.raises(InputError, match="found none"):
        read_report(path)
