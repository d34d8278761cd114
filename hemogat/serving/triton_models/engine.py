"""The Triton model of one exported graph; the work is in ``hemogat.serving.triton_engine``."""

from hemogat.serving.triton_engine_host import EngineHost as TritonPythonModel

__all__ = ["TritonPythonModel"]
