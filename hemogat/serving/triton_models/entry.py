"""The Triton model that clients call; the work is in ``hemogat.serving.triton_entry``."""

from hemogat.serving.triton_host import EntryHost as TritonPythonModel

__all__ = ["TritonPythonModel"]
