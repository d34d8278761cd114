from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hemogat.cli.main import app
from hemogat.data.manifest import Split
from hemogat.errors import InputError
from hemogat.training import pooled_evaluation as module
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import Evaluation
from hemogat.training.intervals import estimate
from hemogat.training.pooled_evaluation import Pooled, pool_runs
from hemogat.training.run_directory import RunDirectory


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folds(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two copies of a run, which were tested on one half of its test split each."""
    place = tmp_path_factory.mktemp("folds")
    paths = []
    for number in range(2):
        path = Path(shutil.copytree(tiny_run, place / f"run{number}"))
        record = json.loads((path / "run.json").read_text())
        tested = [row for row in record["rows"] if row["split"] == "test"]
        for row in tested[number::2]:
            row["split"] = "val"  # leaves the other half
        (path / "run.json").write_text(json.dumps(record))
        paths.append(path)
    return paths


def test_runs_are_pooled(folds: list[Path]) -> None:
    out = folds[0].parent / "pooled" / "test"
    result = invoke("evaluate", "--pool", *folds, "--json")
    assert result.exit_code == 0, result.stderr
    pooled = Pooled.model_validate_json(result.stdout)
    assert pooled == Pooled.model_validate_json((out / "pooled.json").read_bytes())
    by_run = [evaluate_run(RunDirectory.open(path)) for path in folds]
    for number, row in enumerate(pooled.rows):
        of_runs = [evaluation.rows[number] for evaluation in by_run]
        assert (row.head, row.graph, row.inputs) == (
            of_runs[0].head,
            of_runs[0].graph,
            of_runs[0].inputs,
        )
        means = [found.figures["weighted_f1"].mean for found in of_runs]
        assert row.figures["weighted_f1"] == estimate(means, 0)
        summed = np.sum([found.confusion for found in of_runs], axis=0)
        assert np.array_equal(row.confusion, summed)
    assert pooled.rows[0].utterances == 12
    gains = [e.graph_gain["accuracy"].mean for e in by_run if e.graph_gain]
    assert pooled.graph_gain is not None
    assert pooled.graph_gain["accuracy"] == estimate(gains, 0)
    report = (out / "report.md").read_text()
    for path, evaluation in zip(folds, by_run, strict=True):
        accuracy = evaluation.served.figures["accuracy"].percent()
        assert f"| `{path}` | 6 | {accuracy} |" in report
    assert f"| {pooled.rows[0].figures['accuracy'].percent()} |" in report


def test_what_cannot_be_pooled_is_refused(folds: list[Path], tiny_run: Path) -> None:
    with pytest.raises(InputError, match="two runs or more"):
        pool_runs(folds[:1], "test")
    with pytest.raises(InputError, match=r"is in its test split and in that of .*run0"):
        pool_runs([folds[0], tiny_run], "test")
    with pytest.raises(InputError, match="in its test split and in that of"):
        pool_runs([folds[0], folds[0]], "test")
    several = invoke("evaluate", *folds)
    assert several.exit_code == 2
    assert "--pool" in several.stderr


def changed(run: Path, place: Path, change: Callable[[Any], object]) -> Path:
    """Return a copy of a run with its recipe changed."""
    copy = Path(shutil.copytree(run, place / "changed"))
    record = json.loads((copy / "run.json").read_text())
    change(record["recipe"])
    (copy / "run.json").write_text(json.dumps(record))
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["graph"].update(k_audio=1), r"graph\.k_audio 1, and .*run0 with 2; pool runs"),
        (lambda r: r.update(labels=[*r["labels"], "x"]), r"labels \[.*'x'\], and .*run0 with \["),
        (lambda r: r["text_encoder"].update(pretrained="a/b"), r"pretrained a/b, and .* with None"),
    ],
)
def test_runs_of_other_recipes_are_not_pooled(
    change: Callable[[Any], object], message: str, folds: list[Path], tmp_path: Path
) -> None:
    other = changed(folds[1], tmp_path, change)
    with pytest.raises(InputError, match=rf"changed: was trained with .*{message}"):
        pool_runs([folds[0], other], "test")


def test_folds_may_have_names_seeds_and_encoders_of_their_own(
    folds: list[Path], tmp_path: Path
) -> None:
    def name(number: int) -> Callable[[Any], object]:
        encoder = tmp_path / f"encoder{number}"
        own = {"name": f"fold{number}", "seed": number, "seeds": 2 + number}
        return lambda r: r.update(own, audio_encoder={"pretrained": str(encoder)})

    named = [
        changed(fold, tmp_path / str(number), name(number)) for number, fold in enumerate(folds)
    ]
    assert pool_runs(named, "test").rows == pool_runs(folds, "test").rows


def test_runs_without_a_common_answer_are_refused(
    folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = iter(("full", "no_gnn"))

    def evaluated(run: RunDirectory, split: Split, progress: object) -> Evaluation:
        found, head = evaluate_run(run, split), next(heads)
        rows = tuple(row for row in found.rows if row.head == head)
        return found.model_copy(update={"rows": rows})

    monkeypatch.setattr(module, "evaluate_run", evaluated)
    with pytest.raises(InputError, match="has no head, graph and inputs in common"):
        pool_runs(folds, "test")
