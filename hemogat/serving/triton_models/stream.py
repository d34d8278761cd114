"""The Triton model that takes an utterance in pieces; see ``hemogat.serving.triton_stream``."""

from hemogat.serving.triton_host import StreamHost as TritonPythonModel

__all__ = ["TritonPythonModel"]
