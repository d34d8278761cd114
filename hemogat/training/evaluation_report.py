"""The files of an evaluation: ``metrics.json``, ``report.md`` and the pictures that it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure as Picture

from hemogat.files import folder_written_whole
from hemogat.progress import Progress
from hemogat.training import evaluation_plots as plots
from hemogat.training.evaluation_record import (
    CONTROL,
    Answers,
    Evaluation,
    SplitAnswers,
    summarise_answers,
)
from hemogat.training.evaluation_tables import (
    GRAPH_TITLES,
    all_figures_table,
    calibration_table,
    graph_gain_lines,
    layer_cosine_table,
    per_class_tables,
    recognition_table,
    seeds_sentence,
    skipped_lines,
)
from hemogat.training.head_names import FULL

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.md"

_Draw = Callable[[Sequence[Answers], int, Sequence[str]], Picture]
_PICTURES: dict[str, tuple[str, _Draw]] = {
    "confusion": ("Confusion matrix", plots.confusion_picture),
    "roc": ("ROC, each label against the rest", plots.roc_picture),
    "precision-recall": ("Precision and recall", plots.precision_recall_picture),
    "reliability": ("Reliability", plots.reliability_picture),
    "tsne": ("t-SNE", plots.tsne_picture),
}


def write_evaluation(
    answers: SplitAnswers, out: Path, progress: Progress | None = None, *, pictures: bool = True
) -> Evaluation:
    """Measure ``answers`` and write the folder ``out``, whole or not at all.

    An evaluation that stands there is replaced.

    Raises:
        InputError: ``out`` is something else.
    """
    evaluation = summarise_answers(answers)
    with folder_written_whole(out, replace_if_has=METRICS_FILE) as folder:
        metrics = json.dumps(evaluation.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / METRICS_FILE).write_text(metrics + "\n", encoding="utf-8")
        drawn = _draw_all(answers, folder, progress or Progress()) if pictures else []
        (folder / REPORT_FILE).write_text(report(evaluation, drawn), encoding="utf-8")
    return evaluation


def report(evaluation: Evaluation, pictures: Sequence[str] = ()) -> str:
    """Return the report as Markdown; ``pictures``: the lines of its last section."""
    served = evaluation.served
    sections: dict[str, list[str]] = {
        "Recognition, %": recognition_table(evaluation),
        "Precision and calibration, %": [
            *calibration_table(evaluation),
            "",
            "Recall adds nothing to this: weighted, it is WA, and macro, UA. ECE: the expected "
            f"calibration error of the predicted label, {evaluation.ece_bins} bins of equal width.",
        ],
        "What the graph adds": graph_gain_lines(evaluation),
        f"All figures, {GRAPH_TITLES[served.graph]}, %": all_figures_table(evaluation),
        "By label, %": per_class_tables(evaluation),
        "Likeness of the nodes after each graph layer": layer_cosine_table(evaluation),
        "Left out, unreadable": skipped_lines(evaluation),
        "Pictures": list(pictures),
    }
    lines = [
        f"# Evaluation of {evaluation.name}, {evaluation.split} split",
        "",
        f"{served.utterances} utterances, labels {', '.join(evaluation.labels)}. "
        + seeds_sentence(evaluation),
        "",
        "`inductive`: neighbours from the bank of training utterances, what a bundle serves. "
        "`transductive`: neighbours from the split itself, the paper's way. `self_loop`: none. "
        "`no_gnn`, `audio_only` and `text_only` are heads of their own, trained without the "
        "graph or on one modality. With inputs `audio` or `text`, only the utterances that have "
        "it are asked, and with nothing else.",
        "",
    ]
    for title, body in sections.items():
        if body:
            lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines)


def _draw_all(answers: SplitAnswers, folder: Path, progress: Progress) -> list[str]:
    """Draw every kind of picture for every graph and the control; return the report's lines."""
    groups: dict[str, list[Answers]] = {}
    for row in answers.rows:
        if row.head in (FULL, CONTROL):
            groups.setdefault(row.graph if row.head == FULL else row.head, []).append(row)
    lines = [f"Of seed {answers.best_seed}, the exported one."]
    with progress.stage("Draw pictures", len(groups) * len(_PICTURES)) as stage:
        for group, rows in groups.items():
            lines += ["", f"### {GRAPH_TITLES[group]}"]
            for kind, (title, draw) in _PICTURES.items():
                shown = [r for r in rows if plots.has_tsne(r)] if kind == "tsne" else rows
                if shown:
                    name = f"{kind}-{group}.png"
                    heading = f"{title}: {_of(answers, group)}"
                    plots.save(draw(shown, answers.best, answers.labels), heading, folder / name)
                    lines += ["", f"![{heading}]({name})"]
                if len(shown) < len(rows):
                    lines += ["", _no_tsne(answers, len(rows) - len(shown))]
                elif kind == "tsne":
                    lines += ["", f"t-SNE of {answers.features}."]
                stage.advance(note=f"{group}, {kind}")
    return lines


def _of(answers: SplitAnswers, group: str) -> str:
    seed = f", seed {answers.best_seed}"
    return f"{answers.name}, {answers.split} split, {GRAPH_TITLES[group]}{seed}"


def _no_tsne(answers: SplitAnswers, rows: int) -> str:
    return (
        f"No t-SNE for {rows} of the inputs: it needs {plots.MIN_TSNE_UTTERANCES} utterances "
        f"that differ in {answers.features}."
    )
