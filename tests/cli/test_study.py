"""The whole way on a small spoken corpus: train, evaluate, every study."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner, Result

from hemogat.cli.main import app
from hemogat.config import Recipe
from hemogat.data.demo_corpus import LABELS, make_demo_corpus
from hemogat.data.demo_voices import SPEAKERS
from hemogat.data.manifest import SPLITS
from hemogat.training import study as study_module
from hemogat.training.study_record import Study, StudyKind

ROWS = {
    "topk": [f"k_audio_{a}_k_text_{t}" for a in (1, 2) for t in (1, 2)],
    "modules": [
        f"{modules}{alone}"
        for modules in ("full", "no_gnn", "no_cmt")
        for alone in ("", "_audio", "_text")
    ],
    "gnn": ["gat", "gcn", "sage"],
    "depth": ["layers_1", "layers_2", "layers_3", "layers_4"],
    "graph": ["no_graph", "transductive", "bank", "bank_with_labels"],
}


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def spoken_run(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that the command trained on one speaker of each split."""
    folder = tmp_path_factory.mktemp("spoken")
    speakers = [next(s for s in SPEAKERS if s.split == split) for split in SPLITS]
    make_demo_corpus(folder / "corpus", speakers=speakers)
    recipe: dict[str, Any] = tiny_recipe.model_dump(mode="json")
    recipe |= {"labels": list(LABELS), "seeds": 1}
    for part in ("audio_training", "text_training"):
        recipe[part]["epochs"] = 1
    recipe["head_training"]["epochs"] = 2
    (folder / "spoken.yaml").write_text(yaml.safe_dump(recipe))
    manifest, run = folder / "corpus" / "manifest.csv", folder / "run"
    cache = folder / "cache"
    done = invoke(
        *("train", folder / "spoken.yaml", "--manifest", manifest, "--out", run, "--cache", cache)
    )
    assert done.exit_code == 0, done.output
    return run


def test_a_trained_run_is_evaluated(spoken_run: Path) -> None:
    done = invoke("evaluate", spoken_run, "--no-pictures")
    assert done.exit_code == 0, done.output
    assert (spoken_run / "evaluation" / "test" / "report.md").is_file()


@pytest.mark.parametrize("kind", get_args(StudyKind))
def test_a_study_compares_and_writes(kind: StudyKind, spoken_run: Path) -> None:
    done = invoke("study", kind, spoken_run, "--seeds", "1", "--max-k", "2")
    assert done.exit_code == 0, done.output
    folder = spoken_run / "studies" / kind
    assert (folder / "study.png").is_file()
    assert (folder / "study.md").is_file()
    found = Study.model_validate_json((folder / "study.json").read_bytes())
    assert [row.name for row in found.rows] == ROWS[kind]
    assert found.seeds == (0,)
    assert f"best on val: {found.chosen}" in done.stdout
    with (folder / "study.csv").open(encoding="utf-8") as file:
        assert {line["row"] for line in csv.DictReader(file)} == set(ROWS[kind])
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.split()]
    assert [name for name in ROWS[kind] if name not in shown] == []


def test_an_interrupted_study_goes_on(
    spoken_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train_head: Callable[..., Any] = study_module.train_head

    def interrupted(name: str, *arguments: Any, **options: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(name)
        return train_head(name, *arguments, **options)

    command = ("study", "gnn", spoken_run, "--seeds", "1", "--out", tmp_path / "study")
    monkeypatch.setattr(study_module, "train_head", interrupted)
    stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert f"{tmp_path / 'study'} holds the heads that are done" in stopped.stderr
    assert "the same command goes on" in stopped.stderr
    trained.clear()
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert trained == ["sage"]
