"""TensorRT plans and the records beside them, checked before a plan is loaded.

A plan runs on the TensorRT version that built it and, unless built to be compatible, on the same
GPU model. TensorRT itself refuses some mismatches late and others not at all.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from hemogat.config import Settings
from hemogat.contract import Precision
from hemogat.errors import BundleError, IncompleteError
from hemogat.optional import pip_line, require
from hemogat.runtime.bundle import sha256_of

PLAN_FILE = "model.plan"
MINIMUM_TENSORRT = (10, 14)
_AMPERE = (8, 0)
_REBUILD = "build it on this machine: run the bundle's build_engines.sh, or hemogat export"


class ShapeRange(Settings):
    """The shapes of one input that a plan takes, and the one that it is tuned for."""

    smallest: tuple[int, ...]
    typical: tuple[int, ...]
    largest: tuple[int, ...]


class PlanRecord(Settings):
    """``model.plan.json``: what built the plan, from what, for which shapes.

    ``onnx``: SHA-256 of the graph and its data files, by their place from the plan; ``layers``: how
    many of the plan's layers read or write each type, as TensorRT's inspector tells.
    """

    schema_version: Literal[1] = 1
    tensorrt: str
    gpu: str
    compute_capability: str
    hardware_compatibility: Literal["none", "same_compute_capability", "ampere_plus"]
    precision: Precision
    profile: dict[str, ShapeRange]
    onnx: dict[str, str]
    layers: dict[str, int]


class GpuIdentity(Protocol):
    """What a plan is tied to."""

    name: str
    compute_capability: str


def record_path(plan: Path) -> Path:
    """Return where the record of a plan is."""
    return plan.with_name(f"{plan.name}.json")


def require_tensorrt() -> ModuleType:
    """Import TensorRT.

    Raises:
        IncompleteError: it is not installed, or older than what the plans need.
    """
    tensorrt = require("tensorrt", extra="trt")
    version = tuple(map(int, tensorrt.__version__.split(".")[:2]))
    if version < MINIMUM_TENSORRT:
        wanted = ".".join(map(str, MINIMUM_TENSORRT))
        raise IncompleteError(
            f"expected TensorRT {wanted} or newer, found {tensorrt.__version__}; "
            f"install it with: {pip_line('trt')}"
        )
    return tensorrt


def new_logger(tensorrt: ModuleType, errors: list[str]) -> Any:
    """Return a TensorRT logger that appends errors to ``errors`` and drops all else."""
    severe = (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR)

    def log(self: object, severity: object, message: str) -> None:
        if severity in severe:
            errors.append(" ".join(message.split()))

    return type("CollectingLogger", (tensorrt.ILogger,), {"log": log})()


def check_plan(plan: Path, tensorrt_version: str, gpu: GpuIdentity) -> PlanRecord:
    """Read the record of a plan and refuse what would not run here; return the record.

    Raises:
        BundleError: there is no plan or no record, or it is for another TensorRT, GPU or graph.
    """
    if not plan.is_file():
        raise BundleError(f"{plan}: is missing; {_REBUILD} --engine trt")
    path = record_path(plan)
    try:
        record = PlanRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path}: {reason}; {_REBUILD} --engine trt") from error
    for what, expected, found in _mismatches(plan, record, tensorrt_version, gpu):
        raise BundleError(
            f"{plan}: was built for {what} {expected}, found {found}; "
            f"{_REBUILD} --engine trt --precision {record.precision}"
        )
    return record


def _mismatches(
    plan: Path, record: PlanRecord, tensorrt_version: str, gpu: GpuIdentity
) -> list[tuple[str, str, str]]:
    """Return what does not fit, as (what, for which the plan was built, found)."""
    found = []
    if record.tensorrt != tensorrt_version:
        found.append(("TensorRT", record.tensorrt, tensorrt_version))
    capability = (record.compute_capability, gpu.compute_capability)
    if record.hardware_compatibility == "ampere_plus":
        if _numbers(gpu.compute_capability) < _AMPERE:
            found.append(("compute capability", "8.0 or higher", gpu.compute_capability))
    elif capability[0] != capability[1]:
        found.append(("compute capability", *capability))
    elif record.hardware_compatibility == "none" and record.gpu != gpu.name:
        found.append(("GPU", record.gpu, gpu.name))
    for name, digest in record.onnx.items():
        # A bundle may come without the graphs; where they are, they must be the plan's own.
        source = plan.parent / name
        if source.is_file() and (now := sha256_of(source)) != digest:
            found.append((f"another {name}, SHA-256", digest, now))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
