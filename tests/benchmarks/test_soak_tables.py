"""The tables of docs/reliability.md are those of the committed result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soak_tables

from hemogat.errors import InputError

PAGE = "before\n<!-- bench:soak -->\nold\n<!-- /bench -->\nafter\n"
HELD = {"processes": [1, 2], "rss_bytes": 100e6, "open_files": 9}
LATER = {"processes": [1, 3], "rss_bytes": 104e6, "open_files": 10}


def phase(**found: Any) -> dict[str, Any]:
    held = {"before": HELD, "after": LATER, "growth": {"rss": 0.04, "open_files": 0.1}}
    return {"other_cpu_share": 0.01, **held, **found}


def result(folder: Path, **phases: Any) -> Path:
    path = folder / "soak.json"
    environment = {
        "cpu": "A CPU", "cores": 2, "cpu_flags": ["avx2"], "memory_gib": 4.0, "os": "Linux",
        "versions": {}, "git_commit": "0123456789",
    }  # fmt: skip
    settings = {"bundle": "demo"}
    path.write_text(
        json.dumps({"environment": environment, "settings": settings, "problems": [], **phases})
    )
    return path


def test_the_page_is_current() -> None:
    text = soak_tables.DOCS.read_text(encoding="utf-8")
    assert soak_tables.render(text) == text, "run: make soak-docs"


def test_a_new_result_changes_the_tables(tmp_path: Path) -> None:
    counts = {"requests": 3000, "valid_requests": 3000, "wrong_after": 1}
    hostile = phase(**counts, statuses={"text": {"OK": 1, "UNKNOWN": 2}}, slowest_s=0.5)
    http = phase(**counts, statuses={"nothing": {"400": 7}, "no object": {"400": 1, "500": 4}})
    valid = phase(requests=20_000, errors=["one"], different=3, largest=2e-7)
    kills = {"tritonserver": 6, "a model's process": 5, "hemogat predict": 4}
    faults = {"asked": 2400, "answered": 2399, "lost": 1, "twice": 2, "kept": 70, "kept_changed": 3}
    faults |= {"other_label": 4}
    results = tmp_path / "results"
    results.mkdir()
    (results / "soak-before.json").touch()
    path = result(
        *(tmp_path,), hostile=hostile, http=http, soak=valid,
        faults={**faults, "kills": kills, "largest": 1e-6},
    )  # fmt: skip
    assert soak_tables.take(path, results).name == "soak-demo-a-cpu-avx2-2c.json"
    assert len(list(results.iterdir())) == 1
    page = soak_tables.render(PAGE, results)
    assert "A CPU, 2 cores, commit `0123456`" in page
    assert "The machine was quiet (others used at most 1% of its CPU time)." in page
    assert "1 results, 2 UNKNOWN | 8 HTTP 400, 4 HTTP 500 | 19,999 results, 1 errors |" in page
    assert "| 1 of 3,000 | 1 of 3,000 | 3 of 20,000 to the last bit, by at most 2.0e-07 |" in page
    assert "| 1 of 2 | 1 of 2 | 1 of 2 |" in page
    assert "| slowest answer | 0.50 s |  |  |" in page
    assert "| text | 1 | 0 | 2 |" in page
    assert "| `kill -9` of hemogat predict | 4 |" in page
    assert "| rows asked and answered | 2,400 and 2,399 |" in page
    assert "| lost, answered twice | 1, 2 |" in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_phases_that_were_not_run_are_said_to_be_missing(tmp_path: Path) -> None:
    soak_tables.take(result(tmp_path, soak=phase(requests=5, errors=[], different=0, largest=0)),
                     tmp_path)  # fmt: skip
    (tmp_path / "soak.json").unlink()
    page = soak_tables.render(PAGE, tmp_path)
    assert "| answers | not run yet | not run yet | 5 results, 0 errors |" in page
    assert "| mutated audio | not run yet |" in page
    assert "| rows asked, lost, answered twice or otherwise | not run yet |" in page


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one result, found 0"):
        soak_tables.render(PAGE, tmp_path)
    (tmp_path / "soak-one.json").touch()
    with pytest.raises(InputError, match="bench:soak"):
        soak_tables.render("no mark", tmp_path)
