"""What the parity gate found of an export, printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from hemogat.cli.output import print_table, remark, size
from hemogat.contract import SearchMode

if TYPE_CHECKING:
    from hemogat.runtime.parity_report import ParityReport


def print_parity(bundle: Path | None, target: str, parity: ParityReport) -> None:
    """Print how ``target`` answers beside torch; ``bundle``: None where nothing was written."""
    if bundle is not None:
        typer.echo(f"bundle: {bundle}")
    if parity.ungated is not None:
        remark(f"{target} was not judged: {parity.ungated}")
    if not parity.rows:
        return
    sizes = {} if bundle is None else _sizes(bundle, target)
    times: dict[str, tuple[str, str]] = {
        t.graph: (
            _milliseconds(t.p50_ms, t.interval_ms),
            _milliseconds(t.torch_p50_ms, t.torch_interval_ms),
        )
        for t in parity.latency
    }
    if parity.stand_in is not None:
        remark(f"{target} itself was not compared, but {parity.stand_in}")
    source = "" if parity.source is None else f" of {parity.source}"
    typer.echo(f"{target} beside torch fp32 over {parity.utterances} utterances{source}:")
    rows = []
    for row in parity.rows:
        flips = "" if row.flips is None else str(row.flips)
        rows.append(
            (
                f"{row.graph} {row.output}",
                sizes.pop(row.graph, ""),
                f"{row.max_abs_diff:.1e}",
                f"{row.min_cosine:.6f}",
                flips,
                *times.pop(row.graph, ("", "")),
            )
        )
    figures = ("size", "max |Δ|", "cosine", "flips", "p50 ms", "torch p50 ms")
    print_table(("component",), figures, rows)
    typer.echo(f"end to end: {parity.flips_in_words()}")
    for search in parity.searches:
        typer.echo(
            f"bank searched outside the graph, {search.mode}: {search.flips} of "
            f"{parity.utterances} decisions flipped, recall {search.recall:.4f}"
        )
    if parity.searches and len(parity.searches) < len(get_args(SearchMode)):
        remark("the other ways to search need the extra search and were not judged")
    typer.echo(
        f"accuracy {100 * parity.accuracy_change:+.2f} points, unweighted "
        f"{100 * parity.ua_change:+.2f}; alone and in batches within {parity.batch_diff:.1e}, "
        f"embeddings {parity.batch_embedding_diff:.1e}"
    )
    if parity.load is not None:
        typer.echo(
            f"p50 with its 95 % interval, torch and engine taking turns, at {parity.load:.1f} "
            f"processes per core"
        )
    for graph, layers in parity.restored.items():
        if layers:
            typer.echo(f"{graph}: in float again, as they flipped decisions: {', '.join(layers)}")
    if not parity.enough_for_rates:
        typer.echo("few utterances: rates are judged on 500 or more, name more with --inputs")


def _milliseconds(p50: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{p50:.1f}"
    return f"{p50:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"


def _sizes(bundle: Path, target: str) -> dict[str, str]:
    """Return how large each graph is, of what was written."""
    from hemogat.cli.bundle_facts import folder_bytes, model_bytes
    from hemogat.runtime.bundle import Bundle

    opened = Bundle.open(bundle, verify=False)
    models = [m for m in opened.manifest.models if f"{m.engine}-{m.precision}" == target]
    if models:
        return {m.graph: size(model_bytes(opened, m.path)) for m in models}
    # Typed graphs that no plan was built from yet are not listed.
    places = bundle.glob(f"*/{target}")
    return {place.parent.name: size(folder_bytes(place)) for place in places}
