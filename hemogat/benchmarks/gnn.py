"""Graph layers side by side: what ``hemogat bench gnn`` runs, the paper's Table 5 with latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from hemogat.benchmarks.base_models import OPSET
from hemogat.benchmarks.cost import VariantCost, variant_cost
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.figures import Figure, Unit
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.gnn_variants import Variant
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.random_heads import build_head_of
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.runners import random_embeddings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.targets import Case, GraphsTarget, HeadShape, HeadTarget
from hemogat.config import PositiveInt, Settings
from hemogat.contract import Engine, Precision
from hemogat.errors import ConfigError, IncompleteError
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import convert
from hemogat.export.quantisation import quantise
from hemogat.progress import Progress
from hemogat.runtime.engine_session import Arrays

EngineName = Literal[
    "torch-eager",
    "torch-compile",
    "onnx-fp32",
    "onnx-int8",
    "openvino-fp32",
    "openvino-bf16",
    "openvino-int8",
]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
_CALIBRATION_SAMPLES = 16
MODEL = "model"  # the target of figures that no engine changes


class GnnSettings(Settings):
    """What to measure.

    ``engines``: all but torch.compile, which takes a minute per variant to compile. ``device``:
    where they run; on a GPU only torch and ONNX Runtime do.
    ``bank_rows``: banks that the fusion step is timed against; empty: the variants' own.
    ``nodes``: of the transductive graph whose MACs are counted (the paper's test splits: 551 and
    2,610). ``threads``: for one graph; None: as many as there are cores.
    """

    engines: tuple[EngineName, ...] = tuple(name for name in ENGINES if name != "torch-compile")
    bank_rows: tuple[PositiveInt, ...] = ()
    batches: tuple[PositiveInt, ...] = (1,)
    nodes: PositiveInt = 551
    threads: PositiveInt | None = None
    device: str = "cpu"
    rounds: RoundSettings = RoundSettings()

    def conditions_in_name(self) -> tuple[str, ...]:
        """Return what tells a report's file from those of other settings."""
        found = [f"{self.nodes} nodes"]
        found += [f"bank {' '.join(map(str, self.bank_rows))}"] if self.bank_rows else []
        found += [f"batch {' '.join(map(str, self.batches))}"] if self.batches != (1,) else []
        found += [self.device] if self.device != "cpu" else []
        return (*found, *([] if self.threads is None else [f"{self.threads}t"]))


class GnnReport(BenchReport):
    """Graph layers side by side."""

    kind: Literal["gnn"] = "gnn"
    settings: GnnSettings


def measure_gnn(
    variants: Sequence[Variant],
    settings: GnnSettings,
    folder: Path,
    progress: Progress | None = None,
) -> GnnReport:
    """Count every variant's cost, and time its fusion step in every engine that runs here.

    Args:
        variants: what to compare.
        settings: engines, banks, how often.
        folder: where graphs are written, about 1 GB at the base sizes and 4,407 rows.
        progress: shows the stages.

    Raises:
        ConfigError: a bank has fewer rows than an utterance has neighbours.
        IncompleteError: what an export needs is not installed, or no engine runs here.
    """
    progress, watch, found = progress or Progress(), RunWatch(), Findings()
    for variant in variants:
        found.figures += variant.accuracy_figures() + _cost_figures(variant, settings.nodes)
    cases = tuple(Case(component="fusion", batch=batch) for batch in settings.batches)
    side_by_side = SideBySideSettings(
        cases=cases,
        threads=(settings.threads,),
        device=settings.device,
        rounds=settings.rounds,
    )
    shapes = [
        _with_bank(variant.shape, rows)
        for rows in settings.bank_rows or (None,)
        for variant in variants
    ]
    entries = _write(shapes, settings, folder, found, progress)
    found.add(measure_side_by_side(entries, side_by_side, progress))
    origins = dict.fromkeys(variant.origin for variant in variants)
    return GnnReport(
        title=f"GAT, GCN and GraphSAGE: {', '.join(origins)}",
        settings=settings,
        notes=(*_method(variants, settings), *found.told()),
        figures=tuple(found.figures),
        series=tuple(found.series),
        models=tuple(found.models),
        **watch.facts(),
    )


