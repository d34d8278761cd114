"""HemoGAT speech emotion recognition: train, export, serve and measure.

``import hemogat`` loads nothing heavy: each name comes in when it is first asked for, and no
serving module ever imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Pipeline", "Prediction", "__version__"]

if TYPE_CHECKING:
    from hemogat.runtime.pipeline import Pipeline
    from hemogat.runtime.prediction import Prediction
    from hemogat.serving.async_client import AsyncClient
    from hemogat.serving.client import Client

_HOMES = {
    "AsyncClient": "hemogat.serving.async_client",
    "Client": "hemogat.serving.client",
    "Pipeline": "hemogat.runtime.pipeline",
    "Prediction": "hemogat.runtime.prediction",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hemogat' has no attribute {name!r}")
