"""A study's figures over seeds: what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hemogat.config import Settings
from hemogat.data.manifest import Split
from hemogat.training.intervals import Estimate, estimate
from hemogat.training.metrics import Figure

StudyKind = Literal["topk", "modules", "gnn", "depth", "graph"]
STUDY_FIGURES: tuple[Figure, ...] = (
    "accuracy",
    "unweighted_accuracy",
    "weighted_f1",
    "macro_f1",
)
RANKED_BY: Figure = "weighted_f1"

_BySplit = dict[Split, dict[str, float]]


class VariantFigures(Settings):
    """One row as it was measured: by seed, split and figure."""

    name: str
    k_audio: int
    k_text: int
    parameters: int
    macs_per_node: int
    by_seed: tuple[_BySplit, ...]


class StudyRow(Settings):
    """One row over seeds.

    ``parameters`` and ``macs_per_node`` are the head's. ``minus_reference`` are the differences
    from the study's reference, paired by seed; empty for the reference itself.
    Nothing of a study is exported, so an estimate's ``best`` is the first seed's value.
    """

    name: str
    k_audio: int
    k_text: int
    parameters: int
    macs_per_node: int
    figures: dict[Split, dict[str, Estimate]]
    minus_reference: dict[Split, dict[str, Estimate]]


class Pair(Settings):
    """One row minus another, paired by seed."""

    row: str
    minus: str
    difference: dict[Split, dict[str, Estimate]]


class Study(Settings):
    """A study's result. ``chosen``: the row with the best mean weighted F1 on ``val``.

    ``pairs``: differences between rows of which none is the reference.
    """

    kind: StudyKind
    recipe: str
    seeds: tuple[int, ...]
    reference: str | None
    chosen: str
    rows: tuple[StudyRow, ...]
    pairs: tuple[Pair, ...] = ()


def summarise_study(
    kind: StudyKind,
    recipe: str,
    seeds: Sequence[int],
    variants: Sequence[VariantFigures],
    reference: str | None,
    pairs: Sequence[tuple[str, str]] = (),
) -> Study:
    """Put figures and intervals on what was measured; ``pairs``: further rows to compare."""
    measured = {v.name: v.by_seed for v in variants}
    base = None if reference is None else measured[reference]
    rows = tuple(_row(v, None if v.name == reference else base) for v in variants)
    chosen = max(rows, key=lambda row: row.figures["val"][RANKED_BY].mean)
    return Study(
        kind=kind,
        recipe=recipe,
        seeds=tuple(seeds),
        reference=reference,
        chosen=chosen.name,
        rows=rows,
        pairs=tuple(
            Pair(
                row=one,
                minus=other,
                difference=_estimates(_minus(measured[one], measured[other])),
            )
            for one, other in pairs
        ),
    )


def _row(variant: VariantFigures, base: tuple[_BySplit, ...] | None) -> StudyRow:
    difference = None if base is None else _minus(variant.by_seed, base)
    return StudyRow(
        **variant.model_dump(exclude={"by_seed"}),
        figures=_estimates(variant.by_seed),
        minus_reference={} if difference is None else _estimates(difference),
    )


def _minus(one: Sequence[_BySplit], other: Sequence[_BySplit]) -> list[_BySplit]:
    return [
        {split: {n: mine[split][n] - theirs[split][n] for n in mine[split]} for split in mine}
        for mine, theirs in zip(one, other, strict=True)
    ]


def _estimates(by_seed: Sequence[_BySplit]) -> dict[Split, dict[str, Estimate]]:
    return {
        split: {name: estimate([s[split][name] for s in by_seed], best=0) for name in figures}
        for split, figures in by_seed[0].items()
    }
