"""Calibration data: what the exported graphs see of training utterances.

Quantisation takes its activation scales from these. They are training utterances, because the
gate judges on others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.data.audio import cut_windows
from hemogat.data.manifest import Utterance
from hemogat.errors import InputError
from hemogat.progress import Progress
from hemogat.runtime.bundle import GraphName
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.run_directory import RunDirectory

Feeds = Mapping[str, NDArray[Any]]  # one call's inputs by the contract's names


def calibration_feeds(
    run: RunDirectory, training: Sequence[Utterance], count: int, progress: Progress
) -> dict[GraphName, tuple[Feeds, ...]]:
    """Return inputs of every graph that the run has, from ``count`` training utterances.

    These are spread over the split. One window of each, so that a long utterance does not decide
    the scales; a different one each time, so that beginnings and ends are among them.

    Shapes:
        windows: float32 [1, window_samples]
        input_ids, attention_mask: int64 [1, T], T a token bucket
        audio_embedding, text_embedding, present: [1, dim], [1, dim], bool [1, 2]

    Args:
        run: gives the tokenizer, the recipe and the stored embeddings.
        training: the run's training utterances, all of them and in its order.
        count: how many to take; all, if there are fewer.
        progress: shows the decoding.

    Raises:
        InputError: none of them has audio, or none text, so that an encoder would go uncalibrated;
            or one cannot be read.
    """
    recipe = run.record.recipe
    chosen = _spread(len(training), count)
    rows = prepare_rows([training[n] for n in chosen], recipe, run.tokenizer_path, progress)
    feeds: dict[GraphName, tuple[Feeds, ...]] = {"fusion": tuple(_fusion_feeds(run, chosen))}
    if "audio" in recipe.head.reads:
        feeds["audio_encoder"] = tuple(_audio_feeds(rows, recipe.audio.window_samples))
    if "text" in recipe.head.reads:
        feeds["text_encoder"] = tuple(_text_feeds(rows))
    for graph, calls in feeds.items():
        if not calls:
            raise InputError(
                f"{run.path}: expected training utterances to calibrate the {graph} on, found "
                f"none that has its input; export fp32 instead"
            )
    return feeds


def _spread(total: int, count: int) -> list[int]:
    count = min(count, total)
    return [n * total // count for n in range(count)]


def _audio_feeds(rows: Sequence[PreparedRow], window_samples: int) -> Iterator[Feeds]:
    for number, row in enumerate(rows):
        if row.samples is not None:
            windows = cut_windows(row.samples, window_samples)
            first = number % len(windows)
            yield {"windows": windows[first : first + 1]}


def _text_feeds(rows: Sequence[PreparedRow]) -> list[Feeds]:
    return [
        {
            "input_ids": row.tokens.input_ids[np.newaxis],
            "attention_mask": row.tokens.attention_mask[np.newaxis],
        }
        for row in rows
        if row.tokens is not None
    ]


def _fusion_feeds(run: RunDirectory, chosen: Sequence[int]) -> list[Feeds]:
    e = run.features("train").embeddings
    return [
        {
            "audio_embedding": e.audio[n : n + 1].numpy(),
            "text_embedding": e.text[n : n + 1].numpy(),
            "present": e.present[n : n + 1].numpy(),
        }
        for n in chosen
    ]
