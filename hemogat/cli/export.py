"""``hemogat export``: from a run directory to a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hemogat.cli.bundle_facts import manifest_at, remark_lost_index
from hemogat.cli.export_parity import print_parity
from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, remark
from hemogat.contract import Engine, Precision
from hemogat.errors import HemogatError
from hemogat.optional import require

if TYPE_CHECKING:
    from hemogat.export_config import ExportConfig
    from hemogat.runtime.parity_report import ParityReport


def _known(choices: tuple[str, ...]) -> Callable[[list[str] | None], list[str] | None]:
    def check(given: list[str] | None) -> list[str] | None:
        for value in given or ():
            if value not in choices:
                raise typer.BadParameter(f"expected {', '.join(choices)}, found {value!r}")
        return given

    return check


def export(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run directory.", show_default="latest run")
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            callback=_known(get_args(Engine)),
            metavar="|".join(get_args(Engine)),
            help="What will execute the graphs; repeatable.",
            show_default="onnx",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            callback=_known(get_args(Precision)),
            metavar="|".join(get_args(Precision)),
            help="Number type of weights and activations; repeatable, for every engine.",
            show_default="fp32",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="YAML export recipe; --engine and --precision go before it.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Bundle to write.", show_default="build/RECIPE/bundle"),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Manifest of utterances to compare on.",
            show_default="the val split, else the test split, whichever has 500; else both",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Where the run's manifest is now, its audio with it.",
            show_default="where it was at the training",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cpu|cuda[:n]",
            help="Where the engine is judged.",
            show_default="cpu, for TensorRT the GPU",
        ),
    ] = None,
    gather: Annotated[
        bool,
        typer.Option("--gather", help="Write the graph for banks searched outside it too."),
    ] = False,
    ivf_index: Annotated[
        bool | None,
        typer.Option(
            "--ivf-index/--no-ivf-index",
            help="With --gather: store the index of --search ivf.",
            show_default="from 100,000 bank rows",
        ),
    ] = None,
    calibration: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Training utterances that int8 takes its scales from.",
            show_default="128",
        ),
    ] = None,
    allow_unjudged: Annotated[
        bool,
        typer.Option(
            "--allow-unjudged",
            help="Write OpenVINO's bf16 and int8-bf16 where they cannot run.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a run to a bundle, through the parity gate.

    The exported graphs must give what the torch reference gives on real
    utterances, decisions included; otherwise no engine is written, only a
    report. A bundle of the same run keeps its other engines; one of another
    run is replaced. Of several engines and precisions every combination is
    exported, one after the other; what fails does not keep the others back.
    """
    from hemogat.workspace import default_bundle, find_latest

    configs = _configs(
        *(recipe, engine or [], precision or []),
        device=device,
        gather=gather or None,
        ivf_index=ivf_index,
        calibration_utterances=calibration,
        allow_unjudged=allow_unjudged or None,
    )
    if run is None:
        run = find_latest("run.json")
        remark(f"latest run: {run}")
    require("onnx", extra="export")  # before the run is looked at
    with needs("export"):
        from hemogat.training.run_directory import RunDirectory

    if out is None:
        out = default_bundle(RunDirectory.open(run).record.recipe.name)
    outcomes = []
    for config in configs:
        before = manifest_at(out)
        outcomes.append(outcome := _export_one(run, out, config, inputs, manifest))
        if not as_json and outcome.parity is not None:
            print_parity(outcome.bundle, outcome.target, outcome.parity)
        if config.ivf_index is None:
            remark_lost_index(before, manifest_at(out))
    if as_json:
        reports = [outcome.to_dict() for outcome in outcomes]
        print_json(reports[0] if len(reports) == 1 else reports)
    _end([outcome.error for outcome in outcomes if outcome.error is not None])


@dataclass(frozen=True)
class _Outcome:
    """What came of one target; ``bundle``: None where nothing was written."""

    target: str
    bundle: Path | None
    parity: ParityReport | None
    error: HemogatError | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "bundle": None if self.bundle is None else str(self.bundle),
            "target": self.target,
            "parity": None if self.parity is None else self.parity.model_dump(mode="json"),
            "error": None if self.error is None else str(self.error),
        }


def _export_one(
    run: Path, out: Path, config: ExportConfig, inputs: Path | None, manifest: Path | None
) -> _Outcome:
    """Export one target; that it fails does not keep the others back."""
    with needs("export"):
        from hemogat.export.export_run import export_run
        from hemogat.export.parity_gate import RefusedError
        from hemogat.export.tensorrt_script import NoPlanError
        from hemogat.progress import Progress

    target = f"{config.engine}-{config.precision}"
    try:
        report = export_run(
            run, out, config, Progress(visible=True), inputs=inputs, manifest=manifest
        )
    except RefusedError as error:
        return _Outcome(target, None, error.parity, error)
    except NoPlanError as error:
        return _Outcome(target, out, error.parity, error)
    except HemogatError as error:
        return _Outcome(target, None, None, error)
    return _Outcome(target, report.bundle, report.parity)


def _end(errors: Sequence[HemogatError]) -> None:
    """Say what failed, and end with the exit code of the worst of it."""
    if not errors:
        return
    *others, worst = sorted(errors, key=lambda error: -error.exit_code)  # 1, failed, is the worst
    for error in others:
        remark(f"error: {error}")
    raise worst


def _configs(
    recipe: Path | None,
    engines: Sequence[str],
    precisions: Sequence[str],
    **settings: Any,
) -> list[ExportConfig]:
    """Return what to export: the recipe's target, or every combination of the options.

    The recipe's limits are for its own precision; another precision gets its own. ``settings``
    that are not None go before the recipe's too.
    """
    from hemogat.config import load_settings, parse_settings
    from hemogat.export_config import ExportConfig

    config = load_settings(ExportConfig, recipe) if recipe else ExportConfig()
    given = config.model_dump() | {k: v for k, v in settings.items() if v is not None}
    configs = []
    for engine, precision in product(engines or [config.engine], precisions or [config.precision]):
        chosen = given | {"engine": engine, "precision": precision}
        if config.parity is not None and precision != config.precision:
            chosen["parity"] = None
            remark(
                f"{engine}-{precision}: judged by the limits of {precision}; those of {recipe} are "
                f"for {config.precision}"
            )
        configs.append(parse_settings(ExportConfig, chosen, source="options"))
    return configs
