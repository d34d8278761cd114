from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.export.model_card import model_card
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import ParityFile
from hemogat.training.evaluation import answer_split, evaluate_run
from hemogat.training.evaluation_report import write_evaluation
from hemogat.training.preparation import SkippedRow
from hemogat.training.run_directory import RunDirectory


def test_a_run_by_name_or_as_the_latest(
    hemogat_json: Callable[..., Any], tiny_run: Path, workspace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "val"
    found = hemogat_json("evaluate", tiny_run, "--split", "val", "--out", out, "--no-pictures")
    expected = evaluate_run(RunDirectory.open(tiny_run), "val").model_dump(mode="json")
    assert found == expected == json.loads((out / "metrics.json").read_text())
    assert {path.name for path in out.iterdir()} == {"metrics.json", "report.md"}
    latest = Path(shutil.copytree(tiny_run, workspace / "tiny" / "run"))
    assert hemogat_json("evaluate", "--no-pictures")["split"] == "test"
    assert (latest / "evaluation" / "test" / "report.md").is_file()


def test_the_table_has_every_row_and_says_where_the_report_is(
    hemogat: Callable[..., Result], tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = hemogat("evaluate", tiny_run, "--no-pictures", "--out", out)
    evaluation = evaluate_run(RunDirectory.open(tiny_run))
    cells = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    for row in evaluation.rows:
        (shown,) = (c for c in cells if c[:3] == [row.head, row.graph, row.inputs])
        accuracy = row.figures["accuracy"]
        assert shown[3:5] == ["12", accuracy.percent()]
        assert shown[-1] == f"{100 * accuracy.best:.1f}"
    assert "over 2 seeds (0, 1)" in result.stdout
    assert "The graph changes the weighted F1 by" in result.stdout
    assert f"report: {out / 'report.md'}" in result.stdout


def test_a_bundle_answers_as_its_run(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    arguments = ("evaluate", bundle, "--manifest", tiny_manifest, "--no-pictures")
    found = hemogat_json(*arguments)
    assert {(row["head"], row["graph"]) for row in found["rows"]} == {("full", "inductive")}
    beside = tmp_path / "bundle-evaluation" / "test" / "metrics.json"
    assert json.loads(beside.read_text()) == found
    assert hemogat_json(*arguments) == found  # the bundle is as it was


def test_a_bundle_leaves_out_what_it_cannot_read_if_asked(
    hemogat: Callable[..., Result],
    refused: Callable[..., str],
    tiny_bundle: Path,
    tiny_manifest: Path,
    tmp_path: Path,
) -> None:
    utterances = list(read_manifest(tiny_manifest).utterances)
    tested = [n for n, u in enumerate(utterances) if u.split == "test"][:2]
    for number in tested:
        damaged = tmp_path / f"damaged-{number}.wav"
        damaged.write_bytes(b"RIFF")
        utterances[number] = replace(utterances[number], audio=damaged)
    write_manifest(tmp_path / "corpus.csv", utterances)
    out = tmp_path / "out"
    arguments = ("evaluate", tiny_bundle, "--manifest", tmp_path / "corpus.csv", "--no-pictures")
    line = refused(*arguments, "--out", out)
    assert "2 problems: " in line
    assert "--skip-bad" in line
    result = hemogat(*arguments, "--out", out, "--skip-bad", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    ids = [utterances[number].id for number in tested]
    assert [row["id"] for row in found["skipped"]] == ids
    assert found["rows"][0]["utterances"] == 10
    report = (out / "report.md").read_text()
    assert "2 utterances, by split: test 2." in report
    assert all(f"- `{name}`: " in report and name in result.stderr for name in ids)


def test_what_a_run_left_out_is_on_its_report_and_card(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    run = RunDirectory.open(tiny_run)
    row = SkippedRow(id="angry-99", reason="is truncated", split="train")
    record = run.record.model_copy(update={"skipped": (row,)})
    answers = answer_split(RunDirectory(run.path, record))
    evaluation = write_evaluation(answers, tmp_path / "out", pictures=False)
    assert evaluation.skipped == (row,)
    assert "- `angry-99`: is truncated" in (tmp_path / "out" / "report.md").read_text()
    bundle = Bundle.open(tiny_bundle)
    parity = ParityFile.model_validate_json((tiny_bundle / "parity.json").read_bytes())
    card = model_card(bundle.manifest, parity, evaluation)
    assert "1 utterances, by split: train 1." in card
    assert "- `angry-99`: is truncated" in card


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
