"""The work of each component: MACs, and the bytes that must move at least once.

Bytes are what no cache can save: weights in fp32, once, of token embeddings only the rows that are
read; the bank's tables that are searched and the neighbours' states that are gathered; inputs and
outputs. What passes between the layers is not counted, so the floor made of this stays a floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from hemogat.benchmarks.cost import encoders_cost, search_macs
from hemogat.benchmarks.targets import Case, HeadShape
from hemogat.contract import WINDOW_SAMPLES
from hemogat.export.folding import fold_head
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.graph_layers import GraphLayer
from hemogat.model.head import FusionHead
from hemogat.model.macs import head_macs, parameter_count

_FLOAT_BYTES = 4
_INT64_BYTES = 8


class Encoders(NamedTuple):
    """The encoders that a head reads, attention eager; None for a modality that it does not."""

    audio: AudioEncoder | None
    text: TextEncoder | None


@dataclass(frozen=True)
class Work:
    """One call of a component; ``gnn``: of the fusion step, else None."""

    case: Case
    gnn: str | None
    macs: int
    moved_bytes: int

    @property
    def intensity(self) -> float:
        """MACs per byte."""
        return self.macs / self.moved_bytes

    @property
    def axes(self) -> dict[str, str | int]:
        """What tells it from other work."""
        return self.case.axes | ({} if self.gnn is None else {"gnn": self.gnn})


def work_of(
    encoders: Encoders | None, shapes: Sequence[HeadShape], *, windows: int, tokens: int
) -> list[Work]:
    """Return the work of one utterance: each encoder, and the fusion step of each shape."""
    found = []
    if encoders is not None:
        found += _of_encoders(encoders, windows, tokens)
    return found + [_of_fusion(shape) for shape in shapes]


def _of_encoders(encoders: Encoders, windows: int, tokens: int) -> list[Work]:
    counted = encoders_cost(*encoders, windows=windows, tokens=tokens)
    audio, text = encoders
    found = []
    if audio is not None:
        case = Case(component="audio_encoder", windows=windows)
        heard = windows * (WINDOW_SAMPLES + audio.dim) * _FLOAT_BYTES
        moved = _weight_bytes(audio, tokens) + heard
        found.append(Work(case, None, sum(counted.audio_macs.values()), moved))
    if text is not None:
        case = Case(component="text_encoder", tokens=tokens)
        read = 2 * tokens * _INT64_BYTES + text.dim * _FLOAT_BYTES
        moved = _weight_bytes(text, tokens) + read
        found.append(Work(case, None, sum(counted.text_macs.values()), moved))
    return found


def _of_fusion(shape: HeadShape) -> Work:
    """Count the step as it is exported: single-key attention folded away."""
    dims, slots = shape.dims, shape.graph.used_by(shape.head).slots
    head = fold_head(FusionHead(dims.audio, dims.text, shape.labels, shape.head))
    macs = sum(head_macs(head, dims.audio, dims.text, 1, slots).values()) + search_macs(shape)
    layers = [m for m in head.modules() if isinstance(m, GraphLayer)]
    gathered = slots * sum(layer.state_width for layer in layers)
    table = shape.bank_rows * (dims.audio + dims.text)
    floats = parameter_count(head) + table + gathered + dims.audio + dims.text + 2 * shape.labels
    return Work(Case(component="fusion"), shape.head.gnn, macs, floats * _FLOAT_BYTES)


def _weight_bytes(module: nn.Module, tokens: int) -> int:
    tables = [m.weight for m in module.modules() if isinstance(m, nn.Embedding)]
    unread = sum(max(t.shape[0] - tokens, 0) * t.shape[1] for t in tables)
    return (parameter_count(module) - unread) * _FLOAT_BYTES
