"""Typed, validated configuration of export, loaded from the recipes under ``export/``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hemogat.config import NonNegativeInt, PositiveFloat, Settings
from hemogat.contract import Engine, Precision


class ParityConfig(Settings):
    """What an exported graph may differ from the torch reference by, and how that is judged."""

    max_abs_diff: PositiveFloat = 1e-4
    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.9999
    max_flips: NonNegativeInt = 0


class ExportConfig(Settings):
    """One export target."""

    engine: Engine = "onnx"
    precision: Precision = "fp32"
    opset: Annotated[int, Field(ge=18, le=23)] = 20
    parity: ParityConfig = ParityConfig()
