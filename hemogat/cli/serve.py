"""``hemogat serve``: a bundle behind Triton, until told to stop."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hemogat.cli.output import (
    DeviceOption,
    EngineOption,
    PrecisionOption,
    SearchOption,
    SettingsOption,
)


def _port(purpose: str) -> Any:
    return typer.Option(min=0, max=65535, metavar="PORT", help=f"Of {purpose}; 0: any free one.")


def serve(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle, or a generated model repository.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to bind to; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    http_port: Annotated[int, _port("HTTP")] = 8000,
    grpc_port: Annotated[int, _port("gRPC")] = 8001,
    metrics_port: Annotated[int, _port("Prometheus metrics")] = 8002,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    search: SearchOption = None,
    device: DeviceOption = None,
    instances: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes of each model.", show_default="1"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Compute threads of each process.", show_default="all cores"
        ),
    ] = None,
    settings: SettingsOption = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="Keep the generated repository here.", show_default="a temporary folder"),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="Keep the server's output here.", show_default="a temporary file"),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Answer with the neighbours, which are training rows."),
    ] = False,
    supervise: Annotated[
        bool,
        typer.Option(
            "--supervise", help="Start the server again when it or one of its models dies."
        ),
    ] = False,
    grpc_only: Annotated[
        bool,
        typer.Option(
            "--grpc-only", help="Answer predictions over gRPC alone; HTTP keeps health and facts."
        ),
    ] = False,
    ready_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long the models may take to load.")
    ] = 120,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How long a stop waits for requests and streams under way.",
            show_default="the time limit of an answer",
        ),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="json: one object a line, the server's own output included."),
    ] = "text",
) -> None:
    """Serve a bundle with Triton over HTTP and gRPC, until SIGINT or SIGTERM."""
    from hemogat.serving.serve import serve as serve_until_stopped
    from hemogat.serving.settings import repository_settings

    on_status = typer.echo if log_format == "text" else _print_status
    given = {
        "engine": engine,
        "precision": precision,
        "search": search,
        "device": device,
        "instances": instances,
        "threads": threads,
        "explain": explain or None,
    }
    serve_until_stopped(
        bundle,
        settings=repository_settings(settings, given, source="serve"),
        repository=repository,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        http_inference=not grpc_only,
        log_path=log,
        supervise=supervise,
        ready_timeout_s=ready_timeout,
        drain_s=drain_seconds,
        on_status=on_status,
        on_log=None if log_format == "text" else _print_log_line,
    )


def _print_status(message: str) -> None:
    _print_object({"level": "info", "source": "hemogat", "message": message})


def _print_log_line(line: str) -> None:
    from hemogat.serving.server_log import parse_line

    if parsed := parse_line(line):
        _print_object(parsed)


def _print_object(fields: dict[str, Any]) -> None:
    time_utc = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    typer.echo(json.dumps({"time": time_utc, **fields}, ensure_ascii=False))
