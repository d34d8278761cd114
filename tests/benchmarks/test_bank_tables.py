"""The table of docs/bank.md is that of the committed result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bank_tables
import pytest

from hemogat.errors import InputError

PAGE = "before\n<!-- bench:bank-search -->\nold\n<!-- /bench -->\nafter\n"


def test_the_page_is_current() -> None:
    text = bank_tables.DOCS.read_text(encoding="utf-8")
    assert bank_tables.render(text) == text, "run: python benchmarks/bank_tables.py"


def test_a_new_result_changes_the_table(tmp_path: Path) -> None:
    times = {"min": 0.9, "p50": 1.04, "p95": 2.0}
    bank: dict[str, Any] = {
        "rows": 200_000, "mode": "ivf", "search_ms": times, "recall": 0.9996, "codes_mib": 293.0,
        "index_resident_mib": 311.4, "states_mib": 3515.6, "graph_and_fusion_ms": {"b": times},
    }  # fmt: skip
    report = {
        "environment": {"cpu": "A CPU", "cores": 2},
        "load_average_before": [0.25, 0, 0],
        "load_average_after": [0.5, 0, 0],
        "inside_the_graph": {"rows": 4407, "graph_and_fusion_ms": {"a": times}},
        "banks": [bank],
    }
    (tmp_path / "bank-search-new.json").write_text(json.dumps(report))
    page = bank_tables.render(PAGE, tmp_path)
    assert "| 4,407 | inside the graph |  | 1.0 (2.0) |  |  |  |  |  |  |" in page
    assert "| 200,000 | `ivf` | 1.0 (2.0) |  | 1.0 (2.0) | 1.000 | 293 | 311 |  | 3,516 |" in page
    assert "A CPU, 2 cores, load average before and after 0.25 and 0.5" in page
    assert "Target at 4,407 rows: 2 ms, met by the graph with a." in page
    assert "Target at 44,070 rows: 6 ms, **not met**." in page
    assert "Target at 200,000 rows: 15 ms, met by `ivf` with b." in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one result, found 0"):
        bank_tables.render(PAGE, tmp_path)
    with pytest.raises(InputError, match="bench:bank-search"):
        bank_tables.render("no mark")
