"""Several runs of one recipe on other parts of a corpus, as one result: cross-validation.

Each run is a fold, such as IEMOCAP with one session left out. Folds may have other names and seeds,
and pretrained encoders of their own. The interval is that of the mean over folds, each of
which counts alike, with the mean over its seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from hemogat.config import AudioEncoderConfig, Recipe, Settings, TextEncoderConfig
from hemogat.data.manifest import Split
from hemogat.errors import InputError
from hemogat.files import folder_written_whole
from hemogat.progress import Progress
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import Evaluation, EvaluationRow, GraphKind, Inputs
from hemogat.training.evaluation_tables import FIGURE_TITLES, RECOGNITION, table
from hemogat.training.intervals import Estimate, estimate
from hemogat.training.metrics import FIGURES, Figure
from hemogat.training.run_directory import RunDirectory
from hemogat.training.settings_difference import first_difference

POOLED_FILE = "pooled.json"
_RowKey = tuple[str, GraphKind, Inputs]
EncoderT = TypeVar("EncoderT", AudioEncoderConfig, TextEncoderConfig)


class Fold(Settings):
    """One run and what it was tested on; ``figures``: of what it serves, over its seeds."""

    run: str
    utterances: int
    figures: dict[Figure, Estimate]


class PooledRow(Settings):
    """One kind of head, on one graph, with one kind of input, over folds.

    ``confusion``: true labels by predicted ones, of every fold's exported seed, summed.
    """

    head: str
    graph: GraphKind
    inputs: Inputs
    utterances: int
    figures: dict[Figure, Estimate]
    confusion: tuple[tuple[int, ...], ...]


class Pooled(Settings):
    """A cross-validation. ``graph_gain``: inductive minus ``no_gnn``, fold by fold."""

    split: Split
    labels: tuple[str, ...]
    folds: tuple[Fold, ...]
    rows: tuple[PooledRow, ...]
    graph_gain: dict[Figure, Estimate] | None


def pool_runs(runs: Sequence[Path], split: Split, progress: Progress | None = None) -> Pooled:
    """Evaluate every run on its own ``split`` and pool them.

    Raises:
        InputError: there is one run only, their recipes differ, an utterance is in the split of two
            of them, or they have no answers of one kind.
        BundleError: one is no run.
    """
    opened = [RunDirectory.open(path) for path in runs]
    _check(opened, split)
    evaluations = [evaluate_run(run, split, progress=progress) for run in opened]
    by_key = [{(r.head, r.graph, r.inputs): r for r in e.rows} for e in evaluations]
    shared = [key for key in by_key[0] if all(key in found for found in by_key)]
    if not shared:
        raise InputError(
            f"{runs[0]}: has no head, graph and inputs in common with the other runs; pool runs of "
            f"one recipe"
        )
    return Pooled(
        split=split,
        labels=evaluations[0].labels,
        folds=tuple(
            Fold(run=str(path), utterances=e.served.utterances, figures=e.served.figures)
            for path, e in zip(runs, evaluations, strict=True)
        ),
        rows=tuple(_row(key, [found[key] for found in by_key]) for key in shared),
        graph_gain=_graph_gain(evaluations),
    )


def write_pooled(pooled: Pooled, out: Path) -> Path:
    """Write ``pooled.json`` and ``report.md`` into the folder ``out``; return the report's path."""
    with folder_written_whole(out, replace_if_has=POOLED_FILE) as folder:
        text = json.dumps(pooled.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / POOLED_FILE).write_text(text + "\n", encoding="utf-8")
        (folder / "report.md").write_text(pooled_report(pooled), encoding="utf-8")
    return out / "report.md"


