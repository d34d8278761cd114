"""Tables of the cost report: the paper's Table 5, and the roofline."""

from __future__ import annotations

from hemogat.benchmarks.cost_report import CostReport
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.gnn import MODEL
from hemogat.benchmarks.side_by_side_tables import Table


def cost_table(report: CostReport) -> Table:
    """Return the paper's Table 5: parameters and MACs of each kind of layer."""
    nodes = report.settings.nodes
    return Table(
        ("graph layers",),
        ("head params, M", "head MACs/node, M", f"total at {nodes} nodes, G", "inductive, G"),
        tuple(
            (
                c.gnn,
                f"{c.head_params / 1e6:.2f}",
                f"{c.head_macs_per_node / 1e6:.2f}",
                f"{c.total_macs / 1e9:.2f}",
                f"{c.inductive_macs / 1e9:.2f}",
            )
            for c in report.variants
        ),
    )


def roofline_table(report: CostReport) -> Table:
    """Return one row for each component: its work, its floor, and measured times over that."""
    rows: dict[object, dict[str, Figure]] = {}
    times: dict[object, list[Figure]] = {}
    for figure in report.figures:
        key = tuple(sorted(figure.axes.items()))
        if figure.target == MODEL:
            rows.setdefault(key, {})[figure.metric] = figure
        elif figure.metric == "over_floor":
            times.setdefault(key, []).append(figure)
    targets = list(dict.fromkeys(f.target for found in times.values() for f in found))

    def cells(key: object, row: dict[str, Figure]) -> tuple[str, ...]:
        over = {f.target: f"{f.value:.1f}" for f in times.get(key, ())}
        axes, floor_ms = row["macs"].axes, row["floor"].value
        compute_ms = 1e3 * row["macs"].value / report.rates.gemm.value
        return (
            " ".join(str(axes[name]) for name in ("component", "gnn") if name in axes),
            "arithmetic" if compute_ms >= floor_ms else "memory",
            f"{row['macs'].value / 1e6:.1f}",
            f"{row['moved'].value / 1e6:.1f}",
            f"{row['intensity'].value:.1f}",
            f"{floor_ms:.2f}",
            f"{row['floor_int8'].value:.2f}" if "floor_int8" in row else "",
            *(over.get(target, "") for target in targets),
        )

    return Table(
        ("component", "bound by"),
        (
            *("MMAC", "MB", "MAC/B", "floor ms", "int8 floor ms"),
            *(f"{target}, x floor" for target in targets),
        ),
        tuple(cells(key, row) for key, row in rows.items()),
    )
