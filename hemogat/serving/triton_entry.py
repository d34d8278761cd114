"""What the entry model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.preprocess import PreparedUtterance, Preprocessor
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels

# Audio file and UTF-8 text of one utterance, as they came in.
Row = tuple[bytes | None, bytes | None]


class Entry:
    """Turns files and texts into answers, leaving the neural networks to ``models``.

    Args:
        bundle: whose preprocessing to use.
        models: the bundle's networks.
        executor: where audio is decoded and text tokenised, off the event loop.
    """

    def __init__(self, bundle: Bundle, models: InnerModels, executor: Executor) -> None:
        self._preprocessor = Preprocessor(bundle)
        self._models = models
        self._executor = executor

    async def answer(self, rows: Sequence[Row]) -> Arrays:
        """Classify the utterances of one request.

        Returns:
            The entry model's outputs by name, each [rows, ...].

        Raises:
            InputError: an utterance cannot be used; names its row.
        """
        prepared = await asyncio.gather(*(self._prepare(rows, row) for row in range(len(rows))))
        embeddings = await asyncio.gather(*(self._embed(utterance) for utterance in prepared))
        return await self._models.classify(embeddings, [u.modalities for u in prepared])

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
        if utterance.windows is None:
            return None
        mean: Embedding = (await self._models.embed_windows(utterance.windows)).mean(axis=0)
        return mean

    async def _embed_text(self, utterance: PreparedUtterance) -> Embedding | None:
        return None if utterance.tokens is None else await self._models.embed_text(utterance.tokens)
