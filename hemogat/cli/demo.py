"""``hemogat demo``: the whole path, from a made corpus to answers of a real Triton server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, percent, print_facts, print_json, print_table

if TYPE_CHECKING:
    from hemogat.demo import DemoParity, DemoSummary, DemoTriton


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder to fill.", show_default="build/demo")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a small spoken corpus, then train, export, serve and measure on it.

    Takes a few minutes on two cores, and ends with a table of what came out and
    the paths of what was made.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import workspace

    with needs("demo"):
        from hemogat.demo import run_demo

    summary = run_demo(out or workspace() / "demo", Progress(visible=True))
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        _print_summary(summary)


def _print_summary(summary: DemoSummary) -> None:
    parity, triton = summary.parity, summary.triton
    print_table(
        ("test accuracy",),
        ("%",),
        ((name, percent(accuracy)) for name, accuracy in summary.accuracy.items()),
    )
    typer.echo()
    print_table(
        ("answers compared",),
        ("requests", "max |Δ|", "flips"),
        (
            ("torch and ONNX", str(parity.utterances), *_differences(parity)),
            (f"ONNX and Triton {triton.version}", str(triton.requests), *_differences(triton)),
        ),
    )
    typer.echo()
    _print_times(summary)
    typer.echo()
    utterances = (f"{count} {split}" for split, count in summary.utterances.items())
    print_facts({"utterances": ", ".join(utterances), **summary.paths})


def _differences(compared: DemoParity | DemoTriton) -> tuple[str, str]:
    return f"{compared.max_abs_diff:.1e}", str(compared.flips)


def _print_times(summary: DemoSummary) -> None:
    figures = list(next(iter(summary.latency_ms.values())))
    print_table(
        ("latency, ms",),
        figures,
        (
            (stage, *(f"{values[figure]:.2f}" for figure in figures))
            for stage, values in summary.latency_ms.items()
        ),
    )
    typer.echo()
    print_table(
        ("stage",),
        ("seconds",),
        ((stage, f"{seconds:.1f}") for stage, seconds in summary.duration_s.items()),
    )