def _method(variants: Sequence[Variant], settings: GnnSettings) -> list[str]:
    head = variants[0].shape.head
    known = [
        f"{variant.gnn} (mean over {len(variant.accuracy['accuracy'].values)} seeds)"
        for variant in variants
        if variant.accuracy
    ]
    return [
        f"timed: the fusion step (search in the bank, graph layers, classifier), random weights, "
        f"hidden {head.hidden}, {head.heads} heads, {head.num_layers} layers",
        f"macs: the paper's Table 5, encoders once and the head for each of {settings.nodes} "
        f"nodes; inductive_macs: one utterance of 1 s and 128 tokens (or as many as a run allows) "
        f"against the bank",
        f"accuracy on the test split with the bank: "
        f"{', '.join(known) if known else 'none, as no run was given'}",
        settings.rounds.in_words(),
        "speed_up is over torch eager, or the first engine named, of the same layers",
    ]


def _cost_figures(variant: Variant, nodes: int) -> list[Figure]:
    if variant.encoders is None:
        return []
    cost = variant_cost(variant.shape, variant.encoders, nodes)
    return [
        Figure(target=MODEL, metric=metric, unit=unit, value=value, axes={"gnn": variant.gnn})
        for metric, unit, value in _counts(cost)
    ]


def _counts(cost: VariantCost) -> tuple[tuple[str, Unit, int], ...]:
    return (
        ("head_parameters", "count", cost.head_params),
        ("parameters", "count", cost.head_params + cost.encoder_params),
        ("head_macs", "MAC", cost.head_macs_per_node),
        ("macs", "MAC", cost.total_macs),
        ("inductive_macs", "MAC", cost.inductive_macs),
    )


def _with_bank(shape: HeadShape, rows: int | None) -> HeadShape:
    shape = shape if rows is None else shape.model_copy(update={"bank_rows": rows})
    neighbours = max(shape.graph.k_audio, shape.graph.k_text)
    if shape.bank_rows <= neighbours:
        raise ConfigError(
            f"--bank-rows {shape.bank_rows}: expected more than the {neighbours} neighbours that "
            f"an utterance takes"
        )
    return shape


def _write(
    shapes: Sequence[HeadShape],
    settings: GnnSettings,
    folder: Path,
    found: Findings,
    progress: Progress,
) -> list[Entry]:
    """Write what the engines need; entries in the order of engines, so that layers take turns."""
    engines, device = settings.engines, settings.device
    graphs: dict[Path, Path] = {}
    entries = []
    with progress.stage("Export heads", len(shapes) * len(engines)) as bar:
        for engine in engines:
            for shape in shapes:
                gnn, rows = shape.head.gnn, shape.bank_rows
                try:
                    if device != "cpu" and engine.startswith("openvino"):
                        raise IncompleteError(f"it runs on the CPU, not on {device}")
                    target = _target(shape, engine, graphs, folder / f"{gnn}-{rows}")
                    entries.append(Entry(engine, target, group=f"{gnn} {rows}"))
                except IncompleteError as error:  # an engine's library is not installed
                    found.leave_out(engine, str(error))
                bar.advance(note=f"{gnn} {engine}")
    if not entries:
        raise IncompleteError("; ".join(found.notes))
    return entries


def _target(
    shape: HeadShape, engine: EngineName, graphs: dict[Path, Path], folder: Path
) -> HeadTarget | GraphsTarget:
    """Write what one engine needs; ``graphs`` has the ONNX graphs that are written already."""
    if engine.startswith("torch"):
        return HeadTarget(shape=shape, compiled=engine == "torch-compile")
    if folder not in graphs:
        head, bank = build_head_of(shape)
        graphs[folder] = export_fusion(head, bank, shape.graph, folder / "onnx-fp32", OPSET)
    return _engine_target(shape, engine, graphs[folder], folder / engine)


def _engine_target(shape: HeadShape, name: EngineName, onnx: Path, folder: Path) -> GraphsTarget:
    engine: Engine = "onnx" if name.startswith("onnx") else "openvino"
    precision: Precision = (
        "int8" if name.endswith("int8") else "bf16" if name.endswith("bf16") else "fp32"
    )
    path = onnx
    if name == "onnx-int8":
        path = quantise(onnx, folder, _calibration(shape))
    elif engine == "openvino":
        assert precision != "fp16"
        path = convert(onnx, folder, precision, _calibration(shape))
    return GraphsTarget(paths={"fusion": path}, engine=engine, precision=precision, shape=shape)


def _calibration(shape: HeadShape) -> list[Arrays]:
    """Return inputs for int8: noise, as the weights are random too."""
    return [random_embeddings(1, shape.dims, seed) for seed in range(_CALIBRATION_SAMPLES)]
