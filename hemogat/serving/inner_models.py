"""What the entry and the stream model share: asking the engine models and forming the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.data.text import TokenizedText
from hemogat.runtime.bundle import BundleManifest
from hemogat.runtime.fusion_inputs import Embedding, fusion_feeds
from hemogat.runtime.sessions import Arrays

# Runs an exported graph by name, somewhere else.
Infer = Callable[[str, Arrays], Awaitable[Arrays]]


class InnerModels:
    """The neural networks of one bundle, run by ``infer``.

    Args:
        manifest: the bundle's.
        infer: runs the graphs.
        max_windows: windows sent to the audio encoder at a time.
        explain: also answer with the neighbours.
    """

    def __init__(
        self, manifest: BundleManifest, infer: Infer, *, max_windows: int, explain: bool
    ) -> None:
        self._dims = manifest.dims
        self._labels = manifest.labels
        self._infer = infer
        self._max_windows = max_windows
        self._explain = explain

    async def embed_windows(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode windows [W, window_samples], in chunks: float32 [W, d_a]."""
        # One chunk after the other: sent at once, a long clip would fill the encoder's queue.
        chunks = [
            await self._infer(
                contract.AUDIO_ENCODER.name,
                {"windows": windows[start : start + self._max_windows]},
            )
            for start in range(0, len(windows), self._max_windows)
        ]
        return np.concatenate([chunk["audio_embedding"] for chunk in chunks])

    async def embed_text(self, tokens: TokenizedText) -> Embedding:
        """Encode one text: float32 [d_t]."""
        outputs = await self._infer(
            contract.TEXT_ENCODER.name,
            {
                "input_ids": tokens.input_ids[None],
                "attention_mask": tokens.attention_mask[None],
            },
        )
        embedding: Embedding = outputs["text_embedding"][0]
        return embedding

    async def classify(
        self,
        embeddings: Sequence[tuple[Embedding | None, Embedding | None]],
        modalities: Sequence[Sequence[Modality]],
    ) -> Arrays:
        """Search the bank and classify; return the served outputs by name, each [rows, ...]."""
        fused = await self._infer(contract.FUSION.name, fusion_feeds(embeddings, self._dims))
        probabilities = fused["probabilities"]
        outputs = {
            contract.LABEL_OUTPUT.name: bytes_column(
                self._labels[best] for best in probabilities.argmax(axis=1)
            ),
            contract.PROBABILITIES_OUTPUT.name: probabilities,
            contract.MODALITIES_OUTPUT.name: bytes_column(",".join(used) for used in modalities),
        }
        if self._explain:
            outputs[contract.NEIGHBOURS_OUTPUT.name] = fused["neighbours"]
            outputs[contract.SIMILARITIES_OUTPUT.name] = fused["similarities"]
        return outputs


def bytes_column(values: Iterable[str]) -> NDArray[Any]:
    """Return [rows, 1] of UTF-8 bytes, as Triton wants strings."""
    return np.array([[value.encode()] for value in values], dtype=np.object_)
