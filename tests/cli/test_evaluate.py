from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory


def test_a_run_by_name_or_as_the_latest(
    hemogat_json: Callable[..., Any], tiny_run: Path, workspace: Path
) -> None:
    found = hemogat_json("evaluate", tiny_run, "--split", "val")
    expected = evaluate_run(RunDirectory.open(tiny_run), "val").model_dump(mode="json")
    assert found == {"target": str(tiny_run), **expected}
    shutil.copytree(tiny_run, workspace / "tiny" / "run")
    latest = hemogat_json("evaluate")
    assert (latest["target"], latest["split"]) == (str(workspace / "tiny" / "run"), "test")


def test_the_table_has_every_graph_and_control(
    hemogat: Callable[..., Result], tiny_run: Path
) -> None:
    result = hemogat("evaluate", tiny_run)
    evaluation = evaluate_run(RunDirectory.open(tiny_run))
    rows = [line.split() for line in result.stdout.splitlines()]
    for name, accuracy in evaluation.accuracies().items():
        (row,) = (row for row in rows if row[:1] == [name])
        assert row[2] == f"{100 * accuracy:.1f}"


def test_a_bundle_answers_as_its_run(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, tiny_run: Path, tiny_manifest: Path
) -> None:
    found = hemogat_json("evaluate", tiny_bundle, "--manifest", tiny_manifest)
    expected = evaluate_run(RunDirectory.open(tiny_run)).graphs["inductive"]
    assert found["graphs"] == {"inductive": expected.model_dump(mode="json")}


@pytest.mark.parametrize("split", ["dev", ""])
def test_an_unknown_split_is_a_usage_error(hemogat: Callable[..., Result], split: str) -> None:
    assert hemogat("evaluate", "--split", split).exit_code == 2


def test_the_manifest_is_for_bundles(
    hemogat: Callable[..., Result], tiny_bundle: Path, tiny_run: Path, tiny_manifest: Path
) -> None:
    without = hemogat("evaluate", tiny_bundle)
    assert without.exit_code == 2
    assert "--manifest" in without.stderr
    assert hemogat("evaluate", tiny_run, "--manifest", tiny_manifest).exit_code == 2


def test_refusals(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "hemogat train RECIPE" in refused("evaluate")
    assert f"{tmp_path}: is not a run directory" in refused("evaluate", tmp_path)
