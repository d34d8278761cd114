"""What the base preset is measured in: torch, and every engine and precision that runs here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch

from hemogat.benchmarks.base_models import (
    OPSET,
    PADDED_TOKENS,
    calibration_feeds,
    write_encoder,
)
from hemogat.benchmarks.cost import base_encoders
from hemogat.benchmarks.engine_report import EngineSettings
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.in_processes import Task, run_in_processes
from hemogat.benchmarks.outside_candidates import outside_entries
from hemogat.benchmarks.random_heads import build_head_of
from hemogat.benchmarks.targets import GraphsTarget, HeadShape, PresetTarget
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import IrPrecision, compress_weights, convert, save_ir
from hemogat.export.packed_head import pack_head
from hemogat.export.quantisation import quantise
from hemogat.optional import require
from hemogat.progress import Progress
from hemogat.runtime.bundle import GraphName

_ENCODERS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder")
_FUSION: GraphName = "fusion"
_NEEDED = {"onnxruntime": "cpu", "openvino": "openvino", "nncf": "openvino"}  # module to extra
_BASE_ENGINE = "onnx-fp32"  # ratios are to this, too, beside torch
_ENGINES = (
    _BASE_ENGINE,
    "onnx-int8",
    "openvino-fp32",
    "openvino-bf16",
    "openvino-int8",
    "openvino-int8-bf16",
)


def engine_entries(settings: EngineSettings, folder: Path, progress: Progress) -> list[Entry]:
    """Build the base preset in ``folder``, and return everything that takes turns.

    Torch comes first, as it is and with texts padded as the authors train; then the engines, the
    fusion step with its bank outside the graph, and the fusion step with larger banks.

    Raises:
        IncompleteError: what an export needs is not installed.
    """
    for module, extra in _NEEDED.items():
        require(module, extra)
    rows = settings.bank_rows
    entries = [
        Entry("torch-eager", PresetTarget(bank_rows=rows), base=True),
        Entry(
            f"torch-eager, text padded to {PADDED_TOKENS}",
            PresetTarget(bank_rows=rows, padded_tokens=PADDED_TOKENS),
            base=True,
        ),
    ]
    samples, larger = settings.calibration_samples, settings.larger_banks
    tasks = [  # the longest first
        *(Task(graph, _write_encoder, (graph, folder, samples)) for graph in _ENCODERS),
        *(Task(f"bank of {many}", _larger_bank, (many, folder)) for many in larger),
        Task(_FUSION, _write_fusion, (folder, rows)),
    ]
    with progress.stage("Build the base preset", len(tasks)) as bar:
        *built, (fusion, outside) = run_in_processes(tasks, folder, bar)
    encoders, banks = built[: len(_ENCODERS)], built[len(_ENCODERS) :]
    written = dict(zip((*_ENCODERS, _FUSION), (*encoders, fusion), strict=True))
    for engine in _ENGINES:
        paths = {graph: files[engine] for graph, files in written.items()}
        entries.append(_entry(engine, paths, HeadShape(bank_rows=rows)))
    return [*entries, *outside, *chain.from_iterable(banks)]


def write_engines(
    graph: GraphName, onnx: Path, folder: Path, calibration_samples: int
) -> dict[str, Path]:
    """Write one graph for every engine and precision but ONNX fp32, which is given.

    Returns:
        the files by engine and precision, as "openvino-int8".

    Raises:
        IncompleteError: what an export needs is not installed.
    """
    place = {engine: folder / engine / graph for engine in _ENGINES}
    floats: tuple[IrPrecision, ...] = ("fp32", "bf16")
    written = {f"openvino-{p}": convert(onnx, place[f"openvino-{p}"], p) for p in floats}
    if graph == _FUSION:
        written["onnx-int8"] = pack_head(onnx, place["onnx-int8"])
        int8 = compress_weights(onnx, place["openvino-int8"])
        return written | {"openvino-int8": int8, "openvino-int8-bf16": int8}
    calibration = calibration_feeds(calibration_samples)[graph]
    written["onnx-int8"] = quantise(onnx, place["onnx-int8"], calibration)
    int8 = convert(onnx, place["openvino-int8"], "int8", calibration)
    model = require("openvino", extra="openvino").Core().read_model(int8)
    marked = save_ir(model, place["openvino-int8-bf16"], "int8-bf16")  # not quantised again
    return written | {"openvino-int8": int8, "openvino-int8-bf16": marked}


def _write_encoder(graph: GraphName, folder: Path, samples: int) -> dict[str, Path]:
    torch.manual_seed(0)
    encoder = base_encoders()[_ENCODERS.index(graph)]
    onnx = write_encoder(encoder, folder / _BASE_ENGINE / graph)
    return {_BASE_ENGINE: onnx} | write_engines(graph, onnx, folder, samples)


def _write_fusion(folder: Path, rows: int) -> tuple[dict[str, Path], list[Entry]]:
    """Write the fusion step, also with its bank outside."""
    shape = HeadShape(bank_rows=rows)
    head, bank = build_head_of(shape)
    onnx = export_fusion(head, bank, shape.graph, folder / _BASE_ENGINE / _FUSION, OPSET)
    written = {_BASE_ENGINE: onnx} | write_engines(_FUSION, onnx, folder, 0)
    return written, outside_entries(head, bank, shape, onnx, folder)


def _entry(name: str, paths: Mapping[GraphName, Path], shape: HeadShape) -> Entry:
    engine, _, precision = name.partition("-")
    given = {"paths": paths, "engine": engine, "precision": precision, "shape": shape}
    return Entry(name, GraphsTarget.model_validate(given), base=name == _BASE_ENGINE)


def _larger_bank(rows: int, folder: Path) -> list[Entry]:
    """Write the fusion graph alone with a larger bank; its ratios are to ONNX Runtime's in fp32."""
    shape, folder = HeadShape(bank_rows=rows), folder / f"bank-{rows}"
    head, bank = build_head_of(shape)
    onnx = export_fusion(head, bank, shape.graph, folder / "onnx", OPSET)
    del head, bank
    graphs = {
        _BASE_ENGINE: onnx,
        "onnx-int8": pack_head(onnx, folder / "onnx-int8"),
        "openvino-fp32": convert(onnx, folder / "openvino", "fp32"),
    }
    return [
        _entry(name, {_FUSION: path}, shape)._replace(group=f"bank {rows}")
        for name, path in graphs.items()
    ]