def pooled_report(pooled: Pooled) -> str:
    """Return the report as Markdown."""
    titles = [FIGURE_TITLES[name] for name in RECOGNITION]
    folds = (
        (f"`{fold.run}`", str(fold.utterances), *(fold.figures[f].percent() for f in RECOGNITION))
        for fold in pooled.folds
    )
    rows = (
        (
            *(f"`{row.head}`", f"`{row.graph}`", row.inputs, str(row.utterances)),
            *(row.figures[f].percent() for f in RECOGNITION),
        )
        for row in pooled.rows
    )
    served = pooled.rows[0]
    confusion = (
        (label, *map(str, counts), f"{100 * counts[number] / max(sum(counts), 1):.1f}")
        for number, (label, counts) in enumerate(zip(pooled.labels, served.confusion, strict=True))
    )
    lines = [
        f"# {len(pooled.folds)} runs, {pooled.split} splits, pooled",
        "",
        "## By run, %",
        "",
        "What is served; mean ± half the 95 % t-interval over the run's seeds.",
        "",
        *table(("run", "utterances", *titles), 1, folds),
        "",
        "## Over the runs, %",
        "",
        f"Mean ± half the 95 % t-interval over {len(pooled.folds)} runs, each with the mean of its "
        "seeds. It covers other speakers as far as the runs have others.",
        "",
        *table(("head", "graph", "inputs", "utterances", *titles), 3, rows),
        "",
        *_gain_lines(pooled),
        "## Confusion, all runs, what is served",
        "",
        "Utterances by true label (rows) and predicted one, of each run's exported seed.",
        "",
        *table(("true", *pooled.labels, "recall, %"), 1, confusion),
        "",
    ]
    return "\n".join(lines)


def _gain_lines(pooled: Pooled) -> list[str]:
    if pooled.graph_gain is None:
        return []
    gains = ((FIGURE_TITLES[f], pooled.graph_gain[f].points()) for f in RECOGNITION)
    head = ("inductive minus no_gnn, points", "mean and 95 % t-interval over runs")
    return ["## What the graph adds", "", *table(head, 1, gains), ""]


def _check(runs: Sequence[RunDirectory], split: Split) -> None:
    if len(runs) < 2:
        raise InputError("pooling needs two runs or more; leave out --pool for one")
    fold_of: dict[str, int] = {}
    for number, run in enumerate(runs):
        _check_same_recipe(runs[0], run)
        for row in run.record.rows:
            if row.split == split and fold_of.setdefault(row.id, number) != number:
                other = runs[fold_of[row.id]].path
                raise InputError(
                    f"{run.path}: {row.id} is in its {split} split and in that of {other}; pool "
                    "runs that were tested on different utterances"
                )


def _check_same_recipe(first: RunDirectory, run: RunDirectory) -> None:
    one, other = first.record.recipe, run.record.recipe
    difference = first_difference(_comparable(one, other), _comparable(other, one))
    if difference is not None:
        name, expected, found = difference
        raise InputError(
            f"{run.path}: was trained with {name} {found}, and {first.path} with {expected}; pool "
            f"runs of one recipe"
        )


def _comparable(recipe: Recipe, other: Recipe) -> Recipe:
    """Return the recipe without what it and a fold's ``other`` may have of their own."""
    return recipe.model_copy(
        update={
            "name": "",
            "seed": 0,
            "seeds": 1,
            "audio_encoder": _unnamed(recipe.audio_encoder, other.audio_encoder),
            "text_encoder": _unnamed(recipe.text_encoder, other.text_encoder),
        }
    )


def _unnamed(encoder: EncoderT, other: EncoderT) -> EncoderT:
    """Return the settings of an encoder; if both began pretrained, without the model's name.

    It may be a folder that is not there any more: runs hold their encoders themselves.
    """
    both = encoder.pretrained is not None and other.pretrained is not None
    return encoder.model_copy(update={"pretrained": None}) if both else encoder


def _row(key: _RowKey, folds: Sequence[EvaluationRow]) -> PooledRow:
    head, graph, inputs = key
    confusion = np.sum([row.confusion for row in folds], axis=0)
    return PooledRow(
        head=head,
        graph=graph,
        inputs=inputs,
        utterances=sum(row.utterances for row in folds),
        figures={name: estimate([r.figures[name].mean for r in folds], 0) for name in FIGURES},
        confusion=tuple(tuple(int(n) for n in line) for line in confusion),
    )


def _graph_gain(evaluations: Sequence[Evaluation]) -> dict[Figure, Estimate] | None:
    gains = [e.graph_gain for e in evaluations if e.graph_gain is not None]
    if len(gains) < len(evaluations):
        return None
    return {name: estimate([gain[name].mean for gain in gains], 0) for name in FIGURES}
