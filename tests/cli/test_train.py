from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from hemogat.config import Recipe
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.training.run_directory import RunDirectory


@pytest.fixture
def recipe(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe.model_dump(mode="json")))
    return path


@pytest.mark.slow
def test_a_run_is_written_and_evaluated(
    hemogat: Callable[..., Result], recipe: Path, tiny_manifest: Path, workspace: Path
) -> None:
    result = hemogat("train", recipe, "--manifest", tiny_manifest, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["run"] == str(workspace / "tiny" / "run")
    assert RunDirectory.open(found["run"]).record.recipe.name == "tiny"
    assert found["evaluation"]["split"] == "test"
    assert found["evaluation"]["rows"][0]["graph"] == "inductive"


def test_refusals(
    refused: Callable[..., str], recipe: Path, tiny_manifest: Path, workspace: Path
) -> None:
    def train(recipe: str | Path, manifest: Path) -> str:
        return refused("train", recipe, "--manifest", manifest)

    assert "nosuch: expected a recipe file" in train("nosuch", tiny_manifest)
    assert "absent.csv: it cannot be read" in train(recipe, Path("absent.csv"))
    assert "label 'angry' is unknown" in train(_relabelled(recipe), tiny_manifest)
    recipe.write_text("{name: x, labels: [a, b], graph: {k_audio: many}}")
    assert f"{recipe}: graph.k_audio: " in train(recipe, tiny_manifest)
    assert not workspace.exists()


def _relabelled(recipe: Path) -> Path:
    path = recipe.with_name("relabelled.yaml")
    path.write_text(recipe.read_text().replace("angry", "furious"))
    return path


def test_speakers_in_two_splits_are_warned_of(
    hemogat: Callable[..., Result], recipe: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    shared = tiny_manifest.with_name("shared.csv")
    shared.write_text(tiny_manifest.read_text().replace("speaker-test", "speaker-train"))
    (tmp_path / "taken").write_text("no run")
    result = hemogat("train", recipe, "--manifest", shared, "--out", tmp_path / "taken")
    assert result.exit_code == 1
    assert "will not be speaker-independent" in result.stderr
    assert f"{tmp_path / 'taken'}: exists already" in result.stderr


def test_every_file_that_cannot_be_read_is_listed_and_the_corpus_counted(
    hemogat: Callable[..., Result], recipe: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    utterances = list(read_manifest(tiny_manifest).utterances)
    for number in range(0, 25, 5):
        damaged = tmp_path / f"damaged-{number}.wav"
        damaged.write_bytes(b"RIFF")
        utterances[number] = replace(utterances[number], audio=damaged)
    write_manifest(tmp_path / "corpus.csv", utterances)
    result = hemogat("train", recipe, "--manifest", tmp_path / "corpus.csv")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    for number in range(0, 25, 5):
        assert [line for line in lines if line.startswith(f"  {utterances[number].id}: ")]
    assert "error: 5 utterances cannot be read: " in lines[-1]
    assert "--skip-bad" in lines[-1]
    assert ["train", "8", "8", "8", "24"] in [line.split() for line in lines]


def test_recipes_are_listed(hemogat: Callable[..., Result]) -> None:
    result = hemogat("train", "--list")
    assert result.exit_code == 0, result.stderr
    assert {"demo", "iemocap", "meld"} <= {line.split()[0] for line in result.stdout.splitlines()}


def test_resuming_and_beginning_anew_exclude_each_other(
    hemogat: Callable[..., Result], recipe: Path, tiny_manifest: Path
) -> None:
    result = hemogat("train", recipe, "--manifest", tiny_manifest, "--resume", "--restart")
    assert result.exit_code == 2
    assert "give --resume or --restart, not both" in result.stderr


def test_there_must_be_something_to_resume(
    refused: Callable[..., str], recipe: Path, tiny_manifest: Path
) -> None:
    line = refused("train", recipe, "--manifest", tiny_manifest, "--resume")
    assert "run.partial: expected an interrupted run, found none" in line


def test_a_finished_run_is_not_replaced_unasked(
    refused: Callable[..., str],
    recipe: Path,
    tiny_run: Path,
    tiny_manifest: Path,
    workspace: Path,
) -> None:
    run = Path(shutil.copytree(tiny_run, workspace / "tiny" / "run"))
    line = refused("train", recipe, "--manifest", tiny_manifest)
    assert f"{run}: holds a finished run; " in line
    assert "--out" in line
    assert "--restart" in line
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def launched(workspace: Path, *command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HEMOGAT_WORKSPACE": str(workspace), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_ctrl_c_leaves_what_resume_completes(
    hemogat: Callable[..., Result], recipe: Path, tiny_manifest: Path, workspace: Path
) -> None:
    settings = yaml.safe_load(recipe.read_text())
    settings["text_training"] |= {"epochs": 40, "patience": 40}  # time to be interrupted in
    recipe.write_text(yaml.safe_dump(settings | {"seeds": 1}))
    command = ("train", recipe, "--manifest", tiny_manifest)
    partial = workspace / "tiny" / "run.partial"
    process = launched(workspace, "hemogat", *command)
    try:
        while not (partial / "audio_encoder").is_dir() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    *_, line = stderr.splitlines()
    assert line.startswith("interrupted; ")
    assert f"{partial} holds what is done" in line
    assert "--resume" in line
    stored = (partial / "audio_encoder" / "model.safetensors").stat()
    result = hemogat(*command)
    assert result.exit_code == 1
    assert "--resume" in result.stderr
    assert "--restart" in result.stderr
    result = hemogat(*command, "--resume")
    assert result.exit_code == 0, result.stderr
    run = RunDirectory.open(workspace / "tiny" / "run")
    assert (run.path / "audio_encoder" / "model.safetensors").stat().st_ino == stored.st_ino
    assert not partial.exists()


@pytest.mark.slow
def test_two_processes_train_one_run(recipe: Path, tiny_manifest: Path, workspace: Path) -> None:
    launch = ("torch.distributed.run", "--nproc_per_node", "2", "-m", "hemogat")
    process = launched(workspace, *launch, "train", recipe, "--manifest", tiny_manifest, "--json")
    try:
        stdout, stderr = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    run = RunDirectory.open(json.loads(stdout)["run"])  # printed by one of them alone
    assert run.features("train").embeddings.audio.isfinite().all()
    for name in run.record.heads:
        for seed in run.record.seeds:
            run.head(name, seed)
    # TensorBoard's files have the process in their names: heads were shared out, encoders not.
    writers = {
        folder: {
            path.name.split(".")[-2] for path in (run.path / "logs" / folder).rglob("events.*")
        }
        for folder in ("heads", "audio_encoder", "text_encoder")
    }
    assert len(writers["heads"]) == 2
    assert len(writers["audio_encoder"] | writers["text_encoder"]) == 1
    assert not run.path.with_name("run.partial").exists()
