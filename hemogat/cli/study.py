"""``hemogat study``: heads that differ in one thing, over seeds, as tables and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_table, remark

if TYPE_CHECKING:
    from hemogat.training.study_record import Study


def study(
    kind: Annotated[
        Literal["topk", "modules", "gnn", "depth", "graph"],
        typer.Argument(help="What differs.", show_default=False),
    ],
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run directory.", show_default="latest run"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Heads of each kind.", show_default="the run's"),
    ] = None,
    max_k: Annotated[
        int, typer.Option(min=1, metavar="K", help="Largest k of topk, per modality.")
    ] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="RUN/studies/KIND")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare heads on a run's stored embeddings.

    topk: every k_audio and k_text (the paper's Figure 4). modules: with all,
    without graph, without CMT, each on both modalities and on either (Table 4).
    gnn: GAT, GCN, GraphSAGE (Table 5). depth: 1 to 4 layers (Table 6). graph:
    no graph, transductive, bank, and bank with labels in the messages. Run it
    again after an interruption: finished heads are taken over.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import find_latest

    with needs("train"):
        from hemogat.training.run_directory import RunDirectory
        from hemogat.training.study import run_study
        from hemogat.training.study_report import write_study

    if run is None:
        run = find_latest("run.json")
        remark(f"latest run: {run}")
    folder = out or run / "studies" / kind
    try:
        found = run_study(
            RunDirectory.open(run),
            kind,
            folder,
            seeds=seeds,
            max_k=max_k,
            progress=Progress(visible=True),
        )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted; {folder} holds the heads that are done: the same command goes on"
        ) from error
    for path in write_study(found, folder):
        remark(str(path))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_study(found)


def _print_study(found: Study) -> None:
    typer.echo(f"weighted F1, per cent, {len(found.seeds)} seeds, mean ± half the 95 % t-interval:")
    rows = []
    for row in found.rows:
        val, test = (row.figures[split]["weighted_f1"] for split in ("val", "test"))
        difference = row.minus_reference.get("test", {}).get("weighted_f1")
        minus = "" if difference is None else difference.points()
        rows.append((row.name, f"{row.parameters:,}", val.percent(), test.percent(), minus))
    against = f"test minus {found.reference}" if found.reference else ""
    print_table(("row",), ("parameters", "val", "test", against), rows)
    for pair in found.pairs:
        difference = pair.difference["test"]["weighted_f1"]
        typer.echo(f"test, {pair.row} minus {pair.minus}: {difference.points()}")
    typer.echo(f"best on val: {found.chosen}")
