"""Every packaged recipe, trained at tiny size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hemogat.config import Recipe
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.recipe_files import load_recipe, packaged_recipes
from hemogat.training.train import train


def at_tiny_size(recipe: Recipe) -> Recipe:
    """Leave all settings but sizes, lengths, and the encoders that would have to be fetched."""
    raw: dict[str, Any] = recipe.model_dump()
    size = {"width": 16, "layers": 1, "heads": 2}
    scratch = {"pretrained": None, "train_last_layers": None}
    raw["audio_encoder"] |= scratch | {"scratch": size | {"conv_width": 8}}
    raw["text_encoder"] |= scratch | {"scratch": size | {"vocab_size": 60}}
    raw["head"]["hidden"] = 16
    raw["seeds"] = 1
    for part in ("audio_training", "text_training", "head_training"):
        raw[part]["epochs"] = 1
    return Recipe.model_validate(raw)


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_packaged_recipe_trains(name: str, tiny_manifest: Path, tmp_path: Path) -> None:
    recipe = at_tiny_size(load_recipe(name))
    utterances = read_manifest(tiny_manifest).utterances
    labels = recipe.labels
    write_manifest(
        tmp_path / "manifest.csv",
        [replace(u, label=labels[n % len(labels)]) for n, u in enumerate(utterances)],
    )
    run = train(recipe, tmp_path / "manifest.csv", tmp_path / "run")
    assert run.record.recipe == recipe
    assert run.head().mlp[-1].out_features == len(labels)
    assert (run.record.recipe.graph.k_audio, run.record.recipe.graph.k_text) == {
        "demo": (4, 5),
        "iemocap": (4, 5),
        "meld": (8, 2),
    }[name]
