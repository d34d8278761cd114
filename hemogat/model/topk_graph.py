"""The Top-K graph step: which bank utterances a new one is linked to (paper Eq. 3 to 7).

Neighbours are a dense index tensor with a fixed number of slots, audio slots first, -1 where a
slot is masked: because the modality is absent, or because the audio slots hold that row already
(Eq. 7 is a union, so a row counts once). The degree still varies, but every shape is static.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hemogat.config import GraphConfig
from hemogat.contract import Modality
from hemogat.errors import ConfigError

MASKED = -1
_QUERIES_AT_ONCE = 4096  # bounds the similarity matrix of a large transductive graph


@dataclass(frozen=True)
class SearchTable:
    """What one modality's neighbours are searched in.

    Shapes:
        table: [d, R], unit columns, one per bank row that has the modality
        rows: int64 [R], the bank row of each column, ascending
    """

    table: Tensor
    rows: Tensor

    @classmethod
    def build(cls, embeddings: Tensor, present: Tensor) -> SearchTable:
        """Take the rows of ``embeddings`` [N, d] where ``present`` bool [N] is true."""
        rows = present.nonzero(as_tuple=True)[0]
        return cls(table=normalise(embeddings[rows]).T.contiguous(), rows=rows)


@dataclass(frozen=True)
class Neighbours:
    """The graph: who each utterance takes messages from, besides itself.

    Shapes:
        index: int64 [B, k_audio + k_text], bank rows, -1 where masked
        similarity: [B, k_audio + k_text], cosine, 0 where masked
    """

    index: Tensor
    similarity: Tensor


def normalise(embeddings: Tensor) -> Tensor:
    """Scale rows to unit length, as Eq. 3 and 4 assume; a zero row stays zero, never NaN."""
    return F.normalize(embeddings, dim=-1, eps=1e-12)


def check_k(graph: GraphConfig, audio_rows: int, text_rows: int, *, spare: int = 0) -> None:
    """Refuse a k larger than the rows that have the modality, ``spare`` of them left out.

    Raises:
        ConfigError: naming the setting, its value and what the bank holds.
    """
    found: list[tuple[Modality, int, int]] = [
        ("audio", graph.k_audio, audio_rows),
        ("text", graph.k_text, text_rows),
    ]
    for modality, k, rows in found:
        if k and k > rows - spare:
            raise ConfigError(
                f"graph.k_{modality} is {k}, but only {max(rows - spare, 0)} utterances with "
                f"{modality} can be neighbours; lower it or train on more utterances"
            )


def search_bank(
    audio: Tensor,
    text: Tensor,
    present: Tensor,
    audio_table: SearchTable,
    text_table: SearchTable,
    graph: GraphConfig,
) -> Neighbours:
    """Link new utterances to bank rows (inductive graph).

    Shapes:
        audio, text: [B, d_a], [B, d_t]; present: bool [B, 2] (audio, text)
    """
    index, similarity = topk_bank_graph(
        audio,
        text,
        present,
        audio_table.table,
        audio_table.rows,
        text_table.table,
        text_table.rows,
        graph.k_audio,
        graph.k_text,
    )
    return Neighbours(index, similarity)


@torch.library.custom_op("hemogat::topk_bank_graph", mutates_args=())
def topk_bank_graph(
    audio: Tensor,
    text: Tensor,
    present: Tensor,
    audio_table: Tensor,
    audio_rows: Tensor,
    text_table: Tensor,
    text_rows: Tensor,
    k_audio: int,
    k_text: int,
) -> tuple[Tensor, Tensor]:
    """Return neighbours and similarities: one operator, so that export keeps it as one function."""
    neighbours = _union(
        *_top_k(normalise(audio) @ audio_table, audio_rows, k_audio),
        *_top_k(normalise(text) @ text_table, text_rows, k_text),
        present,
    )
    return neighbours.index, neighbours.similarity


@topk_bank_graph.register_fake
def _shapes_of_topk_bank_graph(
    audio: Tensor,
    text: Tensor,
    present: Tensor,
    audio_table: Tensor,
    audio_rows: Tensor,
    text_table: Tensor,
    text_rows: Tensor,
    k_audio: int,
    k_text: int,
) -> tuple[Tensor, Tensor]:
    shape = (audio.shape[0], k_audio + k_text)
    return audio.new_empty(shape, dtype=torch.int64), audio.new_empty(shape)


def link_together(
    audio: Tensor,
    text: Tensor,
    present: Tensor,
    graph: GraphConfig,
    *,
    searching: Tensor | None = None,
) -> Neighbours:
    """Link utterances to each other, each excluded from its own neighbours by index.

    By index and not by rank: of two equal utterances each is the other's nearest neighbour.

    Shapes:
        audio, text: [N, d_a], [N, d_t]
        present: bool [N, 2] (audio, text), what utterances can be found by
        searching: bool [N, 2], what they search with; None: all that is present
    """
    if searching is None:
        searching = present
    audio_table = SearchTable.build(audio, present[:, 0])
    text_table = SearchTable.build(text, present[:, 1])
    check_k(graph, audio_table.rows.numel(), text_table.rows.numel(), spare=1)
    parts = [
        _union(
            *_top_k_of_others(normalise(audio[part]), part, audio_table, graph.k_audio),
            *_top_k_of_others(normalise(text[part]), part, text_table, graph.k_text),
            searching[part],
        )
        for part in torch.split(torch.arange(len(audio), device=audio.device), _QUERIES_AT_ONCE)
    ]
    return Neighbours(
        torch.cat([part.index for part in parts]), torch.cat([part.similarity for part in parts])
    )


def _top_k_of_others(
    queries: Tensor, numbers: Tensor, table: SearchTable, k: int
) -> tuple[Tensor, Tensor]:
    similarities = queries @ table.table
    own = numbers.unsqueeze(1) == table.rows.unsqueeze(0)
    return _top_k(similarities.masked_fill(own, -torch.inf), table.rows, k)


def _top_k(similarities: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return rows [B, k] and similarities [B, k], best first; ties go to the lower row.

    A stable sort, because ``torch.topk`` leaves the order of ties open and equal rows are common:
    every "Yeah." of a corpus has the same text embedding. ONNX's TopK breaks ties this way too.
    """
    values, order = similarities.sort(dim=1, descending=True, stable=True)
    return rows[order[:, :k]], values[:, :k]


def _union(
    audio_rows: Tensor,
    audio_similarities: Tensor,
    text_rows: Tensor,
    text_similarities: Tensor,
    present: Tensor,
) -> Neighbours:
    """Join both modalities' neighbours; a row in both keeps its audio slot (Eq. 7)."""
    audio_kept = present[:, :1].expand_as(audio_rows)
    found_by_audio = (text_rows.unsqueeze(2) == audio_rows.unsqueeze(1)).any(dim=2)  # [B, k_t]
    text_kept = present[:, 1:] & ~(found_by_audio & present[:, :1])
    kept = torch.cat([audio_kept, text_kept], dim=1)
    rows = torch.cat([audio_rows, text_rows], dim=1)
    similarities = torch.cat([audio_similarities, text_similarities], dim=1)
    return Neighbours(rows.masked_fill(~kept, MASKED), similarities.masked_fill(~kept, 0.0))
