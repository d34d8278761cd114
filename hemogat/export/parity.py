"""The parity gate: an exported bundle must answer as the torch reference, decisions included.

The candidate side is the pipeline that will serve. Encoders are compared on the same windows and
tokens, the fusion graph on the reference's embeddings, and all of it end to end; where the model
answers requests with one modality missing, these two also with one hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hemogat.contract import MODALITIES, Modality
from hemogat.data.audio import cut_windows
from hemogat.errors import InputError
from hemogat.export_config import ParityConfig
from hemogat.model.bank import Embeddings, InductiveHead
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.progress import Progress
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.parity_report import (
    END_TO_END,
    ENOUGH_FOR_RATES,
    ParityReport,
    ParityRow,
)
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.training.features import extract_embeddings
from hemogat.training.preparation import PreparedRow

_AT_ONCE = 32
_ASKED_AGAIN = 32  # utterances that are asked one by one and in another batch

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """The torch modules that an export must equal; no encoder where the head does not read."""

    audio_encoder: AudioEncoder | None
    text_encoder: TextEncoder | None
    head: InductiveHead


@dataclass(frozen=True)
class ReferenceAnswers:
    """What the reference gives for N utterances.

    ``hidden``: what it gives with one modality hidden from the utterances that have both, by that
    modality; empty for a model that needs all its modalities.

    Shapes:
        logits, probabilities: [N, labels]
        similarities: [N, slots]
    """

    embeddings: Embeddings
    logits: Array
    probabilities: Array
    similarities: Array
    hidden: dict[Modality, ReferenceAnswers] = field(default_factory=dict)


@torch.no_grad()
def reference_answers(
    reference: Reference, rows: Sequence[PreparedRow], window_samples: int, progress: Progress
) -> ReferenceAnswers:
    """Run the torch reference."""
    embeddings = extract_embeddings(
        rows, reference.audio_encoder, reference.text_encoder, window_samples, progress
    )
    head = reference.head
    modalities = MODALITIES if head.head.config.modality_dropout else ()
    hidden = {m: _answers(head, _without(m, embeddings)) for m in modalities}
    return _answers(head, embeddings, hidden)


def _answers(
    head: InductiveHead, e: Embeddings, hidden: dict[Modality, ReferenceAnswers] | None = None
) -> ReferenceAnswers:
    output = head(e.audio, e.text, e.present)
    return ReferenceAnswers(
        e,
        output.logits.numpy(),
        output.probabilities.numpy(),
        output.similarities.numpy(),
        hidden or {},
    )


def _without(modality: Modality, e: Embeddings) -> Embeddings:
    present = e.present.clone()
    present[e.present.all(dim=1), MODALITIES.index(modality)] = False
    return Embeddings(e.audio, e.text, present)


def compare(
    pipeline: Pipeline,
    rows: Sequence[PreparedRow],
    expected: ReferenceAnswers,
    limits: ParityConfig,
    progress: Progress,
) -> ParityReport:
    """Run the candidate on ``rows`` and compare it with the reference's answers.

    Raises:
        InputError: there is no utterance to compare on.
    """
    if not rows:
        raise InputError("parity: expected utterances to compare on, found none in the split")
    window_samples = pipeline.bundle.manifest.audio.window_samples
    prepared = [_prepared(row, window_samples) for row in rows]
    audio: list[Embedding | None] = []
    text: list[Embedding | None] = []
    with progress.stage("Parity gate", len(rows)) as stage:
        for start in range(0, len(rows), _AT_ONCE):
            part = prepared[start : start + _AT_ONCE]
            audio += pipeline.embed_audio(part)
            text += pipeline.embed_text(part)
            stage.advance(len(part))
        fusion = _fusion_rows(pipeline, "fusion", expected)
        for modality, answers in expected.hidden.items():
            fusion += _fusion_rows(pipeline, f"fusion without {modality}", answers)
        pairs = list(zip(audio, text, strict=True))
        answered = pipeline.fuse(pairs)["probabilities"]
        batch_diff, batch_embedding_diff = _batch_differences(pipeline, prepared, pairs, answered)
    labels = np.array([row.label for row in rows])
    ways = (
        _decision(END_TO_END, "probabilities", expected.probabilities, answered),
        *_one_hidden(pipeline, pairs, expected),
    )
    return ParityReport(
        utterances=len(rows),
        enough_for_rates=len(rows) >= ENOUGH_FOR_RATES,
        limits=limits,
        rows=(*_encoder_rows(pipeline, expected.embeddings, audio, text), *fusion, *ways),
        ua_change=_ua(labels, answered) - _ua(labels, expected.probabilities),
        accuracy_change=_accuracy(labels, answered) - _accuracy(labels, expected.probabilities),
        batch_diff=batch_diff,
        batch_embedding_diff=batch_embedding_diff,
    )


def _batch_differences(
    pipeline: Pipeline,
    prepared: Sequence[PreparedUtterance],
    pairs: Sequence[tuple[Embedding | None, Embedding | None]],
    answered: Array,
) -> tuple[float, float]:
    """Ask again, one by one and in one shuffled batch; return how far answers and embeddings move.

    Utterances are spread over those given, so that the second batch mixes what came apart.
    """
    count = min(len(prepared), _ASKED_AGAIN)
    chosen = [n * len(prepared) // count for n in range(count)]
    shuffled = np.random.default_rng(0).permutation(chosen).tolist()
    answer_diffs, embedding_diffs = [0.0], [0.0]
    for batch in (*([n] for n in chosen), shuffled):
        part = [prepared[n] for n in batch]
        again = list(zip(pipeline.embed_audio(part), pipeline.embed_text(part), strict=True))
        moved = pipeline.fuse(again)["probabilities"] - answered[batch]
        answer_diffs.append(float(np.abs(moved).max()))
        for n, pair in zip(batch, again, strict=True):
            for before, now in zip(pairs[n], pair, strict=True):
                if before is not None and now is not None:
                    largest = float(np.abs(before).max()) or 1.0  # all zeros: nothing to share
                    embedding_diffs.append(float(np.abs(now - before).max()) / largest)
    # Not Python's max, which loses NaN.
    return float(np.max(answer_diffs)), float(np.max(embedding_diffs))


def _accuracy(labels: NDArray[np.int64], probabilities: Array) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def _ua(labels: NDArray[np.int64], probabilities: Array) -> float:
    """Return the unweighted accuracy, the mean recall over the labels that occur."""
    right = probabilities.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _encoder_rows(
    pipeline: Pipeline,
    expected: Embeddings,
    audio: Sequence[Embedding | None],
    text: Sequence[Embedding | None],
) -> Iterator[ParityRow]:
    wanted = {"audio": expected.audio, "text": expected.text}
    found = {"audio": audio, "text": text}
    for modality in pipeline.bundle.manifest.modalities:
        present = expected.present[:, MODALITIES.index(modality)]
        pair = _both(wanted[modality], present, found[modality])
        yield _row(f"{modality}_encoder", f"{modality}_embedding", *pair)


def _fusion_rows(pipeline: Pipeline, name: str, expected: ReferenceAnswers) -> list[ParityRow]:
    found = pipeline.fuse(embedding_pairs(expected.embeddings))
    rows = [
        _decision(name, "logits", expected.logits, found["logits"]),
        _decision(name, "probabilities", expected.probabilities, found["probabilities"]),
    ]
    if pipeline.bundle.manifest.slots:
        # Not the neighbours themselves, nor the attention in their order: rounding orders rows that
        # are equally similar.
        rows.append(_row(name, "similarities", expected.similarities, found["similarities"]))
    return rows


def _one_hidden(
    pipeline: Pipeline,
    pairs: Sequence[tuple[Embedding | None, Embedding | None]],
    expected: ReferenceAnswers,
) -> Iterator[ParityRow]:
    """Ask again with one modality hidden: of the utterances that have both, only fusion runs."""
    both = expected.embeddings.present.all(dim=1).numpy()
    asked = [pair for pair, has_both in zip(pairs, both, strict=True) if has_both]
    for modality, answers in expected.hidden.items() if asked else ():
        hides_audio = modality == "audio"
        hidden: list[tuple[Embedding | None, Embedding | None]] = [
            (None, text) if hides_audio else (audio, None) for audio, text in asked
        ]
        found = pipeline.fuse(hidden)["probabilities"]
        graph = f"{END_TO_END} without {modality}"
        yield _decision(graph, "probabilities", answers.probabilities[both], found)


def _prepared(row: PreparedRow, window_samples: int) -> PreparedUtterance:
    windows = None if row.samples is None else cut_windows(row.samples, window_samples)
    return PreparedUtterance(windows, row.tokens)


def embedding_pairs(embeddings: Embeddings) -> list[tuple[Embedding | None, Embedding | None]]:
    """Return audio's and text's embedding of each utterance, as the pipeline fuses them."""
    return [
        (a.numpy() if p[0] else None, t.numpy() if p[1] else None)
        for a, t, p in zip(embeddings.audio, embeddings.text, embeddings.present, strict=True)
    ]


def _both(
    expected: torch.Tensor, present: torch.Tensor, found: Sequence[Embedding | None]
) -> tuple[Array, Array]:
    """Keep the utterances that have the modality."""
    there = [embedding for embedding in found if embedding is not None]
    return expected[present].numpy(), np.array(there).reshape(len(there), expected.shape[1])


def _row(graph: str, output: str, expected: Array, found: Array) -> ParityRow:
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    product = (expected * found).sum(axis=1)
    # Rows of zeros have no direction: how far off they are is in the difference.
    cosine = np.divide(product, norms, out=np.ones_like(product), where=norms != 0)
    return ParityRow(
        graph=graph,
        output=output,
        max_abs_diff=float(np.abs(expected - found).max(initial=0.0)),
        min_cosine=float(cosine.min(initial=1.0)),
    )


def _decision(graph: str, output: str, expected: Array, found: Array) -> ParityRow:
    flips = int((expected.argmax(axis=1) != found.argmax(axis=1)).sum())
    counts = {"flips": flips, "decisions": len(expected)}
    return _row(graph, output, expected, found).model_copy(update=counts)
