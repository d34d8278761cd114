"""What the stream model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.data.stream import WindowStream
from hemogat.data.text import TokenizedText
from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.preprocess import Preprocessor
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels, bytes_column

StreamId = int | str


@dataclass(frozen=True)
class Chunk:
    """One request of a stream; ``rate_hz`` and ``text`` count from the request that has them.

    Shapes:
        samples: float32 [n], mono, any n
    """

    stream: StreamId
    start: bool
    end: bool
    samples: NDArray[np.float32]
    rate_hz: int | None = None
    text: bytes | None = None


class _Stream:
    """What is kept of one stream: its last second of samples and the sum of its embeddings."""

    def __init__(self, windows: WindowStream, audio_dim: int, now_s: float) -> None:
        self.windows = windows
        self.windows_heard = 0
        self.embedding_sum = np.zeros(audio_dim, np.float64)
        self.text: Embedding | None = None
        self.answer: Arrays | None = None
        self.used_s = now_s

    @property
    def audio(self) -> Embedding | None:
        if not self.windows_heard:
            return None
        return (self.embedding_sum / self.windows_heard).astype(np.float32)


class Streams:
    """Answers the chunks of many streams with the emotion so far, and at the end of the whole.

    A stream's windows are the whole file's, so that the last answer is the whole file's too. Its
    chunks must come one after the other, as Triton's sequence batcher hands them on.

    Args:
        bundle: whose preprocessing to use.
        models: the bundle's networks.
        executor: where audio is resampled and text tokenised, off the event loop.
        idle_s: a stream unused for so long is forgotten.
    """

    def __init__(
        self, bundle: Bundle, models: InnerModels, executor: Executor, *, idle_s: float
    ) -> None:
        self._manifest = bundle.manifest
        self._preprocessor = Preprocessor(bundle)
        self._models = models
        self._executor = executor
        self._idle_s = idle_s
        self._streams: dict[StreamId, _Stream] = {}
        self._is_watching = False

    def __len__(self) -> int:
        return len(self._streams)

    async def answer(self, chunk: Chunk) -> Arrays:
        """Take one chunk in; return the stream model's outputs by name, each [1, ...].

        Before there is anything to classify, the label is empty and all probabilities are zero.
        An error ends the stream.

        Raises:
            InputError: the chunk cannot be used, or belongs to no stream.
        """
        stream = self._stream(chunk)
        try:
            outputs = await self._take(stream, chunk)
        except BaseException:  # half taken in, it could never become the whole file's answer
            self._streams.pop(chunk.stream, None)
            raise
        if chunk.end:
            del self._streams[chunk.stream]
        self._watch()
        return outputs

    def _watch(self) -> None:
        """Forget idle streams from time to time, for as long as there are streams."""
        if self._streams and not self._is_watching:
            self._is_watching = True
            asyncio.get_running_loop().call_later(self._idle_s / 2, self._forget_idle)

    def _forget_idle(self) -> None:
        oldest_s = _now_s() - self._idle_s
        for number in [n for n, stream in self._streams.items() if stream.used_s < oldest_s]:
            del self._streams[number]
        self._is_watching = False
        self._watch()

    def _stream(self, chunk: Chunk) -> _Stream:
        if chunk.start:
            rate_hz = contract.SAMPLE_RATE_HZ if chunk.rate_hz is None else chunk.rate_hz
            windows = WindowStream(rate_hz, self._manifest.audio)
            self._streams[chunk.stream] = _Stream(windows, self._manifest.dims.audio, _now_s())
        elif chunk.stream not in self._streams:
            raise InputError(
                f"stream {chunk.stream}: is not open; it was never started, or ended by an error "
                f"or by {self._idle_s:g} s of silence from its client; start it again"
            )
        elif chunk.rate_hz is not None:
            raise InputError(
                f"stream {chunk.stream}: {contract.RATE_INPUT.name} belongs to its first request"
            )
        stream = self._streams[chunk.stream]
        stream.used_s = _now_s()
        return stream

    async def _take(self, stream: _Stream, chunk: Chunk) -> Arrays:
        loop = asyncio.get_running_loop()
        windows, tokens = await loop.run_in_executor(self._executor, self._prepare, stream, chunk)
        if tokens is not None:
            stream.text = await self._models.embed_text(tokens)
        if len(windows):
            embedded = await self._models.embed_windows(windows)
            stream.embedding_sum += embedded.sum(axis=0, dtype=np.float64)
            stream.windows_heard += len(windows)
        if len(windows) or tokens is not None or stream.answer is None or chunk.end:
            stream.answer = await self._classify(stream, chunk)
        heard = np.array([[stream.windows_heard]], np.int64)
        return stream.answer | {contract.WINDOWS_OUTPUT.name: heard}

    def _prepare(
        self, stream: _Stream, chunk: Chunk
    ) -> tuple[NDArray[np.float32], TokenizedText | None]:
        windows = stream.windows.push(chunk.samples)
        if chunk.end:
            windows = np.concatenate([windows, stream.windows.finish()])
        tokens = None
        if chunk.text and "text" in self._manifest.modalities:
            tokens = self._preprocessor.tokenise(chunk.text)
        return windows, tokens

    async def _classify(self, stream: _Stream, chunk: Chunk) -> Arrays:
        uses = self._manifest.modalities
        there: dict[Modality, Embedding | None] = {"audio": stream.audio, "text": stream.text}
        used = tuple(modality for modality in uses if there[modality] is not None)
        if used == uses or (used and self._manifest.accepts_missing_modality):
            return await self._models.classify([(there["audio"], there["text"])], [used])
        if chunk.end:
            missing = " and ".join(modality for modality in uses if modality not in used)
            raise InputError(
                f"stream {chunk.stream}: ended without {missing}, and this model was trained "
                "without modality dropout, so it needs both; send both"
            )
        return self._nothing_yet()

    def _nothing_yet(self) -> Arrays:
        return {
            contract.LABEL_OUTPUT.name: bytes_column([""]),
            contract.PROBABILITIES_OUTPUT.name: np.zeros(
                (1, len(self._manifest.labels)), np.float32
            ),
            contract.MODALITIES_OUTPUT.name: bytes_column([""]),
        }


def _now_s() -> float:
    return asyncio.get_running_loop().time()
