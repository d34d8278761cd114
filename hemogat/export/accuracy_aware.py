"""Which decisions an encoder keeps: what accuracy-aware quantisation asks of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hemogat.data.audio import cut_windows
from hemogat.data.manifest import Manifest, Utterance
from hemogat.data.text import batch_tokens
from hemogat.export.parity import Reference, ReferenceAnswers
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.engine_session import Arrays
from hemogat.training.preparation import PreparedRow

Run = Callable[[Arrays], Arrays]  # what runs a candidate graph
Judge = Callable[[Run], Sequence[bool]]
_AT_ONCE = 32
_MOST = 128  # utterances to ask: quantisation asks again for every layer that it ranks


def utterances_to_rank_on(manifest: Manifest, judged: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """Return at most :data:`_MOST` utterances, spread over a split that the gate does not judge on.

    A held-out split if there is one: training utterances are in the bank, where each finds itself,
    and so keep their decisions too easily.
    """
    taken = {utterance.id for utterance in judged}
    splits = (manifest.split("val"), manifest.split("test"))
    free = (s for s in splits if s and taken.isdisjoint(u.id for u in s))
    rows = next(free, manifest.split("train"))
    count = min(len(rows), _MOST)
    return tuple(rows[n * len(rows) // count] for n in range(count))


def encoder_judges(
    reference: Reference,
    rows: Sequence[PreparedRow],
    expected: ReferenceAnswers,
    window_samples: int,
) -> dict[GraphName, Judge]:
    """Return, for each encoder, what says of every utterance whether its decision is kept.

    The candidate encodes; the other modality and the head are the reference's, so that a flip is
    the candidate's own.
    """
    embeddings, logits = expected.embeddings, expected.logits
    cut = {
        number: cut_windows(row.samples, window_samples)
        for number, row in enumerate(rows)
        if row.samples is not None
    }

    def audio(run: Run) -> Sequence[bool]:
        found = embeddings.audio.clone()
        windows = np.concatenate([*cut.values()])
        encoded = np.concatenate(
            [
                run({"windows": windows[start : start + _AT_ONCE]})["audio_embedding"]
                for start in range(0, len(windows), _AT_ONCE)
            ]
        )
        bounds = np.cumsum([len(part) for part in cut.values()])[:-1]
        for number, part in zip(cut, np.split(encoded, bounds), strict=True):
            found[number] = torch.from_numpy(part.mean(axis=0))
        return kept(found, embeddings.text)

    def text(run: Run) -> Sequence[bool]:
        found = embeddings.text.clone()
        numbers = [number for number, row in enumerate(rows) if row.tokens is not None]
        tokens = [row.tokens for row in rows if row.tokens is not None]
        for positions, input_ids, attention_mask in batch_tokens(tokens):
            for start in range(0, len(positions), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                feeds = {"input_ids": input_ids[part], "attention_mask": attention_mask[part]}
                encoded = run(feeds)["text_embedding"]
                found[[numbers[p] for p in positions[part]]] = torch.from_numpy(encoded)
        return kept(embeddings.audio, found)

    @torch.no_grad()
    def kept(audio_embedding: Tensor, text_embedding: Tensor) -> Sequence[bool]:
        output = reference.head(audio_embedding, text_embedding, embeddings.present)
        decided = output.logits.argmax(dim=1).numpy()
        same: list[bool] = np.equal(decided, logits.argmax(axis=1)).tolist()
        return same

    judges: dict[GraphName, Judge] = {"audio_encoder": audio, "text_encoder": text}
    reads = reference.head.head.uses
    return {graph: j for graph, j in judges.items() if graph.removesuffix("_encoder") in reads}
