"""``hemogat repository``: a bundle as a Triton model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hemogat.cli.output import (
    DeviceOption,
    EngineOption,
    JsonOption,
    PrecisionOption,
    SearchOption,
    SettingsOption,
    print_json,
)


def repository(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle to serve.")],
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier repository is replaced.")],
    backend: Annotated[
        Literal["python", "onnxruntime", "openvino", "tensorrt"] | None,
        typer.Option(
            help="What Triton runs the graphs with; the pip server has python alone.",
            show_default="python",
        ),
    ] = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    search: SearchOption = None,
    device: DeviceOption = None,
    instances: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of each model, for each device.", show_default="1"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Compute threads of each instance.", show_default="all cores"
        ),
    ] = None,
    settings: SettingsOption = None,
    bundle_path: Annotated[
        Path | None,
        typer.Option(
            help="Where the server will find the bundle, as /bundle in a container.",
            show_default="where it is now",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Answer with the neighbours, which are training rows."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a Triton model repository that serves a bundle."""
    from hemogat.serving.repository import write_repository
    from hemogat.serving.settings import repository_settings

    given = {
        "backend": backend,
        "engine": engine,
        "precision": precision,
        "search": search,
        "device": device,
        "instances": instances,
        "threads": threads,
        "bundle_path": bundle_path,
        "explain": explain or None,
    }
    write_repository(bundle, out, repository_settings(settings, given, source="repository"))
    models = sorted(path.parent.name for path in out.glob("*/config.pbtxt"))
    if as_json:
        print_json({"repository": str(out), "models": models})
    else:
        typer.echo(f"repository: {out}")
        typer.echo(f"models: {', '.join(models)}")
        typer.echo(f"how to start it: {out / 'README.md'}")
