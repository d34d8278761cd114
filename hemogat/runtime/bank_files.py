"""Where a bundle has its bank."""

from __future__ import annotations

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from hemogat.config import PositiveInt, Settings
from hemogat.runtime.bundle_sums import InnerPath
from hemogat.runtime.ivf_facts import IvfFiles


class BankFiles(Settings):
    """The frozen bank: how many utterances, and where they are.

    What there is not is not written, so that an earlier version, which refuses fields that it does
    not know, reads a bundle that does not use them.
    """

    rows: PositiveInt
    tensors: InnerPath  # embeddings, presence and states, safetensors
    index: InnerPath  # labels and opaque ids, JSON
    states: InnerPath | None = None  # graph bank_states, ONNX; none for a head without neighbours
    gather: InnerPath | None = None  # graph fusion_gather, ONNX, where it was asked for
    gather_int8: InnerPath | None = None  # the same with int8 weights, for OpenVINO in int8
    ivf: IvfFiles | None = None  # the index of a large bank; without, it is built at every load

    @model_serializer(mode="wrap")
    def _what_there_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}
