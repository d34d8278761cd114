"""A study as files: JSON, CSV, a Markdown table and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Rectangle

from hemogat.data.manifest import Split
from hemogat.files import write_atomic
from hemogat.training.evaluation_tables import FIGURE_TITLES
from hemogat.training.intervals import Estimate
from hemogat.training.study_plan import module_row
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
    """One line per row, split and figure; ``minus`` names the other row of a difference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("k_audio", "k_text", "parameters", "macs_per_node")
    columns = ("mean", "std", "low", "high")
    writer.writerow(("row", *facts, "minus", "split", "figure", *columns, "by_seed"))
    rows = {row.name: row for row in study.rows}
    found = [(row.name, "", row.figures) for row in study.rows]
    found += [(row.name, study.reference or "", row.minus_reference) for row in study.rows]
    found += [(pair.row, pair.minus, pair.difference) for pair in study.pairs]
    for name, minus, by_split in found:
        about = [getattr(rows[name], fact) for fact in facts]
        for split, figures in by_split.items():
            for figure, e in figures.items():
                numbers = [getattr(e, column) for column in columns]
                values = " ".join(map(str, e.values))
                writer.writerow((name, *about, minus, split, figure, *numbers, values))
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
        lines += [f"## {split}", ""]
        if study.kind == "modules":
            lines += [*_modules_table(study, split), ""]
        lines += [*_table(["row", "parameters", "MACs per node", *titles])]
        for row in study.rows:
            cells = [row.figures[split][name].percent() for name in STUDY_FIGURES]
            size = [f"{row.parameters:,}", f"{row.macs_per_node:,}"]
            lines.append(_line([f"`{row.name}`", *size, *cells]))
        lines += ["", *_differences(study, split)]
    return "\n".join(lines)


def _modules_table(study: Study, split: Split) -> Iterator[str]:
    """Lay the rows out as the paper's Table 4: modules by modalities, accuracy and weighted F1."""
    rows = {row.name: row for row in study.rows}
    titles = {"no_gnn": "without HM-GAT", "no_cmt": "without CMT", "full": "HemoGAT"}
    asked = {"audio": "audio", "text": "text", "both": "audio and text"}
    shown = {"accuracy": "accuracy", RANKED_BY: "weighted F1"}
    heads = [f"{a}: {figure}" for a in asked.values() for figure in shown.values()]
    yield from _table(["modules", *heads])
    for modules, title in titles.items():
        cells = [
            rows[module_row(modules, modalities)].figures[split][name].percent()
            for modalities in asked
            for name in shown
        ]
        yield _line([title, *cells])


def _differences(study: Study, split: Split) -> Iterator[str]:
    found = [
        (f"`{row.name}` minus `{study.reference}`", row.minus_reference[split])
        for row in study.rows
        if row.minus_reference
    ] + [(f"`{pair.row}` minus `{pair.minus}`", pair.difference[split]) for pair in study.pairs]
    if not found:
        return
    titles = [f"{FIGURE_TITLES[name]}, points" for name in STUDY_FIGURES]
    yield "Differences, paired by seed, with their 95 % t-interval:"
    yield ""
    yield from _table(["rows", *titles])
    for title, figures in found:
        yield _line([title, *(figures[name].points() for name in STUDY_FIGURES)])
    yield ""


def _table(titles: list[str]) -> list[str]:
    return [_line(titles), _line(["---", *["---:"] * (len(titles) - 1)])]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _png(study: Study) -> bytes:
    picture = heat_maps(study) if study.kind == "topk" else _bars(study)
    content = io.BytesIO()
    picture.savefig(content, dpi=_DOTS_PER_INCH, format="png")
    return content.getvalue()


def heat_maps(study: Study) -> Picture:
    """Draw the mean weighted F1 by k_audio and k_text, as the paper's Figure 4."""
    picture = Picture(figsize=(13, 6), layout="constrained")
    axes = picture.subplots(1, len(_SPLITS), squeeze=False)[0]
    largest = max(row.k_audio for row in study.rows)
    for axis, split in zip(axes, _SPLITS, strict=True):
        grid = np.empty((largest, largest))
        for row in study.rows:
            grid[row.k_audio - 1, row.k_text - 1] = 100 * _f1(row, split).mean
        ticks = range(largest)
        shades = axis.imshow(grid, cmap="Greys", origin="lower")
        picture.colorbar(shades, ax=axis, shrink=0.8, label="weighted F1, %")
        axis.add_patch(_frame(study))
        middle = (grid.min() + grid.max()) / 2
        for (a, t), value in np.ndenumerate(grid):
            colour = "white" if value > middle else "black"
            axis.text(t, a, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(ticks, [str(k + 1) for k in ticks])
        axis.set_yticks(ticks, [str(k + 1) for k in ticks])
        axis.set(xlabel="k_text", ylabel="k_audio", title=f"weighted F1, {split}")
    picture.suptitle(f"{study.recipe}: framed is what validated best, {study.chosen}")
    return picture


def _frame(study: Study) -> Rectangle:
    """Return a frame around the cell that validated best."""
    (chosen,) = (row for row in study.rows if row.name == study.chosen)
    corner = (chosen.k_text - 1.5, chosen.k_audio - 1.5)
    return Rectangle(corner, 1, 1, fill=False, edgecolor="tab:red", linewidth=3, label=study.chosen)


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
    axis.set_xticks(range(len(study.rows)), [row.name for row in study.rows], rotation=20)
    axis.set(ylabel="weighted F1, %", title=f"{study.recipe}: mean and 95 % t-interval")
    axis.legend()
    return picture


def _f1(row: StudyRow, split: Split) -> Estimate:
    return row.figures[split][RANKED_BY]
