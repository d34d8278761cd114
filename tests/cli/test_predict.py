from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat import Pipeline

Hemogat = Callable[..., Result]


@pytest.fixture
def clip(tiny_clips: Path) -> Path:
    return tiny_clips / "angry-00.wav"


def test_one_clip_as_the_pipeline_says(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, clip: Path
) -> None:
    found = hemogat_json("predict", tiny_bundle, clip, "--text", "stop that")
    expected = Pipeline.load(tiny_bundle)(clip, "stop that")
    assert found["label"] == expected.label
    assert found["probabilities"] == pytest.approx(expected.probabilities)
    assert found["modalities"] == ["audio", "text"]
    assert [n["id"] for n in found["neighbours"]] == [n.id for n in expected.neighbours]


def test_the_most_likely_label_comes_first(hemogat: Hemogat, tiny_bundle: Path) -> None:
    result = hemogat("predict", tiny_bundle, "--text", "stop that")
    expected = Pipeline.load(tiny_bundle)(None, "stop that")
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"label  {expected.label}", "used   text"]
    table = lines.index(next(line for line in lines if "probability" in line))
    label, probability = lines[table + 2].split()
    assert label == expected.label
    assert float(probability) == pytest.approx(max(expected.probabilities.values()), abs=1e-4)


def test_several_clips_are_answered_one_by_one(
    hemogat: Hemogat, hemogat_json: Callable[..., Any], tiny_bundle: Path, tiny_clips: Path
) -> None:
    clips = sorted(tiny_clips.glob("*.wav"))[:3]
    expected = Pipeline.load(tiny_bundle)([*clips])
    found = hemogat_json("predict", tiny_bundle, *clips)
    assert [one["audio"] for one in found] == [str(clip) for clip in clips]
    assert [one["label"] for one in found] == [one.label for one in expected]
    lines = hemogat("predict", tiny_bundle, *clips).stdout.splitlines()
    for clip, one, line in zip(clips, expected, lines[-3:], strict=True):
        assert line.split()[:2] == [str(clip), one.label]


def test_a_manifest_becomes_a_csv(
    hemogat: Hemogat, tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    result = hemogat("predict", tiny_bundle, "--manifest", tiny_manifest, "--out", out)
    assert result.exit_code == 0, result.stderr
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert f"{out}: {len(rows) - 1} predictions\n" in result.stdout
    assert "accuracy (test): " in result.stdout


def test_skipped_rows_are_listed(
    hemogat: Hemogat, hemogat_json: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "p.csv"
    manifest.write_text("id,audio,text,label\na,,stop that,angry\nb,none.wav,,\n")
    arguments = ("predict", tiny_bundle, "--manifest", manifest, "--out", out, "--skip-bad")
    result = hemogat(*arguments)
    assert result.exit_code == 0
    assert f"{out}: 1 predictions, 1 skipped\n" in result.stdout
    assert "skipped: " in result.stderr
    assert "row 3: audio 'none.wav': no such file" in result.stderr
    found = hemogat_json(*arguments)
    assert (found["out"], found["predicted"]) == (str(out), 1)
    assert [row["id"] for row in found["skipped"]] == ["b"]
    score = found["scores"]["all"]
    assert score["accuracy"] == score["correct"] / score["utterances"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("clip.wav", "--manifest", "m.csv", "--out", "p.csv"),
        ("--text", "hello", "--manifest", "m.csv", "--out", "p.csv"),
        ("--manifest", "m.csv"),
        ("clip.wav", "--out", "p.csv"),
        ("clip.wav", "--skip-bad"),
        ("a.wav", "b.wav", "--text", "hello"),
        ("clip.wav", "--timeout", "5"),
        ("clip.wav", "--concurrency", "4"),
        ("--manifest", "m.csv", "--out", "p.csv", "--concurrency", "4"),
        ("clip.wav", "--url", "127.0.0.1:9", "--concurrency", "4"),
        ("clip.wav", "--stream"),
        ("a.wav", "b.wav", "--stream", "--url", "127.0.0.1:9"),
    ],
)
def test_usage(hemogat: Hemogat, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = hemogat("predict", tmp_path, *arguments)
    assert result.exit_code == 2
    assert "Usage: hemogat predict" in result.stderr


def test_refusals(refused: Callable[..., str], tiny_bundle: Path, tmp_path: Path) -> None:
    absent, noise = tmp_path / "absent.wav", tmp_path / "noise.wav"
    noise.write_bytes(b"no audio at all")
    assert "is not a bundle" in refused("predict", tmp_path, "--text", "hello")
    assert f"{absent}: no such file" in refused("predict", tiny_bundle, absent)
    assert f"{noise}: is not audio" in refused("predict", tiny_bundle, noise)
    assert "audio or text" in refused("predict", tiny_bundle, "--text", " ")
    manifest, out = tmp_path / "m.csv", tmp_path / "p.csv"
    assert "m.csv" in refused("predict", tiny_bundle, "--manifest", manifest, "--out", out)


def test_an_engine_is_chosen_by_name(
    hemogat_json: Callable[..., Any], refused: Callable[..., str], tiny_bundle: Path
) -> None:
    ask = ("predict", tiny_bundle, "--text", "stop that", "--engine", "onnx")
    assert hemogat_json(*ask, "--precision", "fp32") == hemogat_json(*ask)
    assert "hemogat export --engine onnx --precision int8" in refused(*ask, "--precision", "int8")


def test_a_server_chooses_its_engine_itself(hemogat: Hemogat) -> None:
    result = hemogat("predict", "--url", "127.0.0.1:9", "--text", "x", "--precision", "int8")
    assert result.exit_code == 2
    assert "the server's choice" in " ".join(result.stderr.replace("│", " ").split())
