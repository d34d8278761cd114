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


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with what the tables read, of round numbers."""
    machine = {"cpu": "Some CPU", "cores": 2}
    (tmp_path / "meld-text.json").write_text((readme_tables.RESULTS / "meld-text.json").read_text())
    names = ("torch eager fp32, 16 tokens", "OpenVINO int8")
    engines: dict[str, Any] = {
        "environment": machine,
        "settings": {"bank_rows": 4407},
        "engines": [
            {
                "name": name,
                "stages": {"end_to_end": {"p50_ms": ms}, "fusion": {"p50_ms": ms / 50}},
                "size_mib": None if name.startswith("torch") else 270.4,
                "peak_memory_mib": None,
            }
            for name, ms in zip(names, (200.0, 40.0), strict=True)
        ],
        "transductive": {"nodes": 4408, "authors_total": {"p50_ms": 8000.0}},
    }
    (tmp_path / "engines-base-some-cpu-2c.json").write_text(json.dumps(engines))
    monkeypatch.setattr(readme_tables, "RESULTS", tmp_path)
    return tmp_path


def test_how_fast_how_big_how_accurate_against_whom_on_what(results: Path) -> None:
    text = readme_tables.render("before\n<!-- bench:base-sizes -->\nold\n<!-- /bench -->\nafter\n")
    assert text.startswith("before\n<!-- bench:base-sizes -->\n| ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert "| OpenVINO int8 | 40 | 5.0 | 0.800 | 270 |  |" in text
    assert "| torch eager fp32, 16 tokens | 200 | 1.0 | 4 |  |  |" in text
    assert "a new graph of 4,408 nodes per utterance |  |  | 8,000 |" in text
    assert "Some CPU, 2 cores" in text
    assert "59.9 ± 0.2 weighted F1" in text
    assert readme_tables.render(text) == text


def test_a_mark_without_a_table_or_a_result_is_refused(results: Path) -> None:
    with pytest.raises(InputError, match="bench:other: expected one of base-sizes, demo-load"):
        readme_tables.render("<!-- bench:other -->\n<!-- /bench -->")
    with pytest.raises(InputError, match=r"load-demo-\*.json: expected one result, found 0"):
        readme_tables.render("<!-- bench:demo-load -->\n<!-- /bench -->")
