"""What a client sends: utterances and pieces of streams as the served models' inputs."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import InputError, ServerError

Audio = str | os.PathLike[str] | bytes
AnswerT = TypeVar("AnswerT")

# Of a file, where the server does not tell. A message of gRPC holds less than twice as many.
_MOST_AUDIO_BYTES = 2**30
_NO_SAMPLES = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Utterances:
    """Utterances to classify; ``names`` stand for them in errors."""

    audio: Sequence[Audio | None]
    text: Sequence[str | None]
    names: Sequence[str]

    @classmethod
    def of(
        cls, audio: Sequence[Audio | None], text: Sequence[str | None] | None = None
    ) -> Utterances:
        """Pair audio with text; without ``text`` none has any.

        Raises:
            InputError: one is longer than the other.
        """
        texts = [None] * len(audio) if text is None else text
        if len(texts) != len(audio):
            raise InputError(
                f"expected as many texts as audio inputs ({len(audio)}), found {len(texts)}"
            )
        names = [_name(source, number) for number, source in enumerate(audio)]
        return cls(audio, texts, names)

    def parts(self, size: int) -> Iterator[Utterances]:
        """Split into requests of at most ``size`` utterances."""
        for start in range(0, len(self.audio), size):
            part = slice(start, start + size)
            yield Utterances(self.audio[part], self.text[part], self.names[part])

    def tensors(self, library: Any, max_audio_bytes: int | None = None) -> list[Any]:
        """Read the files; return the inputs of one request, in ``library``'s type.

        ``max_audio_bytes``: how large a file the server takes; None: it does not tell.

        Raises:
            InputError: a file cannot be read or is too large, or an utterance has neither input.
        """
        limit = max_audio_bytes or _MOST_AUDIO_BYTES
        columns = {
            contract.AUDIO_INPUT.name: [
                _read(source, name, limit)
                for source, name in zip(self.audio, self.names, strict=True)
            ],
            # A lone surrogate has no UTF-8; passed through, the server refuses it by name.
            contract.TEXT_INPUT.name: [(t or "").encode(errors="surrogatepass") for t in self.text],
        }
        for name, *inputs in zip(self.names, *columns.values(), strict=True):
            if not any(inputs):
                raise InputError(f"{name}: has neither audio nor text; give at least one")
        # The server takes an empty row as absent; an input that all rows lack is not sent.
        return [
            _tensor(library, name, np.array(rows, dtype=np.object_)[:, None], "BYTES")
            for name, rows in columns.items()
            if any(rows)
        ]


class StreamRequests:
    """What the requests of one stream carry, in the order in which they are sent.

    Args:
        library: ``tritonclient.grpc`` or ``tritonclient.http``.
        rate_hz: of the samples.
        text: what is said, if it is known beforehand.
    """

    def __init__(self, library: Any, rate_hz: int, text: str | None) -> None:
        self._library = library
        self._id = secrets.randbits(63) | 1  # 0 means no sequence
        self._rate_hz: int | None = rate_hz
        self._text = text
        self._is_open = True

    def next(
        self, samples: NDArray[Any] | None, text: str | None, *, end: bool
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the inputs of the next request, and the options that place it in its sequence.

        The stream counts as ended until :meth:`answered` is called: half of one is of no use.

        Raises:
            InputError: the samples cannot be used; the stream has ended.
        """
        if not self._is_open:
            raise InputError("stream: has ended; open another one")
        self._is_open = False
        options = {
            "sequence_id": self._id,
            "sequence_start": self._rate_hz is not None,
            "sequence_end": end,
        }
        text = self._text if text is None else text
        given = _NO_SAMPLES if samples is None else samples
        tensors = stream_tensors(self._library, given, self._rate_hz, text)
        self._rate_hz = self._text = None
        return tensors, options

    def answered(self) -> None:
        """Say that the last request was answered and another one may follow."""
        self._is_open = True

    def close(self) -> None:
        """End the stream without a request."""
        self._is_open = False


def last_answer(answer: AnswerT | None) -> AnswerT:
    """Return the answer to a stream's end, which must be there.

    Raises:
        ServerError: it is not.
    """
    if answer is None:
        raise ServerError("stream: the server ended it without an answer")
    return answer


def stream_tensors(
    library: Any, samples: NDArray[np.float32], rate_hz: int | None, text: str | None
) -> list[Any]:
    """Return the inputs of one request to the stream model, in ``library``'s type.

    Raises:
        InputError: ``samples`` are not mono floating-point or 16-bit samples.
    """
    pcm = _pcm(samples)
    tensors = [_tensor(library, contract.SAMPLES_INPUT.name, pcm[None], "FP32")]
    if rate_hz is not None:
        rate = np.array([[rate_hz]], np.int64)
        tensors.append(_tensor(library, contract.RATE_INPUT.name, rate, "INT64"))
    if text is not None:
        encoded = np.array([[text.encode(errors="surrogatepass")]], np.object_)
        tensors.append(_tensor(library, contract.TEXT_INPUT.name, encoded, "BYTES"))
    return tensors


def _pcm(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.ndim == 1 and samples.dtype == np.int16:
        return samples.astype(np.float32) / 2**15
    if samples.ndim == 1 and np.issubdtype(samples.dtype, np.floating):
        return np.ascontiguousarray(samples, np.float32)
    raise InputError(
        f"stream: expected mono samples [n] of a float type or int16, found {samples.dtype} "
        f"{list(samples.shape)}"
    )


def _tensor(library: Any, name: str, values: NDArray[Any], dtype: str) -> Any:
    tensor = library.InferInput(name, list(values.shape), dtype)
    tensor.set_data_from_numpy(values)
    return tensor


def _name(source: Audio | None, number: int) -> str:
    if source is None or isinstance(source, bytes):
        return f"utterance {number}"
    return os.fspath(source)


def _read(source: Audio | None, name: str, limit: int) -> bytes:
    if source is None:
        return b""
    audio = source if isinstance(source, bytes) else _read_file(source, name, limit)
    if not audio:
        raise InputError(f"{name}: is empty (0 bytes); expected an audio file")
    if len(audio) > limit:
        raise _too_large(name, limit)
    return audio


def _read_file(path: str | os.PathLike[str], name: str, limit: int) -> bytes:
    try:
        status = os.stat(path)  # before it is opened: nobody may write to the pipe
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: is not a regular file; expected an audio file")
        if status.st_size > limit:
            raise _too_large(name, limit)
        with open(path, "rb") as file:
            return file.read(limit + 1)  # no more of a file that has grown since
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read ({reason})") from error


def _too_large(name: str, limit: int) -> InputError:
    return InputError(f"{name}: has more than {limit} bytes; cut or compress it")
