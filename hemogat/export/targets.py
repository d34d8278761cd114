"""From the torch reference to one target's model files: an engine in a precision."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from hemogat.config import GraphConfig
from hemogat.contract import INT8_PRECISIONS, Engine, Precision
from hemogat.export.accuracy_aware import Judge, Run
from hemogat.export.calibration import Feeds
from hemogat.export.gathered_graphs import export_bank_states, export_fusion_gather
from hemogat.export.mixed_precision import to_half
from hemogat.export.onnx_files import MODEL_FILE
from hemogat.export.onnx_graphs import export_audio_encoder, export_fusion, export_text_encoder
from hemogat.export.openvino_ir import (
    IR_FILE,
    compress_weights,
    convert,
    quantise_accuracy_aware,
)
from hemogat.export.packed_head import is_worth_packing, pack_head
from hemogat.export.parity import Reference
from hemogat.export.quantisation import check_static, quantise
from hemogat.export.tensorrt_engine import build_plan, missing_parts
from hemogat.export.tensorrt_script import write_build_script
from hemogat.export_config import ExportConfig
from hemogat.model.bank import Bank
from hemogat.model.head import FusionHead
from hemogat.optional import require
from hemogat.progress import Progress, Stage
from hemogat.runtime.bundle import GraphName

Calibration = dict[GraphName, tuple[Feeds, ...]]
BANK_FOLDER = "bank"
STATES_GRAPH = f"{BANK_FOLDER}/states/{MODEL_FILE}"
GATHER_GRAPH = f"{BANK_FOLDER}/gather/{MODEL_FILE}"
GATHER_INT8_GRAPH = f"{BANK_FOLDER}/gather-int8/{IR_FILE}"
# What every other fusion graph is made from, with the bank. ONNX Runtime runs the head in fp32 in
# fp16 and bf16 too: it is a small part of the time, decides last, and so they share one bank.
FUSION_FOLDER = "fusion/onnx-fp32"


@dataclass(frozen=True)
class Source:
    """What is exported.

    ``judges``: gives what accuracy-aware quantisation asks, by encoder; without, nothing is put
    back. Like ``calibration`` it is called only where it is needed.
    """

    reference: Reference
    head: FusionHead
    bank: Bank
    graph: GraphConfig
    calibration: Callable[[], Calibration]
    judges: Callable[[], dict[GraphName, Judge]] = dict


@dataclass(frozen=True)
class Models:
    """Where a target's models are, and the layers that quantisation left in float, by graph."""

    paths: dict[GraphName, Path]
    restored: dict[GraphName, tuple[str, ...]]


def target_name(engine: Engine, precision: Precision) -> str:
    """Return what folders and reports call an engine in a precision: onnx-int8."""
    return f"{engine}-{precision}"


def check_converters(config: ExportConfig) -> None:
    """Refuse, before anything is computed, an engine whose packages are not installed.

    TensorRT's are none of these: without them ONNX Runtime answers in its place, and the graphs and
    the script that builds plans are written.

    Raises:
        IncompleteError: naming the extra that brings them.
    """
    if config.engine == "openvino":
        require("openvino", extra="openvino")
        if config.is_int8:
            require("nncf", extra="openvino")
    elif config.engine == "onnx" or config.is_int8 or missing_parts():
        require("onnxruntime", extra="cpu")


def write_models(source: Source, config: ExportConfig, folder: Path, progress: Progress) -> Models:
    """Write the target's models into a bundle that is being made; return where each is.

    For ``engine: trt`` these are the typed ONNX graphs that plans are built from.

    Raises:
        ConfigError: k is larger than the bank.
        InputError: int8 without an utterance to calibrate on.
        IncompleteError: what converts is not installed.
    """
    name = target_name(config.engine, config.precision)
    places: dict[GraphName, Path] = {
        "audio_encoder": folder / "audio_encoder" / name,
        "text_encoder": folder / "text_encoder" / name,
        "fusion": folder / "fusion" / name,
    }
    if (config.engine, config.precision) == ("onnx", "fp32"):
        return Models(_export(source, config, places, progress), {})
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fp32.") as scratch:
        exported = _export(source, config, {g: Path(scratch) / g for g in places}, progress)
        if not (folder / FUSION_FOLDER).is_dir():
            shutil.copytree(exported["fusion"].parent, folder / FUSION_FOLDER)
        calibration = source.calibration() if config.is_int8 else {}
        judges = source.judges() if is_accuracy_aware(config) else {}
        models = Models({}, {})
        with progress.stage(f"Convert to {name}", len(places)) as stage:
            for graph, path in exported.items():
                feeds = calibration.get(graph, ())
                name = graph.replace("_", " ")
                stage.advance(0, note=name)
                if graph in judges:
                    asked = _counting(judges[graph], stage, name)
                    found = _put_back(path, places[graph], config, feeds, asked)
                    models.paths[graph], models.restored[graph] = found
                else:
                    models.paths[graph] = _convert(graph, path, places[graph], config, feeds)
                stage.advance()
    return models


def _counting(judge: Judge, stage: Stage, name: str) -> Judge:
    """Show how many candidates were asked: ranking layers takes minutes."""
    asked = 0

    def counted(run: Run) -> Sequence[bool]:
        nonlocal asked
        asked += 1
        stage.advance(0, note=f"{name}, candidate {asked}")
        return judge(run)

    return counted


