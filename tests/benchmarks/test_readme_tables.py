"""README's marked tables are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import readme_tables

from hemogat.errors import InputError


def test_the_readme_is_current() -> None:
    text = readme_tables.README.read_text(encoding="utf-8")
    assert readme_tables.render(text) == text, "run: make bench-readme"
    marks = re.findall(r"<!-- bench:([a-z-]+) -->", text)
    assert marks
    assert text.count("<!-- /bench -->") == len(marks)


def figure(target: str, metric: str, value: float, **axes: str | int) -> dict[str, Any]:
    low, high = 0.99 * value, 1.01 * value
    return {
        "target": target, "metric": metric, "value": value, "low": low, "high": high, "axes": axes
    }  # fmt: skip


def timed(target: str, scale: float) -> list[dict[str, Any]]:
    """Both encoders: 100 and 40 ms at scale 1, 150 ms with 128 tokens."""
    return [
        figure(target, "p50", 100 * scale, component="audio_encoder"),
        figure(target, "p50", 40 * scale, component="text_encoder", tokens=16),
        figure(target, "p50", 150 * scale, component="text_encoder", tokens=128),
        figure(target, "size", 700.4),
        figure(target, "peak_memory", 1500.2, gnn="gat"),
    ]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with what the tables read, of round numbers."""
    environment = {"cpu": "Some CPU", "cores": 2}
    peers = [
        *timed("transformers eager", 1),
        *timed("hemogat onnx-fp32", 0.5),
        figure("hemogat onnx-fp32", "p50", 3.5, component="fusion"),
        figure("authors' way", "p50", 5000, component="fusion", bank_rows=4407),
        figure("authors' way", "mean", 5000, component="fusion", bank_rows=4407),
    ]
    layers = [
        figure("model", "weighted_f1", 60.0, gnn="gat"),
        figure("model", "accuracy", 62.0, gnn="gat"),
        figure("model", "head_parameters", 5e5, gnn="gat"),
        figure("model", "inductive_macs", 1.5e9, gnn="gat"),
        figure("onnx-int8", "p50", 0.512, gnn="gat", component="fusion"),
    ]
    for name, figures, others in (
        ("peers-base-some-cpu-2c", peers, 0.01),
        ("gnn-meld-text-some-cpu", layers, 0.37),
    ):
        report = {"environment": environment, "figures": figures, "other_cpu_share": others}
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    monkeypatch.setattr(readme_tables, "RESULTS", tmp_path)
    return tmp_path


def test_how_fast_how_big_how_accurate_against_whom_on_what(results: Path) -> None:
    text = readme_tables.render("before\n<!-- bench:base-sizes -->\nold\n<!-- /bench -->\nafter\n")
    assert text.startswith("before\n<!-- bench:base-sizes -->\n| ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert "a new graph each time | 250 | 0.6 | 5,000 | 5,250 |  |  |" in text
    assert "| transformers eager | 140 | 1.0 |  |  | 700 | 1,500 |" in text
    assert "| hemogat onnx-fp32 | 70 | 2.0 | 3.50 | 74 | 700 | 1,500 |" in text
    assert "a bank of 4,407 utterances" in text
    assert "Some CPU, 2 cores" in text
    assert "onnx-int8, ms |" in text
    assert "| GAT | 60.0 ± 0.6 | 62.0 ± 0.6 | 0.50 | 1.50 | 0.51 |" in text
    assert text.count("while other work took") == 1
    assert "ms: bank search and head, while other work took 37 % of the machine;" in text
    assert readme_tables.render(text) == text


def test_a_mark_without_a_table_or_a_result_is_refused(results: Path) -> None:
    with pytest.raises(InputError, match="bench:other: expected one of base-sizes, demo-load"):
        readme_tables.render("<!-- bench:other -->\n<!-- /bench -->")
    with pytest.raises(InputError, match=r"load-demo-\*.json: expected one result, found 0"):
        readme_tables.render("<!-- bench:demo-load -->\n<!-- /bench -->")
