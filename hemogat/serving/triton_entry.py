"""What the entry model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from hemogat.contract import MODALITIES
from hemogat.data.text import TokenizedText
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.preprocess import Preprocessor
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels

# Audio file and UTF-8 text of one utterance, as they came in.
Row = tuple[bytes | None, bytes | None]
ResultT = TypeVar("ResultT")


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
        embeddings = await asyncio.gather(
            *(self._embed(utterance, row) for row, utterance in enumerate(rows))
        )
        modalities = [
            [m for m, e in zip(MODALITIES, pair, strict=True) if e is not None]
            for pair in embeddings
        ]
        return await self._models.classify(embeddings, modalities)

    async def _embed(self, utterance: Row, row: int) -> tuple[Embedding | None, Embedding | None]:
        # An empty row stands for an absent input: rows of a batch need not have the same ones.
        audio, text = (given or None for given in utterance)
        name = f"row {row}"
        prepare = self._preprocessor
        tokens = await self._run(lambda: prepare.read_text(audio, text, name=name))
        if not prepare.reads_audio:
            audio = None
        # The text is encoded while the audio is decoded, and leaves the processor to the audio
        # encoder after that.
        heard, read = await asyncio.gather(self._embed_audio(audio, name), self._embed_text(tokens))
        return heard, read

    async def _embed_audio(self, audio: bytes | None, name: str) -> Embedding | None:
        if audio is None:
            return None
        windows = await self._run(lambda: self._preprocessor.decode(audio, name=name))
        mean: Embedding = (await self._models.embed_windows(windows)).mean(axis=0)
        return mean

    async def _embed_text(self, tokens: TokenizedText | None) -> Embedding | None:
        return None if tokens is None else await self._models.embed_text(tokens)

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