def write_bank_graphs(source: Source, config: ExportConfig, folder: Path) -> None:
    """Write the graphs without a bank inside, which a bundle has once for all engines.

    ``fusion_gather`` with int8 weights goes with OpenVINO in int8, where that is exported.

    What is there already, from an earlier export of the same run, stays.
    """
    if not source.bank.states:
        return
    what = (source.head, source.bank, source.graph)
    if not (folder / STATES_GRAPH).is_file():
        export_bank_states(*what, (folder / STATES_GRAPH).parent, config.opset)
    if config.gather and not (folder / GATHER_GRAPH).is_file():
        export_fusion_gather(*what, (folder / GATHER_GRAPH).parent, config.opset)
    if config.engine == "openvino" and config.is_int8:
        gather, place = folder / GATHER_GRAPH, folder / GATHER_INT8_GRAPH
        if gather.is_file() and not place.is_file():
            compress_weights(gather, place.parent)


def build_plans(
    paths: dict[GraphName, Path],
    folder: Path,
    config: ExportConfig,
    token_buckets: Sequence[int],
) -> tuple[dict[GraphName, Path], tuple[str, ...]]:
    """Build TensorRT plans from the typed graphs; return them, and what was missing if none.

    The script that builds them elsewhere is written in any case, for the graphs of every precision
    that the bundle has.

    Raises:
        HemogatError: TensorRT would refuse a graph, or does.
        ConfigError: the recipe's tokens do not hold the model's.
    """
    settings, precision = config.tensorrt, config.precision
    write_build_script(folder, _typed_graphs(folder), settings, token_buckets)
    missing = missing_parts()
    if missing:
        return {}, missing
    return {
        graph: build_plan(path, precision, settings, token_buckets) for graph, path in paths.items()
    }, ()


def _typed_graphs(folder: Path) -> dict[Precision, list[Path]]:
    return {
        precision: found
        for precision in get_args(Precision)
        if (found := sorted(folder.glob(f"*/{target_name('trt', precision)}/{MODEL_FILE}")))
    }


def _export(
    source: Source, config: ExportConfig, places: dict[GraphName, Path], progress: Progress
) -> dict[GraphName, Path]:
    """Write the fp32 ONNX graphs, of the encoders those that there are."""
    opset, reference = config.onnx_opset, source.reference
    paths: dict[GraphName, Path] = {}
    with progress.stage("Export graphs", len(places)) as stage:
        if reference.audio_encoder is not None:
            place = places["audio_encoder"]
            paths["audio_encoder"] = export_audio_encoder(reference.audio_encoder, place, opset)
            stage.advance(note="audio encoder")
        if reference.text_encoder is not None:
            place = places["text_encoder"]
            paths["text_encoder"] = export_text_encoder(reference.text_encoder, place, opset)
            stage.advance(note="text encoder")
        place = places["fusion"]
        paths["fusion"] = export_fusion(source.head, source.bank, source.graph, place, opset)
        stage.advance(note="fusion")
    return paths


def _convert(
    graph: GraphName, path: Path, place: Path, config: ExportConfig, feeds: tuple[Feeds, ...]
) -> Path:
    precision = config.precision
    if config.engine == "openvino":
        return _to_openvino(graph, path, place, precision, feeds)
    if precision == "int8" and graph != "fusion":
        written = quantise(path, place, feeds, symmetric=config.engine == "trt")
        check_static(written)
        return written
    if precision in ("fp16", "bf16") and (graph != "fusion" or config.engine == "trt"):
        return to_half(path, place, "fp16" if precision == "fp16" else "bf16")
    if config.engine == "onnx":
        return _onnx_head(path, place, precision)
    shutil.copytree(path.parent, place)
    return place / path.name


def _onnx_head(path: Path, place: Path, precision: Precision) -> Path:
    """Pack a large head's weights for int8; else there is the one graph for all precisions."""
    if precision == "int8" and is_worth_packing(path):
        return pack_head(path, place)
    return place.parents[1] / FUSION_FOLDER / path.name


def _to_openvino(
    graph: GraphName, path: Path, place: Path, precision: Precision, feeds: tuple[Feeds, ...]
) -> Path:
    assert precision != "fp16"  # the configuration refuses it
    if graph == "fusion" and precision in INT8_PRECISIONS:
        return compress_weights(path, place)
    return convert(path, place, precision, feeds)


def is_accuracy_aware(config: ExportConfig) -> bool:
    """Whether layers that flip decisions are put back to float."""
    return config.engine == "openvino" and config.is_int8


def _put_back(
    path: Path, place: Path, config: ExportConfig, feeds: tuple[Feeds, ...], judge: Judge
) -> tuple[Path, tuple[str, ...]]:
    """Quantise for OpenVINO; layers that flip decisions are put back to float, and named."""
    # Half of what the gate allows: both encoders may flip decisions, and not the same ones.
    allowed = config.limits.max_flip_rate / 2
    assert config.precision in ("int8", "int8-bf16")
    aware = quantise_accuracy_aware(
        path, place, feeds, judge, max_flip_rate=allowed, precision=config.precision
    )
    return aware.path, aware.restored
