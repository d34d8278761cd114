"""HemoGAT speech emotion recognition: train, export, serve and measure.

``import hemogat`` loads nothing heavy: :class:`Pipeline` comes in when it is first asked for, and
no serving module ever imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Pipeline", "Prediction", "__version__"]

if TYPE_CHECKING:
    from hemogat.runtime.pipeline import Pipeline
    from hemogat.runtime.prediction import Prediction


def __getattr__(name: str) -> Any:
    if name == "Pipeline":
        from hemogat.runtime.pipeline import Pipeline

        return Pipeline
    if name == "Prediction":
        from hemogat.runtime.prediction import Prediction

        return Prediction
    raise AttributeError(f"module 'hemogat' has no attribute {name!r}")
