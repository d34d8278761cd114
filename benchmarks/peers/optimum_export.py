"""Export the saved encoders with optimum-onnx; runs in the peers' environment."""

from __future__ import annotations

import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForFeatureExtraction

models = Path(sys.argv[1])
for name in ("audio", "text"):
    model = ORTModelForFeatureExtraction.from_pretrained(models / name, export=True)
    model.save_pretrained(models / f"{name}-optimum")
