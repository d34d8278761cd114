"""A soak that is run again goes on with what its result lacks, and mixes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reliability.__main__ import main

from hemogat.runtime.bundle import SUMS_FILE, sha256_of

PHASES = ("hostile", "http", "soak", "faults")


def finished(out: Path, bundle: Path, problems: list[str]) -> None:
    settings: dict[str, Any] = {"bundle": bundle.name, "bundle_sums": sha256_of(bundle / SUMS_FILE)}
    settings |= {"hostile": 10_000, "http": 3_000, "valid": 20_000, "rounds": 6}
    phases: dict[str, Any] = {phase: {} for phase in PHASES}
    out.write_text(json.dumps({"settings": settings, "problems": problems, **phases}))


@pytest.mark.parametrize("problems", [[], ["soak: rss grew by 6.0%"]])
def test_finished_phases_are_not_run_again(
    tiny_bundle: Path, tmp_path: Path, problems: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "soak.json"
    finished(out, tiny_bundle, problems)
    assert main([str(tiny_bundle), "--out", str(out)]) == len(problems)
    said = capsys.readouterr().out
    assert all(f"{phase}: done before" in said for phase in PHASES)
    assert all(problem in said for problem in problems)


def test_a_result_of_something_else_is_refused(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "soak.json"
    finished(out, tiny_bundle, [])
    assert main([str(tiny_bundle), "--out", str(out), "--rounds", "7"]) == 1
    assert "expected a result of {" in capsys.readouterr().err
    out.write_text("[]")
    assert main([str(tiny_bundle), "--out", str(out)]) == 1
    assert "expected a result of this" in capsys.readouterr().err
