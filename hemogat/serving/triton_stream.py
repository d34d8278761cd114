"""What the stream model does with a request, apart from everything that is Triton's."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.data.stream import WindowStream
from hemogat.data.text import TokenizedText
from hemogat.errors import InputError, UnavailableError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import Embedding
from hemogat.runtime.preprocess import Preprocessor
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels, bytes_column

StreamId = int | str

_LIVELY_S = 2.0  # who speaks sends a piece much more often


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
    chunks must come one after the other; those of different streams may come in any threads.

    Args:
        bundle: whose preprocessing to use.
        models: the bundle's networks.
        decoding: entered to resample audio; limits how many streams do so at a time.
        idle_s: a stream unused for so long is forgotten.
        max_streams: more are not open at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        models: InnerModels,
        decoding: AbstractContextManager[Any],
        *,
        idle_s: float,
        max_streams: int,
    ) -> None:
        self._manifest = bundle.manifest
        self._preprocessor = Preprocessor(bundle)
        self._models = models
        self._decoding = decoding
        self._idle_s = idle_s
        self._max_streams = max_streams
        self._streams: dict[StreamId, _Stream] = {}
        self._lock = threading.Lock()
        self._watch: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def answer(self, chunk: Chunk) -> Arrays:
        """Take one chunk in; return the stream model's outputs by name, each [1, ...].

        Before there is anything to classify, the label is empty and all probabilities are zero.
        An error ends the stream.

        Raises:
            InputError: the chunk cannot be used, or belongs to no stream.
            UnavailableError: it begins a stream, and too many are open.
        """
        stream = self._stream(chunk)
        try:
            outputs = self._take(stream, chunk)
        except BaseException:  # half taken in, it could never become the whole file's answer
            self.forget(chunk.stream)
            raise
        if chunk.end:
            self.forget(chunk.stream)
        return outputs

    def lively(self) -> bool:
        """Say whether a stream is open that its client has used in the last 2 s."""
        since_s = time.monotonic() - _LIVELY_S
        return any(stream.used_s > since_s for stream in list(self._streams.values()))

    def forget(self, stream: StreamId) -> None:
        """End a stream, if it is open."""
        self._streams.pop(stream, None)

    def _watch_idle(self) -> None:
        """Forget idle streams from time to time, for as long as there are streams."""
        with self._lock:
            if self._streams and self._watch is None:
                self._watch = threading.Timer(self._idle_s / 2, self._watched)
                self._watch.daemon = True
                self._watch.start()

    def _watched(self) -> None:
        self._forget_idle()
        self._watch = None
        self._watch_idle()

    def _forget_idle(self) -> None:
        oldest_s = time.monotonic() - self._idle_s
        for number, stream in list(self._streams.items()):
            if stream.used_s < oldest_s:
                self.forget(number)

    def _stream(self, chunk: Chunk) -> _Stream:
        if chunk.start:
            rate_hz = contract.SAMPLE_RATE_HZ if chunk.rate_hz is None else chunk.rate_hz
            windows = WindowStream(rate_hz, self._manifest.audio)
            stream = _Stream(windows, self._manifest.dims.audio, time.monotonic())
            self._begin(chunk.stream, stream)
            return stream
        open_stream = self._streams.get(chunk.stream)
        if open_stream is None:
            raise InputError(
                f"stream {chunk.stream}: is not open; it was never started, or ended by an error "
                f"or by {self._idle_s:g} s of silence from its client; start it again"
            )
        if chunk.rate_hz is not None:
            raise InputError(
                f"stream {chunk.stream}: {contract.RATE_INPUT.name} belongs to its first request"
            )
        open_stream.used_s = time.monotonic()
        return open_stream

    def _begin(self, number: StreamId, stream: _Stream) -> None:
        with self._lock:
            if len(self._streams) >= self._max_streams:
                self._forget_idle()
            if len(self._streams) >= self._max_streams and number not in self._streams:
                raise UnavailableError(f"overloaded: {self._max_streams} streams are open")
            self._streams[number] = stream
        self._watch_idle()

    def _take(self, stream: _Stream, chunk: Chunk) -> Arrays:
        with self._decoding:
            windows, tokens = self._prepare(stream, chunk)
        if tokens is not None:
            [stream.text] = self._models.embed_text([tokens])
        if len(windows):
            embedded = self._models.encode_windows(windows)
            stream.embedding_sum += embedded.sum(axis=0, dtype=np.float64)
            stream.windows_heard += len(windows)
        if len(windows) or tokens is not None or stream.answer is None or chunk.end:
            stream.answer = self._classify(stream, chunk)
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

    def _classify(self, stream: _Stream, chunk: Chunk) -> Arrays:
        uses = self._manifest.modalities
        there: dict[Modality, Embedding | None] = {"audio": stream.audio, "text": stream.text}
        used = tuple(modality for modality in uses if there[modality] is not None)
        if used == uses or (used and self._manifest.accepts_missing_modality):
            return self._models.classify([(there["audio"], there["text"])], [used])
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
