"""``hemogat bench latency``: how long a bundle takes to answer, and targets side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemogat.cli.bench_options import (
    EpochsOption,
    OutOption,
    RoundsOption,
    chosen,
    limit_option,
    refuse,
)
from hemogat.cli.bench_report import remark_written
from hemogat.cli.extras import needs
from hemogat.cli.numbers import whole_numbers, words
from hemogat.cli.output import JsonOption, print_json, print_table, remark
from hemogat.contract import Engine, Precision
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.report import BenchReport

_Axes = dict[str, tuple[str, ...] | tuple[int, ...]]
_Often = dict[str, object]  # how many rounds, for how long
_Tables = list[tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, ...]]]]

_LATEST = "latest bundle"
_PRESET_LIMIT_S = 600.0
_SIDE_BY_SIDE = "targets side by side (several, BUNDLE:onnx-fp32, or any axis given)"


def latency(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET...",
            help="BUNDLE, BUNDLE:onnx-int8, RUN, RUN:compile, RUN:cuda-graphs, grpc://host:port.",
            show_default=_LATEST,
        ),
    ] = None,
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="audio_encoder, text_encoder, fusion, end_to_end; several: repeat, or commas.",
            show_default="end_to_end",
        ),
    ] = None,
    batch: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Utterances per call; several.", show_default="1"),
    ] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Seconds of audio each; several.", show_default="1"),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Tokens of text each; several.", show_default="16"),
    ] = None,
    threads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N", help="Threads that one graph may use; several.", show_default="all cores"
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where targets side by side run: cpu, cuda[:n], auto.", show_default="cpu"
        ),
    ] = None,
    epochs: EpochsOption = None,
    rounds: RoundsOption = None,
    limit_s: Annotated[float | None, limit_option("120; --preset: 600")] = None,
    utterances: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="One BUNDLE: how many to time.", show_default="200"),
    ] = None,
    triton: Annotated[
        bool | None,
        typer.Option(
            "--triton/--no-triton",
            help="One BUNDLE: through a Triton server too, started for that.",
            show_default="triton",
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help="One BUNDLE: its engine.", show_default="the bundle's first"),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="One BUNDLE: its precision.", show_default="the engine's first"),
    ] = None,
    out: OutOption = None,
    preset: Annotated[
        Literal["base"] | None,
        typer.Option(
            help="Instead of targets: wav2vec2-base and BERT-base with random weights, in torch "
            "and in every engine and precision that runs here.",
            show_default=False,
        ),
    ] = None,
    bank_rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            help="With --preset: a larger bank to time the fusion graph against; several.",
            show_default="44070",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report latency: of one bundle by stage, or of several targets side by side.

    One BUNDLE: its golden cases, in process and through Triton, stage by stage.
    Anything else: every target in a fresh process, taking turns on the same
    made-up input. With --preset, engines are built in a temporary folder (8 GB)
    and compared.
    """
    given = tuple(targets or ())
    axes: _Axes = {
        "component": words(component),
        "batch": whole_numbers("--batch", batch),
        "windows": whole_numbers("--windows", windows),
        "tokens": whole_numbers("--tokens", tokens),
    }
    limits, banks = whole_numbers("--threads", threads), whole_numbers("--bank-rows", bank_rows)
    often = chosen(epochs=epochs, rounds=rounds, limit_s=limit_s)
    of_bundle = {
        "utterances": utterances,
        "triton": triton,
        "engine": engine,
        "precision": precision,
    }
    if preset is not None:
        _refuse_with_preset(given, axes)
        refuse("is for one BUNDLE or for targets, not for --preset", device=device, **of_bundle)
        if len(limits) > 1:
            raise ConfigError("--threads: --preset takes one number; measure it once for each")
        report, tables = _preset(often, _single(limits), banks, out)
    elif banks:
        raise ConfigError(
            "--bank-rows: is for --preset; a target has its own bank, and bench gnn varies it"
        )
    elif _one_bundle(given) and not any(axes.values()) and len(limits) < 2:
        refuse(f"is for {_SIDE_BY_SIDE}", device=device, **often)
        often = chosen(utterances=utterances, threads=_single(limits))
        report, tables = _bundle(given, engine, precision, often, out, triton=triton is not False)
    else:
        refuse(f"is for one BUNDLE alone, not for {_SIDE_BY_SIDE}", **of_bundle)
        report, tables = _side_by_side(given, axes, limits, device or "cpu", often, out)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for left, right, rows in tables:
        print_table(left, right, rows)
        typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")


