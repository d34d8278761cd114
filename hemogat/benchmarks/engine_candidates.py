"""What the base preset is measured in: torch, and every engine and precision that runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hemogat.benchmarks.base_models import (
    OPSET,
    PADDED_TOKENS,
    build_base_models,
    calibration_feeds,
    write_graphs,
)
from hemogat.benchmarks.engine_report import EngineSettings
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.outside_candidates import outside_entries
from hemogat.benchmarks.random_heads import build_head_of
from hemogat.benchmarks.targets import GraphsTarget, HeadShape, PresetTarget
from hemogat.contract import Engine, Precision
from hemogat.errors import IncompleteError
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import IrPrecision, compress_weights, convert, save_ir
from hemogat.export.packed_head import pack_head
from hemogat.export.quantisation import quantise
from hemogat.optional import require
from hemogat.progress import Progress
from hemogat.runtime.bundle import GraphName

_ENCODERS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder")
_BASE_ENGINE = "onnx-fp32"  # ratios are to this, too, beside torch
Paths = Mapping[GraphName, Path]


def engine_entries(
    settings: EngineSettings, folder: Path, found: Findings, progress: Progress
) -> list[Entry]:
    """Build the base preset in ``folder``, and return everything that takes turns.

    Torch comes first, as it is and with texts padded as the authors train; then the engines, the
    fusion step with its bank outside the graph, and the fusion step with larger banks.

    Raises:
        IncompleteError: what an export needs is not installed.
    """
    rows = settings.bank_rows
    entries = [
        Entry("torch-eager", PresetTarget(bank_rows=rows), base=True),
        Entry(
            f"torch-eager, text padded to {PADDED_TOKENS}",
            PresetTarget(bank_rows=rows, padded_tokens=PADDED_TOKENS),
            base=True,
        ),
    ]
    with progress.stage("Build the base preset", 6 + len(settings.larger_banks)) as bar:
        models, shape = build_base_models(rows), HeadShape(bank_rows=rows)
        onnx = write_graphs(models, folder / "onnx-fp32")
        entries.append(_entry("onnx", "fp32", onnx, shape))
        bar.advance(note="onnx fp32")
        for engine, precision, paths in write_engines(onnx, folder, settings.calibration_samples):
            entries.append(_entry(engine, precision, paths, shape))
            bar.advance(note=f"{engine} {precision}")
        try:
            entries += outside_entries(models, shape, onnx["fusion"], folder)
        except IncompleteError as error:
            found.leave_out("bank searched outside the graph", str(error))
        bar.advance(note="bank outside the graph")
        for larger in settings.larger_banks:
            entries += _larger_bank(HeadShape(bank_rows=larger), folder / f"bank-{larger}")
            bar.advance(note=f"bank of {larger}")
    return entries


def write_engines(
    onnx: Paths, folder: Path, calibration_samples: int
) -> Iterator[tuple[Engine, Precision, dict[GraphName, Path]]]:
    """Write the graphs for every engine and precision but ONNX fp32, which is given."""
    calibration = calibration_feeds(calibration_samples)
    place = folder / "onnx-int8"
    encoders = {g: quantise(onnx[g], place / g, calibration[g]) for g in _ENCODERS}
    yield "onnx", "int8", encoders | {"fusion": pack_head(onnx["fusion"], place / "fusion")}
    floats: tuple[IrPrecision, ...] = ("fp32", "bf16")
    for precision in floats:
        place = folder / f"openvino-{precision}"
        yield "openvino", precision, {g: convert(p, place / g, precision) for g, p in onnx.items()}
    place = folder / "openvino-int8"
    int8 = {g: convert(onnx[g], place / g, "int8", calibration[g]) for g in _ENCODERS}
    int8["fusion"] = compress_weights(onnx["fusion"], place / "fusion")
    yield "openvino", "int8", int8
    yield "openvino", "int8-bf16", int8 | _marked_for_bf16(int8, folder)


def _marked_for_bf16(int8: Paths, folder: Path) -> dict[GraphName, Path]:
    """Write the encoders of openvino-int8 for openvino-int8-bf16, without quantising them again."""
    core = require("openvino", extra="openvino").Core()
    place = folder / "openvino-int8-bf16"
    return {g: save_ir(core.read_model(int8[g]), place / g, "int8-bf16") for g in _ENCODERS}


def _entry(engine: Engine, precision: Precision, paths: Paths, shape: HeadShape) -> Entry:
    name = f"{engine}-{precision}"
    target = GraphsTarget(paths=dict(paths), engine=engine, precision=precision, shape=shape)
    return Entry(name, target, base=name == _BASE_ENGINE)


def _larger_bank(shape: HeadShape, folder: Path) -> list[Entry]:
    """Write the fusion graph alone with a larger bank; its ratios are to ONNX Runtime's in fp32."""
    head, bank = build_head_of(shape)
    onnx = export_fusion(head, bank, shape.graph, folder / "onnx", OPSET)
    del head, bank
    graphs: list[tuple[Engine, Precision, Path]] = [
        ("onnx", "fp32", onnx),
        ("onnx", "int8", pack_head(onnx, folder / "onnx-int8")),
        ("openvino", "fp32", convert(onnx, folder / "openvino", "fp32")),
    ]
    return [
        _entry(engine, precision, {"fusion": path}, shape)._replace(group=f"bank {shape.bank_rows}")
        for engine, precision, path in graphs
    ]
