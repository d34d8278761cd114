"""A study as files: JSON, CSV, a Markdown table and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Picture

from hemogat.data.manifest import Split
from hemogat.files import write_atomic
from hemogat.training.evaluation_tables import FIGURE_TITLES
from hemogat.training.intervals import Estimate
from hemogat.training.study_record import RANKED_BY, STUDY_FIGURES, Study, StudyRow

_SPLITS: tuple[Split, ...] = ("val", "test")
_DOTS_PER_INCH = 120


def write_study(study: Study, folder: Path) -> list[Path]:
    """Write ``study.json``, ``study.csv``, ``study.md`` and ``study.png``; return their paths."""
    contents: dict[str, str | bytes] = {
        "study.json": study.model_dump_json(indent=1) + "\n",
        "study.csv": _csv(study),
        "study.md": _markdown(study),
        "study.png": _png(study),
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def _csv(study: Study) -> str:
    """One line per row, split and figure; ``of`` tells figures from differences."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("mean", "std", "low", "high")
    writer.writerow(("row", "k_audio", "k_text", "split", "figure", "of", *columns, "by_seed"))
    for row in study.rows:
        for of, found in (("value", row.figures), ("difference", row.minus_reference)):
            for split, figures in found.items():
                for name, e in figures.items():
                    numbers = [getattr(e, column) for column in columns]
                    values = " ".join(map(str, e.values))
                    line = (row.name, row.k_audio, row.k_text, split, name, of, *numbers, values)
                    writer.writerow(line)
    return text.getvalue()


def _markdown(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        f"# Study {study.kind}: {study.recipe}",
        "",
        f"Per cent, mean ± half the 95 % t-interval over seeds {seeds}. Choose on `val`: there "
        f"`{study.chosen}` has the best mean weighted F1.",
        "",
    ]
    for split in _SPLITS:
        titles = [FIGURE_TITLES[name] for name in STUDY_FIGURES]
        lines += [f"## {split}", "", *_table(["row", "parameters", "MACs per node", *titles])]
        for row in study.rows:
            cells = [row.figures[split][name].percent() for name in STUDY_FIGURES]
            size = [f"{row.parameters:,}", f"{row.macs_per_node:,}"]
            lines.append(_line([f"`{row.name}`", *size, *cells]))
        lines += ["", *_differences(study, split)]
    return "\n".join(lines)


def _differences(study: Study, split: Split) -> Iterator[str]:
    rows = [row for row in study.rows if row.minus_reference]
    if not rows:
        return
    titles = [f"{FIGURE_TITLES[name]}, points" for name in STUDY_FIGURES]
    yield f"Difference from `{study.reference}`, paired by seed, with the 95 % t-interval:"
    yield ""
    yield from _table(["row", *titles])
    for row in rows:
        found = row.minus_reference[split]
        yield _line([f"`{row.name}`", *(_points(found[name]) for name in STUDY_FIGURES)])
    yield ""


def _points(difference: Estimate) -> str:
    mean = f"{100 * difference.mean:+.1f}"
    if difference.low is None or difference.high is None:
        return mean
    return f"{mean} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def _table(titles: list[str]) -> list[str]:
    return [_line(titles), _line(["---", *["---:"] * (len(titles) - 1)])]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _png(study: Study) -> bytes:
    picture = _heat_maps(study) if study.kind == "topk" else _bars(study)
    content = io.BytesIO()
    picture.savefig(content, dpi=_DOTS_PER_INCH, format="png")
    return content.getvalue()


def _heat_maps(study: Study) -> Picture:
    """Draw the mean weighted F1 by k_audio and k_text, as the paper's Figure 4."""
    picture = Picture(figsize=(13, 6), layout="constrained")
    axes = picture.subplots(1, len(_SPLITS), squeeze=False)[0]
    largest = max(row.k_audio for row in study.rows)
    for axis, split in zip(axes, _SPLITS, strict=True):
        grid = np.empty((largest, largest))
        for row in study.rows:
            grid[row.k_audio - 1, row.k_text - 1] = 100 * _f1(row, split).mean
        ticks = range(largest)
        axis.imshow(grid, cmap="Greys", origin="lower")
        middle = (grid.min() + grid.max()) / 2
        for (a, t), value in np.ndenumerate(grid):
            colour = "white" if value > middle else "black"
            axis.text(t, a, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(ticks, [str(k + 1) for k in ticks])
        axis.set_yticks(ticks, [str(k + 1) for k in ticks])
        axis.set(xlabel="k_text", ylabel="k_audio", title=f"weighted F1, {split}, %")
    return picture


def _bars(study: Study) -> Picture:
    """Draw the weighted F1 of every row with its interval."""
    picture = Picture(figsize=(2 + 1.6 * len(study.rows), 4.5), layout="constrained")
    axis = picture.subplots()
    for number, split in enumerate(_SPLITS):
        found = [_f1(row, split) for row in study.rows]
        places = np.arange(len(found)) + 0.15 * (2 * number - 1)
        half = [100 * (e.high - e.mean) if e.high is not None else 0.0 for e in found]
        means = [100 * e.mean for e in found]
        axis.errorbar(places, means, yerr=half, fmt="os"[number], capsize=4, label=split)
    axis.set_xticks(range(len(study.rows)), [row.name for row in study.rows])
    axis.set(ylabel="weighted F1, %", title=f"{study.recipe}: mean and 95 % t-interval")
    axis.legend()
    return picture


def _f1(row: StudyRow, split: Split) -> Estimate:
    return row.figures[split][RANKED_BY]
