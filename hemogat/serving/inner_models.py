"""What the entry and the stream model share: asking the engine models and forming the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.data.text import TokenizedText
from hemogat.runtime.bundle import BundleManifest
from hemogat.runtime.encoding import embed_audio, embed_text, encode_windows
from hemogat.runtime.fusion_inputs import Embedding, fusion_feeds
from hemogat.runtime.sessions import Arrays

# Runs an exported graph by name, somewhere else.
Infer = Callable[[str, Arrays], Arrays]


class InnerModels:
    """The neural networks of one bundle, run by ``infer``; for any threads.

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
        self._hear = partial(infer, contract.AUDIO_ENCODER.name)
        self._read = partial(infer, contract.TEXT_ENCODER.name)
        self._fuse = partial(infer, contract.FUSION.name)
        self._max_windows = max_windows
        self._explain = explain

    def encode_windows(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode windows [W, window_samples], in chunks: float32 [W, d_a]."""
        return encode_windows(self._hear, windows, at_once=self._max_windows)

    def embed_audio(self, clips: Sequence[NDArray[np.float32] | None]) -> list[Embedding | None]:
        """Encode the windows of each clip and average them: float32 [d_a] or None."""
        return embed_audio(self._hear, clips, at_once=self._max_windows)

    def embed_text(self, texts: Sequence[TokenizedText | None]) -> list[Embedding | None]:
        """Encode each text: float32 [d_t] or None."""
        return embed_text(self._read, texts)

    def classify(
        self,
        embeddings: Sequence[tuple[Embedding | None, Embedding | None]],
        modalities: Sequence[Sequence[Modality]],
    ) -> Arrays:
        """Search the bank and classify; return the served outputs by name, each [rows, ...]."""
        fused = self._fuse(fusion_feeds(embeddings, self._dims))
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
