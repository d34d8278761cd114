"""What docs/training.md tells to run can be run, and what it lists is all there is."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
import typer
import yaml
from click import Command, Context, Group
from pydantic import BaseModel

from hemogat.cli.main import app
from hemogat.config import Recipe
from hemogat.data.audio import decode_audio
from hemogat.errors import InputError
from hemogat.recipe_files import load_recipe, packaged_recipes
from hemogat.training.study_record import StudyKind

DOCS = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", DOCS, flags=re.DOTALL | re.MULTILINE)
    return [body for name, body in fenced if name == language]


def commands() -> list[list[str]]:
    lines = "".join(blocks("")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hemogat ")]


def recipes() -> dict[str, Recipe]:
    found = [Recipe.model_validate(yaml.safe_load(block)) for block in blocks("yaml")]
    return {recipe.name: recipe for recipe in found}


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_is_understood(arguments: list[str]) -> None:
    command: Command = typer.main.get_command(app)
    context = Context(command, info_name="hemogat")
    while isinstance(command, Group):
        name, found, arguments = command.resolve_command(context, list(arguments))
        assert found is not None
        command, context = found, Context(found, parent=context, info_name=name)
    command.make_context(context.info_name, list(arguments))  # refuses what it does not know


def test_the_recipes_that_are_trained_are_there() -> None:
    trained = [arguments[1] for arguments in commands() if arguments[0] == "train"]
    assert {"iemocap", "meld"} <= set(trained)
    known = packaged_recipes().keys() | {f"{name}.yaml" for name in recipes()}
    assert set(trained) <= known


def test_meld_accepts_the_longest_clip_of_its_corpus(tmp_path: Path) -> None:
    clip = tmp_path / "dia220_utt0.flac"
    soundfile.write(clip, np.zeros(305 * 16_000, np.int16), 16_000)
    assert len(decode_audio(clip, load_recipe("meld").audio)) == 305 * 16_000
    with pytest.raises(InputError, match="60 s"):
        decode_audio(clip, load_recipe("iemocap").audio)


def leaves(settings: type[BaseModel], prefix: str = "") -> set[str]:
    """Return the full names of all fields."""
    found = set()
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= leaves(kind, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def test_the_table_names_every_field_of_a_recipe_and_no_other() -> None:
    table = DOCS.split("## Recipe fields")[1].split("\n\n")[2]
    cells = [line.split("|")[1] for line in table.splitlines()]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    fields = leaves(Recipe)
    assert {f for f in fields if not any(fnmatch(f, name) for name in named)} == set()
    assert [name for name in named if not any(fnmatch(f, name) for f in fields)] == []


def test_every_study_is_documented() -> None:
    kinds = [arguments[1] for arguments in commands() if arguments[0] == "study"]
    assert kinds == list(get_args(StudyKind))
