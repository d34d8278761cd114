from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hemogat import __version__
from hemogat.config import Recipe
from hemogat.errors import ConfigError
from hemogat.training import study as module
from hemogat.training import study_report
from hemogat.training.evaluation import evaluate_run
from hemogat.training.intervals import estimate
from hemogat.training.run_directory import RunDirectory
from hemogat.training.study import run_study
from hemogat.training.study_plan import plan_study
from hemogat.training.study_record import StudyKind
from hemogat.training.study_report import write_study


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> RunDirectory:
    return RunDirectory.open(tiny_run)


def with_rows(run: RunDirectory, rows: list[int], **tensors: torch.Tensor) -> RunDirectory:
    """Return the run with some of its rows, and with other embeddings or presence."""
    kept = tuple(run.record.rows[n] for n in rows)
    changed = RunDirectory(run.path, run.record.model_copy(update={"rows": kept}))
    every = run._tensors | tensors
    changed.__dict__["_tensors"] = {name: tensor[rows] for name, tensor in every.items()}
    return changed


def test_the_graph_study_compares_with_no_graph(run: RunDirectory, tmp_path: Path) -> None:
    found = run_study(run, "graph", tmp_path)
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["no_graph", "transductive", "bank", "bank_with_labels"]
    assert found.seeds == run.record.seeds
    bank, base = (rows[name].figures["test"]["weighted_f1"] for name in ("bank", "no_graph"))
    differences = [b - a for b, a in zip(bank.values, base.values, strict=True)]
    assert rows["bank"].minus_reference["test"]["weighted_f1"] == estimate(differences, 0)
    assert rows["no_graph"].minus_reference == {}
    assert [(pair.row, pair.minus) for pair in found.pairs] == [
        ("bank", "transductive"),
        ("bank_with_labels", "bank"),
    ]
    labelled = rows["bank_with_labels"].figures["test"]["weighted_f1"]
    gained = [a - b for a, b in zip(labelled.values, bank.values, strict=True)]
    assert found.pairs[1].difference["test"]["weighted_f1"] == estimate(gained, 0)
    write_study(found, tmp_path)
    tables = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "| `bank_with_labels` minus `bank` |" in tables
    lines = list(csv.DictReader((tmp_path / "study.csv").open(encoding="utf-8")))
    assert {(line["row"], line["minus"]) for line in lines} >= {("bank", "no_graph"), ("bank", "")}
    assert {line["parameters"] for line in lines if line["row"] == "bank"} == {
        str(rows["bank"].parameters)
    }
    assert rows["bank_with_labels"].parameters == rows["bank"].parameters + 3 * 32  # an embedding
    # The same heads as the run's own, so the same answers.
    own = evaluate_run(run, "test").graphs
    assert bank.values == pytest.approx(own["inductive"].figures["weighted_f1"].values)
    across = rows["transductive"].figures["test"]["weighted_f1"].values
    assert across == pytest.approx(own["transductive"].figures["weighted_f1"].values)


