from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory


@pytest.fixture
def arguments(authors_files: dict[str, Path], tmp_path: Path) -> list[str | Path]:
    files = authors_files
    splits = ("--train", files["train"], "--val", files["val"], "--test", files["test"])
    names = ("--labels", "angry, happy,neutral,sad")
    return ["import-checkpoint", files["checkpoint"], *splits, *names, "--out", tmp_path / "run"]


def test_outgoing_prints_the_authors_figure(
    hemogat: Callable[..., Result], hemogat_json: Callable[..., Any], arguments: list[str | Path]
) -> None:
    found = hemogat_json(*arguments)
    expected = evaluate_run(RunDirectory.open(found["run"])).model_dump(mode="json")
    assert (found["outgoing"], found["incoming"]) == (expected, None)
    assert expected["labels"] == ["angry", "happy", "neutral", "sad"]
    assert hemogat_json("evaluate", found["run"], "--no-pictures") == expected

    lines = hemogat(*arguments).stdout.splitlines()
    (row,) = (line.split() for line in lines if "transductive" in line)
    accuracy = expected["rows"][0]["figures"]["accuracy"]["mean"]
    assert row == ["full", "transductive", "both", "16", f"{100 * accuracy:.1f}", *row[5:]]


def test_incoming_prints_both(
    hemogat: Callable[..., Result], hemogat_json: Callable[..., Any], arguments: list[str | Path]
) -> None:
    found = hemogat_json(*arguments, "--direction", "incoming", "--k-audio", 2, "--k-text", 3)
    assert [row["graph"] for row in found["outgoing"]["rows"]] == ["transductive"]
    assert [row["graph"] for row in found["incoming"]["rows"]] == [
        "inductive",
        "transductive",
        "self_loop",
    ]
    graph = RunDirectory.open(found["run"]).record.recipe.graph
    assert (graph.k_audio, graph.k_text, graph.direction) == (2, 3, "incoming")
    printed = hemogat(*arguments, "--direction", "incoming").stdout
    graphs = [line.split()[1] for line in printed.splitlines() if line.startswith("full")]
    assert graphs == ["transductive", "inductive", "transductive", "self_loop"]


def test_refusals(
    refused: Callable[..., str],
    hemogat: Callable[..., Result],
    arguments: list[str | Path],
    authors_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    assert hemogat("import-checkpoint", authors_files["checkpoint"]).exit_code == 2
    assert hemogat(*arguments, "--direction", "sideways").exit_code == 2
    assert hemogat(*arguments, "--k-text", -1).exit_code == 2
    assert "graph.k_text is 16" in refused(*arguments, "--k-text", 16)
    assert "tells 4 labels apart" in refused(*arguments, "--labels", "a,b")
    assert "expected a state dict" in refused(*arguments[:1], authors_files["test"], *arguments[2:])
    authors_files["train"].write_bytes(pickle.dumps([print]))
    assert "calls for builtins.print" in refused(*arguments)
    assert not (tmp_path / "run").exists()


def test_encoders_and_manifest_go_together(
    refused: Callable[..., str], arguments: list[str | Path], tmp_path: Path
) -> None:
    names = ("--audio-encoder", "wav2vec2", "--text-encoder", "bert", "--manifest", tmp_path)
    assert "--audio-encoder missing: " in refused(*arguments, *names[2:])
    assert "--text-encoder and --manifest missing: " in refused(*arguments, *names[:2])
    assert "--train and --val: with encoders" in refused(*arguments, *names)
    assert not (tmp_path / "run").exists()


def test_feature_files_or_encoders_are_needed(
    refused: Callable[..., str], arguments: list[str | Path]
) -> None:
    checkpoint, (*_, labels, names, out, run) = arguments[:2], arguments
    line = refused(*checkpoint, labels, names, out, run)
    assert "--train and --test missing: " in line
    assert "--audio-encoder" in line


def test_export_is_refused(
    refused: Callable[..., str], hemogat_json: Callable[..., Any], arguments: list[str | Path]
) -> None:
    run = hemogat_json(*arguments)["run"]
    assert "say --direction incoming at import" in refused("export", run)
    hemogat_json(*arguments, "--direction", "incoming")
    assert "has no encoders" in refused("export", run)
