"""ONNX to TensorRT plans, for TensorRT 10.14 and later and for 11.

Networks are strongly typed: precision is what the graph's own types say, and TensorRT 11 knows no
other way. A plan whose layers lack a type that the graph has is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from hemogat.contract import Precision
from hemogat.errors import ConfigError, HemogatError, IncompleteError
from hemogat.export.tensorrt_layers import layer_types, missing_types
from hemogat.export.tensorrt_operators import check_operators
from hemogat.export_config import Profile, TensorRTConfig
from hemogat.files import write_atomic
from hemogat.runtime.bundle import sha256_of
from hemogat.runtime.cuda_device import CudaDevice
from hemogat.runtime.tensorrt_plan import (
    PLAN_FILE,
    PlanRecord,
    ShapeRange,
    new_logger,
    record_path,
    require_tensorrt,
)

LAYERS_FILE = "model.layers.json"
_MIB = 2**20


def missing_parts() -> tuple[str, ...]:
    """Say what this machine lacks to build plans; empty where it can."""
    missing = []
    for need in (require_tensorrt, CudaDevice):
        try:
            need()
        except IncompleteError as error:
            missing.append(str(error))
    return tuple(missing)


def optimization_profile(
    path: Path, config: TensorRTConfig, token_buckets: Sequence[int]
) -> dict[str, ShapeRange]:
    """Return the shapes of every input of the ONNX graph at ``path`` that a plan is built for.

    Token counts are narrowed to ``token_buckets``, the only ones that ever come.

    Raises:
        ConfigError: the recipe's tokens do not hold the buckets.
    """
    axes = {"window": config.windows, "batch": config.batch}
    axes["token"] = _narrowed(config.tokens, token_buckets)
    profile = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        dims = value.type.tensor_type.shape.dim
        sizes = [axes.get(d.dim_param) or _fixed(d.dim_value) for d in dims]
        profile[value.name] = ShapeRange(
            smallest=tuple(size.smallest for size in sizes),
            typical=tuple(size.typical for size in sizes),
            largest=tuple(size.largest for size in sizes),
        )
    return profile


def build_plan(
    path: Path, precision: Precision, config: TensorRTConfig, token_buckets: Sequence[int]
) -> Path:
    """Build the plan of the typed ONNX graph at ``path``, beside it; return the plan's path.

    Beside the plan come its record and what TensorRT's inspector tells of its layers.

    Raises:
        IncompleteError: TensorRT, the CUDA bindings or a GPU are missing.
        ConfigError: the recipe's tokens do not hold the model's.
        HemogatError: TensorRT refuses the graph, or builds a plan without a type that it has.
    """
    expected = check_operators(path)
    profile = optimization_profile(path, config, token_buckets)
    tensorrt = require_tensorrt()
    gpu = CudaDevice()
    errors: list[str] = []
    logger = new_logger(tensorrt, errors)
    plan = _build(tensorrt, logger, path, profile, config)
    if plan is None:
        raise HemogatError(f"{path}: TensorRT built no plan ({'; '.join(errors) or 'no message'})")
    information = _inspect(tensorrt, logger, plan)
    counts = layer_types(information)
    if missing := missing_types(counts, list(expected)):
        raise HemogatError(
            f"{path}: has {', '.join(missing)} nodes, but no layer of its plan has: TensorRT did "
            f"not keep the types (layers by type: {counts})"
        )
    record = PlanRecord.model_validate(
        {
            "tensorrt": tensorrt.__version__,
            "gpu": gpu.name,
            "compute_capability": gpu.compute_capability,
            "layers": counts,
        }
        | known_facts(path, precision, profile, config)
    )
    target = path.with_name(PLAN_FILE)
    write_atomic(path.with_name(LAYERS_FILE), information)
    write_atomic(target, plan)
    write_atomic(record_path(target), record.model_dump_json(indent=1) + "\n")
    return target


def known_facts(
    path: Path, precision: Precision, profile: dict[str, ShapeRange], config: TensorRTConfig
) -> dict[str, Any]:
    """Return what a plan's record says that is known before the plan is built."""
    return {
        "schema_version": 1,
        "precision": precision,
        "hardware_compatibility": config.hardware_compatibility,
        "profile": {name: shapes.model_dump(mode="json") for name, shapes in profile.items()},
        "onnx": _hashes(path),
    }


def _hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a graph and of its external data, by place from the graph."""
    model = onnx.load(path, load_external_data=False)
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return {place: sha256_of(path.parent / place) for place in (path.name, *sorted(places))}


def _narrowed(tokens: Profile, buckets: Sequence[int]) -> Profile:
    first, last = min(buckets), max(buckets)
    if not tokens.smallest <= first <= last <= tokens.largest:
        raise ConfigError(
            f"tensorrt.tokens: expected a range that holds the model's token buckets {first} to "
            f"{last}, found {tokens.smallest} to {tokens.largest}; widen it in the export recipe"
        )
    typical = min(max(tokens.typical, first), last)
    return Profile(smallest=first, typical=typical, largest=last)


def _fixed(size: int) -> Profile:
    return Profile(smallest=size, typical=size, largest=size)


def _build(
    tensorrt: ModuleType,
    logger: Any,
    path: Path,
    profile: dict[str, ShapeRange],
    config: TensorRTConfig,
) -> bytes | None:
    builder = tensorrt.Builder(logger)
    # By name: the number of the flag is not the same in 10 and 11.
    flag = tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise HemogatError(f"{path}: TensorRT cannot parse it: {_parser_errors(parser)}")
    settings = builder.create_builder_config()
    _apply(tensorrt, settings, config)
    _add_profile(builder, settings, profile, path)
    _load_timings(settings, config.timing_cache)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        return None
    if config.timing_cache is not None:
        write_atomic(config.timing_cache, bytes(settings.get_timing_cache().serialize()))
    return bytes(plan)


def _parser_errors(parser: Any) -> str:
    errors = (parser.get_error(index) for index in range(parser.num_errors))
    return "; ".join(
        f"node {error.node_name()} ({error.node_operator()}): {' '.join(error.desc().split())}"
        for error in errors
    )


def _apply(tensorrt: ModuleType, settings: Any, config: TensorRTConfig) -> None:
    level = config.hardware_compatibility.upper()
    settings.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, config.workspace_mib * _MIB)
    settings.builder_optimization_level = config.optimization_level
    settings.hardware_compatibility_level = getattr(tensorrt.HardwareCompatibilityLevel, level)
    settings.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    if not config.tf32:
        settings.clear_flag(tensorrt.BuilderFlag.TF32)  # on unless cleared


def _add_profile(builder: Any, settings: Any, profile: dict[str, ShapeRange], path: Path) -> None:
    shapes = builder.create_optimization_profile()
    for name, shape in profile.items():
        shapes.set_shape(name, shape.smallest, shape.typical, shape.largest)
    if settings.add_optimization_profile(shapes) < 0:
        raise HemogatError(f"{path}: TensorRT refuses the shapes {profile}")


def _load_timings(settings: Any, path: Path | None) -> None:
    """Start from the timings of earlier builds, or from none where they are of another GPU."""
    known = path.read_bytes() if path is not None and path.is_file() else b""
    if not settings.set_timing_cache(settings.create_timing_cache(known), False):
        settings.set_timing_cache(settings.create_timing_cache(b""), False)


def _inspect(tensorrt: ModuleType, logger: Any, plan: bytes) -> str:
    runtime = tensorrt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    inspector = engine.create_engine_inspector()
    information: str = inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON)
    return information
