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
_BLOCK_BYTES = 128 * 2**20  # of similarities at once; a search needs about three times as much


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
        *_search(audio, SearchTable(audio_table, audio_rows), k_audio),
        *_search(text, SearchTable(text_table, text_rows), k_text),
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
    return _union(
        *_search(audio, audio_table, graph.k_audio, own=_columns(audio_table, len(audio))),
        *_search(text, text_table, graph.k_text, own=_columns(text_table, len(text))),
        searching,
    )


def _columns(table: SearchTable, rows: int) -> Tensor:
    """Return where each of ``rows`` rows stands in ``table``: int64 [rows], -1 where nowhere."""
    columns = table.rows.new_full((rows,), -1)
    columns[table.rows] = torch.arange(table.rows.numel(), device=table.rows.device)
    return columns


def _search(
    queries: Tensor, table: SearchTable, k: int, *, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows [B, k] and similarities [B, k] of the nearest, block by block of queries.

    ``own``: int64 [B], the column that a query itself stands in and does not find, or -1.
    """
    rows = table.rows.new_empty(len(queries), k)
    values = queries.new_empty(len(queries), k)
    if not k:
        return rows, values
    at_once = max(1, _BLOCK_BYTES // (table.table.element_size() * table.rows.numel()))
    for start in range(0, len(queries), at_once):
        block = slice(start, start + at_once)
        similarities = normalise(queries[block]) @ table.table
        if own is not None:
            excluded = own[block]
            there = (excluded >= 0).nonzero(as_tuple=True)[0]
            similarities[there, excluded[there]] = -torch.inf
        values[block], columns = _top_k(similarities, k)
        rows[block] = table.rows[columns]
    return rows, values


def _top_k(similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values [B, k] and columns [B, k], best first; ties go to the lower column.

    ``torch.topk`` leaves ties open, and equal rows are common: every "Yeah." of a corpus has the
    same text embedding. ONNX's TopK breaks them this way. One value more than asked for shows
    where a tie crosses the boundary; only there the higher columns are taken out first.
    """
    values, columns = similarities.topk(min(k + 1, similarities.shape[1]), dim=1)
    if values.shape[1] > k:
        tied = (values[:, k - 1] == values[:, k]).nonzero(as_tuple=True)[0]
        columns = columns[:, :k]
        columns[tied] = _top_k_of_tied(similarities[tied], values[tied, k - 1 : k], k)
    columns = columns.sort(dim=1).values
    values, order = similarities.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _top_k_of_tied(similarities: Tensor, boundary: Tensor, k: int) -> Tensor:
    """Return the columns of all above ``boundary`` [B, 1] and of the first that equal it."""
    above = similarities > boundary
    equal = similarities == boundary
    room = k - above.sum(dim=1, keepdim=True)
    kept = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return kept.nonzero(as_tuple=True)[1].view(-1, k)


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
