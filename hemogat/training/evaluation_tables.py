"""An evaluation as Markdown tables and sentences, for the report and for the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hemogat.training.evaluation_record import Evaluation, EvaluationRow
from hemogat.training.intervals import Estimate
from hemogat.training.metrics import FIGURES, Figure

GRAPH_TITLES = {
    "inductive": "inductive graph",
    "transductive": "transductive graph",
    "self_loop": "self-loops only",
    "no_gnn": "control without graph",
}
FIGURE_TITLES: dict[Figure, str] = {
    "accuracy": "accuracy (WA)",
    "unweighted_accuracy": "mean recall (UA)",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "weighted_precision": "weighted precision",
    "macro_precision": "macro precision",
    "weighted_recall": "weighted recall",
    "macro_recall": "macro recall",
    "ece": "ECE",
}
RECOGNITION: tuple[Figure, ...] = ("accuracy", "unweighted_accuracy", "weighted_f1", "macro_f1")
_CALIBRATION: tuple[Figure, ...] = ("weighted_precision", "macro_precision", "ece")


def seeds_sentence(evaluation: Evaluation) -> str:
    """Say how many seeds the figures stand on, and what the interval covers."""
    seeds = evaluation.seeds
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}), so there is no interval: a few points may be chance."
    return (
        f"Mean ± half the 95 % t-interval over {len(seeds)} seeds "
        f"({', '.join(map(str, seeds))}), seed {evaluation.best_seed} exported. The interval "
        f"covers the chance in training, not that of other speakers or recordings."
    )


def recognition_table(evaluation: Evaluation) -> list[str]:
    """Return WA, UA and F1 of every row, and the exported seed's own weighted F1."""
    exported = f"weighted F1, seed {evaluation.best_seed}"
    rows = (
        (*_names(row), *_cells(row, RECOGNITION), _percent(row.figures["weighted_f1"].best))
        for row in evaluation.rows
    )
    return table((*_ROW_TITLES, *_titles(RECOGNITION), exported), len(_NAMES), rows)


def calibration_table(evaluation: Evaluation) -> list[str]:
    """Return precision and ECE of every row."""
    rows = ((*_names(row), *_cells(row, _CALIBRATION)) for row in evaluation.rows)
    return table((*_ROW_TITLES, *_titles(_CALIBRATION)), len(_NAMES), rows)


def all_figures_table(evaluation: Evaluation) -> list[str]:
    """Return every figure of the served row: mean, deviation, interval, the exported seed's."""
    head = ("figure", "mean", "standard deviation", "95 % t-interval", _seed(evaluation))
    found = evaluation.served.figures
    return table(head, 1, ((FIGURE_TITLES[name], *_spread(found[name])) for name in FIGURES))


def per_class_table(evaluation: Evaluation, row: EvaluationRow | None = None) -> list[str]:
    """Return precision, recall, F1 and support of every label in a row, by default the served."""
    rows = (
        (label, c.precision.percent(), c.recall.percent(), c.f1.percent(), str(c.support))
        for label, c in zip(evaluation.labels, (row or evaluation.served).per_class, strict=True)
    )
    return table(("label", "precision", "recall", "F1", "utterances"), 1, rows)


def per_class_tables(evaluation: Evaluation) -> list[str]:
    """Return the table of every row, each under its name."""
    lines: list[str] = []
    for row in evaluation.rows:
        head, graph, inputs, _ = _names(row)
        lines += ["", f"### {head}, {graph}, {inputs}", "", *per_class_table(evaluation, row)]
    return lines[1:]


def graph_gain_lines(evaluation: Evaluation) -> list[str]:
    """Say what the inductive graph adds to ``no_gnn``; nothing where one of them is missing."""
    gain = evaluation.graph_gain
    if gain is None:
        return []
    head = ("inductive minus no_gnn, points", "mean", "standard deviation", "95 % t-interval")
    rows = ((FIGURE_TITLES[name], *_spread(gain[name], signed=True)[:-1]) for name in RECOGNITION)
    return [graph_gain_sentence(gain["weighted_f1"]), "", *table(head, 1, rows)]


def graph_gain_sentence(gain: Estimate) -> str:
    """Say in words whether the seeds show that the graph changes the weighted F1."""
    change = f"The graph changes the weighted F1 by {_points(gain.mean)} points"
    if gain.low is None or gain.high is None:
        return f"{change} in one seed, which shows neither a gain nor a loss."
    count = len(gain.values)
    interval = f"({_points(gain.low)} to {_points(gain.high)}, paired over {count} seeds)"
    if gain.low > 0:
        return f"{change} {interval}: a gain."
    if gain.high < 0:
        return f"{change} {interval}: a loss."
    return f"{change} {interval}: the interval holds 0, so neither a gain nor a loss is shown."


def skipped_lines(evaluation: Evaluation) -> list[str]:
    """Say which utterances were left out and why; nothing if none was."""
    skipped = evaluation.skipped
    if not skipped:
        return []
    counts = Counter(row.split or "unknown" for row in skipped)
    by_split = ", ".join(f"{split} {counts[split]}" for split in sorted(counts))
    listed = (f"- `{row.id}`: {row.reason}" for row in skipped)
    return [f"{len(skipped)} utterances, by split: {by_split}.", "", *listed]


def layer_cosine_table(evaluation: Evaluation) -> list[str]:
    """Return the mean cosine of all pairs of nodes after each layer, for the exported head."""
    rows = [(g, row.layer_cosine) for g, row in evaluation.graphs.items() if row.layer_cosine]
    if not rows:
        return []
    layers = (f"layer {number + 1}" for number in range(len(rows[0][1])))
    cells = ((f"`{g}`", *(f"{cosine.mean:.2f}" for cosine in cosines)) for g, cosines in rows)
    return [
        "Mean cosine of all pairs: towards 1, a layer smooths away what tells them apart.",
        "",
        *table(("graph", *layers), 1, cells),
    ]


_NAMES = ("head", "graph", "inputs")
_ROW_TITLES = (*_NAMES, "utterances")


def _names(row: EvaluationRow) -> tuple[str, ...]:
    return (f"`{row.head}`", f"`{row.graph}`", row.inputs, str(row.utterances))


def _titles(figures: Sequence[Figure]) -> list[str]:
    return [FIGURE_TITLES[name] for name in figures]


def _cells(row: EvaluationRow, figures: Sequence[Figure]) -> list[str]:
    return [row.figures[name].percent() for name in figures]


def _seed(evaluation: Evaluation) -> str:
    return f"seed {evaluation.best_seed} (exported)"


def _spread(found: Estimate, *, signed: bool = False) -> tuple[str, str, str, str]:
    show = _points if signed else _percent
    if found.std is None or found.low is None or found.high is None:
        return show(found.mean), "one seed", "one seed", show(found.best)
    interval = f"{show(found.low)} to {show(found.high)}"
    return show(found.mean), _percent(found.std), interval, show(found.best)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def table(head: Sequence[str], left: int, rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose first ``left`` columns align left, the others right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    escaped = ([cell.replace("|", r"\|") for cell in cells] for cells in (head, rule, *rows))
    return ["| " + " | ".join(cells) + " |" for cells in escaped]
