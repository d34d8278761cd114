from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from hemogat.config import Recipe
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
