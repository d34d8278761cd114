"""What the entry model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding, fusion_feeds
from hemogat.runtime.preprocess import PreparedUtterance, Preprocessor
from hemogat.runtime.sessions import Arrays

# Runs an exported graph by name, somewhere else.
Infer = Callable[[str, Arrays], Awaitable[Arrays]]
# Audio file and UTF-8 text of one utterance, as they came in.
Row = tuple[bytes | None, bytes | None]


class Entry:
    """Turns files and texts into answers, leaving the neural networks to ``infer``.

    Args:
        bundle: whose preprocessing and labels to use.
        infer: runs the graphs.
        executor: where audio is decoded and text tokenised, off the event loop.
        max_windows: windows sent to the audio encoder at a time.
        explain: also answer with the neighbours.
    """

    def __init__(
        self,
        bundle: Bundle,
        infer: Infer,
        executor: Executor,
        *,
        max_windows: int,
        explain: bool,
    ) -> None:
        self._preprocessor = Preprocessor(bundle)
        self._dims = bundle.manifest.dims
        self._labels = bundle.manifest.labels
        self._infer = infer
        self._executor = executor
        self._max_windows = max_windows
        self._explain = explain

    async def answer(self, rows: Sequence[Row]) -> Arrays:
        """Classify the utterances of one request.

        Returns:
            The entry model's outputs by name, each [rows, ...].

        Raises:
            InputError: an utterance cannot be used; names its row.
        """
        prepared = await asyncio.gather(*(self._prepare(rows, row) for row in range(len(rows))))
        embeddings = await asyncio.gather(*(self._embed(utterance) for utterance in prepared))
        fused = await self._infer(contract.FUSION.name, fusion_feeds(embeddings, self._dims))
        probabilities = fused["probabilities"]
        outputs = {
            contract.LABEL_OUTPUT.name: _bytes_column(
                self._labels[best] for best in probabilities.argmax(axis=1)
            ),
            contract.PROBABILITIES_OUTPUT.name: probabilities,
            contract.MODALITIES_OUTPUT.name: _bytes_column(
                ",".join(utterance.modalities) for utterance in prepared
            ),
        }
        if self._explain:
            outputs[contract.NEIGHBOURS_OUTPUT.name] = fused["neighbours"]
            outputs[contract.SIMILARITIES_OUTPUT.name] = fused["similarities"]
        return outputs

    async def _prepare(self, rows: Sequence[Row], row: int) -> PreparedUtterance:
        audio, text = rows[row]
        loop = asyncio.get_running_loop()
        # An empty row stands for an absent input: rows of a batch need not have the same ones.
        return await loop.run_in_executor(
            self._executor,
            lambda: self._preprocessor.prepare(audio or None, text or None, name=f"row {row}"),
        )

    async def _embed(
        self, utterance: PreparedUtterance
    ) -> tuple[Embedding | None, Embedding | None]:
        audio, text = await asyncio.gather(
            self._embed_audio(utterance), self._embed_text(utterance)
        )
        return audio, text

    async def _embed_audio(self, utterance: PreparedUtterance) -> Embedding | None:
        windows = utterance.windows
        if windows is None:
            return None
        # One chunk after the other: sent at once, a long clip would fill the encoder's queue.
        chunks = [
            await self._infer(
                contract.AUDIO_ENCODER.name,
                {"windows": windows[start : start + self._max_windows]},
            )
            for start in range(0, len(windows), self._max_windows)
        ]
        per_window = np.concatenate([chunk["audio_embedding"] for chunk in chunks])
        mean: Embedding = per_window.mean(axis=0)
        return mean

    async def _embed_text(self, utterance: PreparedUtterance) -> Embedding | None:
        tokens = utterance.tokens
        if tokens is None:
            return None
        outputs = await self._infer(
            contract.TEXT_ENCODER.name,
            {
                "input_ids": tokens.input_ids[None],
                "attention_mask": tokens.attention_mask[None],
            },
        )
        embedding: Embedding = outputs["text_embedding"][0]
        return embedding


def _bytes_column(values: Iterable[str]) -> NDArray[Any]:
    return np.array([[value.encode()] for value in values], dtype=np.object_)