def _side_by_side(
    given: tuple[str, ...],
    axes: _Axes,
    threads: tuple[int, ...],
    device: str,
    often: _Often,
    out: Path | None,
) -> tuple[BenchReport, _Tables]:
    from hemogat.config import parse_settings
    from hemogat.progress import Progress

    with needs("serve"):
        from hemogat.benchmarks.side_by_side_tables import (
            latency_table,
            process_table,
            write_tables,
        )
        from hemogat.benchmarks.target_latency import TargetSettings, measure_targets

    raw = {name: values for name, values in axes.items() if values} | {
        "targets": given or (str(_latest_bundle()),),
        "threads": threads or (None,),
        "device": device,
        "rounds": often,
    }
    settings = parse_settings(TargetSettings, raw, source="bench latency")
    report = measure_targets(settings, Progress(visible=True))
    tables = (latency_table(report.figures), process_table(report.figures))
    if out is not None:
        remark_written(report, write_tables(report, tables, out, report.conditions_in_name()))
    return report, [(left, right, list(rows)) for left, right, rows in tables]


def _bundle(
    given: tuple[str, ...],
    engine: Engine | None,
    precision: Precision | None,
    often: _Often,
    out: Path | None,
    *,
    triton: bool,
) -> tuple[BenchReport, _Tables]:
    from hemogat.config import parse_settings
    from hemogat.progress import Progress
    from hemogat.runtime.bundle import Bundle

    with needs("serve"):
        from hemogat.benchmarks.bundle_latency import measure_bundle
        from hemogat.benchmarks.latency import LatencySettings
        from hemogat.benchmarks.latency_report import TABLE_COLUMNS, write_report

    path = Path(given[0]) if given else _latest_bundle()
    bundle = Bundle.open(path, verify=False)  # hashes are checked when it is measured
    found = dict(zip(("engine", "precision"), bundle.select(engine, precision), strict=True))
    report = measure_bundle(
        path,
        settings=parse_settings(LatencySettings, often | found, source="bench latency"),
        triton=triton,
        progress=Progress(visible=True),
    )
    if out is not None:
        remark_written(report, write_report(report, out))
    return report, [(TABLE_COLUMNS[:2], TABLE_COLUMNS[2:], report.table_rows())]


def _preset(
    often: _Often, threads: int | None, banks: tuple[int, ...], out: Path | None
) -> tuple[BenchReport, _Tables]:
    import tempfile

    from hemogat.config import parse_settings
    from hemogat.progress import Progress

    with needs("export"):
        from hemogat.benchmarks.engine_latency import measure_engines
        from hemogat.benchmarks.engine_report import EngineSettings
        from hemogat.benchmarks.side_by_side_tables import (
            latency_table,
            process_table,
            write_tables,
        )

    raw: dict[str, object] = {
        "threads": threads,
        "rounds": {"limit_s": _PRESET_LIMIT_S} | often,
    }
    raw |= {"larger_banks": banks} if banks else {}
    settings = parse_settings(EngineSettings, raw, source="bench latency --preset")
    with tempfile.TemporaryDirectory(prefix="hemogat-bench-") as folder:
        report = measure_engines(settings, Path(folder), Progress(visible=True))
    tables = (latency_table(report.figures), process_table(report.figures))
    if out is not None:
        conditions = ("base", *settings.conditions_in_name())
        remark_written(report, write_tables(report, tables, out, conditions))
    return report, [(left, right, list(rows)) for left, right, rows in tables]


def _one_bundle(given: tuple[str, ...]) -> bool:
    """Say whether a single bundle is meant, with its engine left open."""
    if len(given) != 1:
        return not given
    path = Path(given[0])
    return path.exists() and not (path / "run.json").is_file()


def _latest_bundle() -> Path:
    from hemogat.workspace import find_latest

    found = find_latest("bundle.json")
    remark(f"{_LATEST}: {found}")
    return found


def _single(threads: tuple[int, ...]) -> int | None:
    return threads[0] if threads else None


def _refuse_with_preset(given: tuple[str, ...], axes: _Axes) -> None:
    if given:
        raise ConfigError(f"expected targets or --preset, found both ({', '.join(given)})")
    found = ", ".join(f"--{name}" for name, values in axes.items() if values)
    if found:
        raise ConfigError(f"{found}: is for targets; --preset measures 1 window and 16 tokens")
