"""Typed, validated configuration of export, loaded from the recipes under ``export/``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field, model_validator

from hemogat.config import PositiveFloat, PositiveInt, Settings
from hemogat.contract import INT8_PRECISIONS, Engine, Precision

_BF16_FROM_OPSET = 22  # earlier ONNX has no bf16 convolution
Share = Annotated[float, Field(ge=0, le=1)]


class ParityConfig(Settings):
    """What an exported graph may differ from the torch reference by; None: not limited.

    ``max_abs_diff`` and ``min_cosine`` hold for embeddings, logits, probabilities and similarities
    (rounding orders equally similar neighbours, and with them their attention), ``max_flip_rate``
    for the share of decisions that differ, with all inputs and over all ways of asking,
    ``max_ua_change`` for the unweighted accuracy (mean recall, as a share) end to end with all
    inputs, either way. ``max_batch_diff``: how far an utterance's probabilities may be from one
    another, alone and in different batches; ``max_batch_embedding_diff``: the same of its
    embeddings, as a share of their largest number. ``min_recall``: the share of the fusion graph's
    neighbours that a search outside of it has to find.
    """

    max_abs_diff: PositiveFloat | None = 1e-4
    min_cosine: Annotated[float, Field(gt=0, le=1)] | None = 0.9999
    max_flip_rate: Share = 0.0
    max_ua_change: Share = 0.0
    max_batch_diff: PositiveFloat = 1e-5
    max_batch_embedding_diff: PositiveFloat = 1e-4
    min_recall: Share = 0.99


# Below fp32 embeddings move; what counts is what is decided. int8 has static scales, so that its
# answers depend on the batch no more than those of fp32.
_INT8 = ParityConfig(max_abs_diff=None, min_cosine=None, max_flip_rate=0.01, max_ua_change=0.005)
# Batches of other sizes are summed up in another order, which rounds the last digit the other way.
_HALF = _INT8.model_copy(update={"max_batch_diff": 1e-3, "max_batch_embedding_diff": 1e-2})
_LIMITS: dict[Precision, ParityConfig] = {
    "fp32": ParityConfig(),
    "fp16": _HALF,
    "bf16": _HALF,
    "int8": _INT8,
    "int8-bf16": _HALF,
}


class Profile(Settings):
    """Sizes of one dynamic axis that a TensorRT engine is built for."""

    smallest: PositiveInt
    typical: PositiveInt
    largest: PositiveInt

    @model_validator(mode="after")
    def _grows(self) -> Profile:
        if not self.smallest <= self.typical <= self.largest:
            raise ValueError(
                f"expected smallest <= typical <= largest, found {self.smallest}, {self.typical}, "
                f"{self.largest}"
            )
        return self


class TensorRTConfig(Settings):
    """How TensorRT builds engines; used by ``engine: trt`` alone.

    Profiles are narrow on purpose: an engine for a wide range of shapes is slow at all of them.
    ``hardware_compatibility``: which other GPUs may run the plan, for some speed. ``timing_cache``:
    where kernel timings are kept, so that the next build is quick. ``tf32``: fp32 layers may round
    their factors to TF32.
    """

    windows: Profile = Profile(smallest=1, typical=8, largest=64)
    batch: Profile = Profile(smallest=1, typical=8, largest=32)
    tokens: Profile = Profile(smallest=16, typical=32, largest=128)
    workspace_mib: PositiveInt = 4096
    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    hardware_compatibility: Annotated[
        str, Field(pattern="^(none|ampere_plus|same_compute_capability)$")
    ] = "none"
    timing_cache: Path | None = Path("build/tensorrt.cache")
    tf32: bool = False


class ExportConfig(Settings):
    """One export target.

    ``parity``: None for the precision's own limits. ``calibration_utterances``: training
    utterances that int8 takes its scales from. ``gather``: write the ``fusion_gather`` graph too,
    for banks that are searched outside the graph; ``ivf_index``: and store the index of their
    search ``ivf``, None: from 100,000 rows. ``allow_unjudged``: write an engine that cannot
    be compared on this machine, marked so; else it is refused. ``device``: where the gate runs the
    engine; None for the engine's own, as for :func:`hemogat.runtime.sessions.open_graph`.
    """

    engine: Engine = "onnx"
    precision: Precision = "fp32"
    opset: Annotated[int, Field(ge=18, le=23)] = 20
    parity: ParityConfig | None = None
    calibration_utterances: PositiveInt = 128
    gather: bool = False
    ivf_index: bool | None = None
    allow_unjudged: bool = False
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] | None = None
    tensorrt: TensorRTConfig = TensorRTConfig()

    @model_validator(mode="after")
    def _engine_has_it(self) -> ExportConfig:
        lacked = "fp16" if self.engine == "openvino" else "int8-bf16"
        if self.precision == lacked:
            has = ", ".join(p for p in get_args(Precision) if p != lacked)
            raise ValueError(f"engine {self.engine}: expected precision {has}, found {lacked}")
        if self.ivf_index and not self.gather:
            raise ValueError("ivf_index: expected gather: true with it, without which none is read")
        kind = (self.device or "auto").partition(":")[0]
        if (self.engine, kind) in (("trt", "cpu"), ("openvino", "cuda")):
            runs_on = "a GPU: auto or cuda[:n]" if self.engine == "trt" else "cpu"
            raise ValueError(
                f"engine {self.engine}: expected a device that it runs on ({runs_on}), found "
                f"{self.device}"
            )
        return self

    @property
    def limits(self) -> ParityConfig:
        """What the gate judges by."""
        if self.parity is not None:
            return self.parity
        return _LIMITS[self.precision]

    @property
    def is_int8(self) -> bool:
        """Whether products are quantised, with scales that are calibrated."""
        return self.precision in INT8_PRECISIONS

    @property
    def onnx_opset(self) -> int:
        """The opset that graphs are written in: as asked, or the first that has the precision."""
        typed = self.engine != "openvino" and self.precision == "bf16"
        return max(self.opset, _BF16_FROM_OPSET) if typed else self.opset
