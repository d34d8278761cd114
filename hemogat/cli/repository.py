"""``hemogat repository``: a bundle as a Triton model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hemogat.cli.output import EngineOption, JsonOption, PrecisionOption, SearchOption, print_json


def repository(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle to serve.")],
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier repository is replaced.")],
    backend: Annotated[
        Literal["python", "onnxruntime", "openvino", "tensorrt"],
        typer.Option(help="What Triton runs the graphs with; the pip server has python alone."),
    ] = "python",
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    search: SearchOption = None,
    device: Annotated[
        Literal["cpu", "gpu"] | None,
        typer.Option(help="Where instances run.", show_default="gpu for tensorrt, else cpu"),
    ] = None,
    instances: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of each model, for each device.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Compute threads of each instance.", show_default="all cores"
        ),
    ] = None,
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
    from hemogat.config import parse_settings
    from hemogat.serving.repository import write_repository
    from hemogat.serving.settings import RepositorySettings

    raw = {
        "backend": backend,
        "engine": engine,
        "precision": precision,
        "search": search,
        "device": device or ("gpu" if backend == "tensorrt" else "cpu"),
        "instances": instances,
        "threads": threads,
        "bundle_path": bundle_path,
        "explain": explain,
    }
    settings = parse_settings(RepositorySettings, raw, source="repository")
    write_repository(bundle, out, settings)
    models = sorted(path.parent.name for path in out.glob("*/config.pbtxt"))
    if as_json:
        print_json({"repository": str(out), "models": models})
    else:
        typer.echo(f"repository: {out}")
        typer.echo(f"models: {', '.join(models)}")
        typer.echo(f"how to start it: {out / 'README.md'}")
