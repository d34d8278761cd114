"""The table of graph layers: accuracy, size and cost, and the fusion step's latency per engine."""

from __future__ import annotations

from hemogat.benchmarks.figures import P50, Figure
from hemogat.benchmarks.gnn import MODEL, GnnReport
from hemogat.benchmarks.side_by_side_tables import Table, latency_table, process_table

_COLUMNS: dict[str, tuple[str, float]] = {
    "accuracy": ("accuracy %", 1.0),
    "weighted_f1": ("weighted F1 %", 1.0),
    "head_parameters": ("head params M", 1e6),
    "parameters": ("total params M", 1e6),
    "macs": ("total MACs G", 1e9),
    "inductive_macs": ("one utterance MACs G", 1e9),
}


def gnn_table(report: GnnReport) -> Table:
    """Return one row per kind of layer; the latency columns are of the first bank and batch."""
    kinds = list(dict.fromkeys(str(f.axes["gnn"]) for f in report.figures if "gnn" in f.axes))
    of_model = {(f.axes["gnn"], f.metric): f for f in report.figures if f.target == MODEL}
    columns = {m: title for m, title in _COLUMNS.items() if any((k, m) in of_model for k in kinds)}
    medians: dict[tuple[object, str], Figure] = {}
    for figure in report.figures:
        if figure.metric == P50:
            medians.setdefault((figure.axes["gnn"], figure.target), figure)
    engines = list(dict.fromkeys(target for _, target in medians))

    def cells(gnn: str) -> tuple[str, ...]:
        counts = (
            f"{of_model[gnn, m].value / divisor:.2f}" if (gnn, m) in of_model else ""
            for m, (_, divisor) in _COLUMNS.items()
            if m in columns
        )
        times = (f"{medians[gnn, engine].value:.2f}" for engine in engines)
        return (gnn, *counts, *times)

    titles = (title for title, _ in columns.values())
    return Table(
        ("layers",), (*titles, *(f"{e} ms" for e in engines)), tuple(cells(gnn) for gnn in kinds)
    )


def gnn_tables(report: GnnReport) -> tuple[Table, ...]:
    """Return all tables of the report, the main one first."""
    return gnn_table(report), latency_table(report.figures), process_table(report.figures)
