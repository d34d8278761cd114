"""What the entry model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.contract import MODALITIES
from hemogat.data.text import TokenizedText
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.preprocess import Preprocessor
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels

# Audio file and UTF-8 text of one utterance, as they came in.
Row = tuple[bytes | None, bytes | None]


class Entry:
    """Turns files and texts into answers, leaving the neural networks to ``models``.

    For any threads: each answers its request, and waits for the networks meanwhile.

    Args:
        bundle: whose preprocessing to use.
        models: the bundle's networks.
        beside: runs the text encoder of a request that has audio too.
        decoding: entered to decode audio; limits how many requests do so at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        models: InnerModels,
        beside: Executor,
        decoding: AbstractContextManager[Any],
    ) -> None:
        self._preprocessor = Preprocessor(bundle)
        self._models = models
        self._beside = beside
        self._decoding = decoding

    def answer(self, rows: Sequence[Row]) -> Arrays:
        """Classify the utterances of one request.

        Returns:
            The entry model's outputs by name, each [rows, ...].

        Raises:
            InputError: an utterance cannot be used; names its row.
        """
        # An empty row stands for an absent input: rows of a batch need not have the same ones.
        given = [(audio or None, text or None) for audio, text in rows]
        tokens = [
            self._preprocessor.read_text(audio, text, name=f"row {row}")
            for row, (audio, text) in enumerate(given)
        ]
        files = [audio if self._preprocessor.reads_audio else None for audio, _ in given]
        embeddings = list(zip(*self._embed(files, tokens), strict=True))
        modalities = [
            [m for m, e in zip(MODALITIES, pair, strict=True) if e is not None]
            for pair in embeddings
        ]
        return self._models.classify(embeddings, modalities)

    def _embed(
        self, files: Sequence[bytes | None], tokens: Sequence[TokenizedText | None]
    ) -> tuple[list[Embedding | None], list[Embedding | None]]:
        if not any(files) or not any(tokens):
            return self._embed_audio(files), self._models.embed_text(tokens)
        # The text is encoded while the audio is decoded, and leaves the processor to the audio
        # encoder after that.
        read = self._beside.submit(self._models.embed_text, tokens)
        return self._embed_audio(files), read.result()

    def _embed_audio(self, files: Sequence[bytes | None]) -> list[Embedding | None]:
        return self._models.embed_audio([self._decode(row, file) for row, file in enumerate(files)])

    def _decode(self, row: int, file: bytes | None) -> NDArray[np.float32] | None:
        if file is None:
            return None
        with self._decoding:
            return self._preprocessor.decode(file, name=f"row {row}")