def test_a_head_that_is_done_is_not_trained_again(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def counted(name: str, *args: Any, **kwargs: Any) -> Any:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(name)
        return train_head(name, *args, **kwargs)

    train_head: Callable[..., Any] = module.train_head
    monkeypatch.setattr(module, "train_head", counted)
    with pytest.raises(KeyboardInterrupt):
        run_study(run, "topk", tmp_path, seeds=1, max_k=2)
    finished = sorted((tmp_path / "cells").iterdir())
    assert len(finished) == 3
    finished[0].write_text("{", encoding="utf-8")  # damaged
    trained.clear()
    resumed = run_study(run, "topk", tmp_path, seeds=1, max_k=2)
    assert trained == ["k_audio_1_k_text_1", "k_audio_2_k_text_2"]

    monkeypatch.undo()
    assert run_study(run, "topk", tmp_path / "whole", seeds=1, max_k=2) == resumed
    assert [(row.k_audio, row.k_text) for row in resumed.rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("kind", ["topk", "gnn"])
def test_a_study_becomes_tables_and_a_picture(
    run: RunDirectory, tmp_path: Path, kind: StudyKind
) -> None:
    found = run_study(run, kind, tmp_path, seeds=1, max_k=2)
    paths = write_study(found, tmp_path)
    assert [path.name for path in paths] == ["study.json", "study.csv", "study.md", "study.png"]
    assert type(found).model_validate_json(paths[0].read_bytes()) == found
    lines = list(csv.DictReader(paths[1].open(encoding="utf-8")))
    assert {line["row"] for line in lines} == {row.name for row in found.rows}
    tables = paths[2].read_text(encoding="utf-8")
    assert all(f"| `{row.name}` |" in tables for row in found.rows)
    assert ("| `gcn` minus `gat` |" in tables) == (kind == "gnn")
    assert paths[3].read_bytes().startswith(b"\x89PNG")


def test_studies_are_the_papers_tables(tiny_recipe: Recipe) -> None:
    assert len(plan_study("topk", tiny_recipe, 10).variants) == 100
    names = {
        kind: [variant.name for variant in plan_study(kind, tiny_recipe, 10).variants]
        for kind in ("modules", "gnn", "depth")
    }
    assert names == {
        "modules": [
            f"{modules}{alone}"
            for modules in ("full", "no_gnn", "no_cmt")
            for alone in ("", "_audio", "_text")
        ],
        "gnn": ["gat", "gcn", "sage"],
        "depth": ["layers_1", "layers_2", "layers_3", "layers_4"],
    }


def test_the_modules_study_is_laid_out_as_table_4(run: RunDirectory, tmp_path: Path) -> None:
    found = run_study(run, "modules", tmp_path, seeds=1)
    rows = {row.name: row for row in found.rows}
    assert len(rows) == 9
    assert rows["no_gnn_text"].k_text == run.record.recipe.graph.k_text
    assert rows["no_cmt_text"].parameters < rows["no_cmt"].parameters
    write_study(found, tmp_path)
    tables = (tmp_path / "study.md").read_text(encoding="utf-8")
    (line, _) = [line for line in tables.splitlines() if line.startswith("| without CMT |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    assert cells == [
        rows[name].figures["val"][figure].percent()
        for name in ("no_cmt_audio", "no_cmt_text", "no_cmt")
        for figure in ("accuracy", "weighted_f1")
    ]


def test_the_heat_map_frames_what_validated_best(run: RunDirectory, tmp_path: Path) -> None:
    found = run_study(run, "topk", tmp_path, seeds=1, max_k=2)
    picture = study_report.heat_maps(found.model_copy(update={"chosen": "k_audio_2_k_text_1"}))
    maps, bars = picture.axes[:2], picture.axes[2:]
    for axis in maps:
        (frame,) = axis.patches
        assert frame.get_xy() == (-0.5, 0.5)
    assert [bar.get_ylabel() for bar in bars] == ["weighted F1, %"] * 2


def test_cells_of_another_version_are_trained_again(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(run, "topk", tmp_path, seeds=1, max_k=1)
    (cell,) = (tmp_path / "cells").iterdir()
    cell.write_text(cell.read_text().replace(f'"{__version__}"', '"0.0.1"'))
    trained: list[str] = []
    train_head = module.train_head
    monkeypatch.setattr(
        module, "train_head", lambda *a, **k: (trained.append(a[0]), train_head(*a, **k))[1]
    )
    run_study(run, "topk", tmp_path, seeds=1, max_k=1)
    assert trained == ["k_audio_1_k_text_1"]


@pytest.mark.parametrize(
    ("kind", "max_k", "message"),
    [
        ("topk", 24, "split 'train', row k_audio_1_k_text_24: graph.k_text is 24, but only 23"),
        ("graph", 1, "split 'val', row bank: graph.k_text is 3, but only 2"),
    ],
)
def test_a_graph_that_is_too_large_is_refused_before_training(
    kind: StudyKind, max_k: int, message: str, run: RunDirectory, tmp_path: Path
) -> None:
    of_val = [n for n, row in enumerate(run.record.rows) if row.split == "val"]
    few = with_rows(run, [n for n in range(len(run.record.rows)) if n not in of_val[3:]])
    with pytest.raises(ConfigError, match=re.escape(message)):
        run_study(few, kind, tmp_path, seeds=1, max_k=max_k)
    assert not (tmp_path / "cells").exists()


def test_a_recipe_that_does_not_fit_is_refused(tiny_recipe: Recipe) -> None:
    without = tiny_recipe.model_copy(
        update={"head": tiny_recipe.head.model_copy(update={"modules": "no_gnn"})}
    )
    with pytest.raises(ConfigError, match=r"head\.modules is no_gnn"):
        plan_study("depth", without, 10)


def test_rows_of_one_modality_are_of_those_that_have_it(run: RunDirectory, tmp_path: Path) -> None:
    every = list(range(len(run.record.rows)))
    present = run._tensors["present"].clone()
    present[::3, 0] = False
    audio = run._tensors["audio"] * present[:, :1]
    holes = with_rows(run, every, present=present, audio=audio)
    heard = with_rows(run, [n for n in every if present[n, 0]])
    found, of_heard, of_all = (
        {row.name: row.figures for row in run_study(r, "modules", place, seeds=1).rows}
        for r, place in (
            (holes, tmp_path / "holes"),
            (heard, tmp_path / "heard"),
            (run, tmp_path / "all"),
        )
    )
    for modules in ("full", "no_gnn", "no_cmt"):
        assert found[f"{modules}_audio"] == of_heard[f"{modules}_audio"]
        assert found[f"{modules}_text"] == of_all[f"{modules}_text"]  # nobody lacks text


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_a_modality_is_refused(
    split: str, run: RunDirectory, tmp_path: Path
) -> None:
    present = run._tensors["present"].clone()
    of_split = [n for n, row in enumerate(run.record.rows) if row.split == split]
    present[of_split, 0] = False
    silent = with_rows(run, list(range(len(present))), present=present)
    # Where the bank has none, the graph of the head that reads both is refused before.
    lacks = {
        "train": "row full: graph.k_audio is 2",
        "test": "row full_audio: no utterance has audio",
    }
    with pytest.raises(ConfigError, match=f"split '{split}', {lacks[split]}"):
        run_study(silent, "modules", tmp_path, seeds=1)
    assert not (tmp_path / "cells").exists()
