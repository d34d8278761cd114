from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hemogat.data.audio import decode_audio
from hemogat.errors import InputError, UnavailableError
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.sessions import Arrays, EngineSession, open_session
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.triton_stream import Chunk, Streams


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def clip(tiny_clips: Path) -> Path:
    return max(tiny_clips.glob("*.wav"), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def samples(bundle: Bundle, clip: Path) -> NDArray[np.float32]:
    return decode_audio(clip, bundle.manifest.audio)


def open_streams(bundle: Bundle, *, idle_s: float = 60.0, max_streams: int = 8) -> Streams:
    graphs: tuple[GraphName, ...] = ("audio_encoder", "text_encoder", "fusion")
    sessions: dict[str, EngineSession] = {
        graph: open_session(bundle, graph, threads=1) for graph in graphs
    }

    def infer(graph: str, feeds: Arrays) -> Arrays:
        return sessions[graph].run(feeds)

    models = InnerModels(bundle.manifest, infer, max_windows=16, explain=False)
    return Streams(bundle, models, nullcontext(), idle_s=idle_s, max_streams=max_streams)


def chunks(samples: NDArray[np.float32], size: int, stream: int = 7) -> list[Chunk]:
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    last = len(parts) - 1
    return [Chunk(stream, n == 0, n == last, part) for n, part in enumerate(parts)]


def test_the_last_answer_is_the_whole_files(
    bundle: Bundle, clip: Path, samples: NDArray[np.float32]
) -> None:
    streams = open_streams(bundle)
    answers = [streams.answer(chunk) for chunk in chunks(samples, 5000)]
    assert len(streams) == 0
    expected = Pipeline(bundle)(str(clip))
    assert answers[-1]["LABEL"].item().decode() == expected.label
    np.testing.assert_allclose(
        answers[-1]["PROBABILITIES"][0], list(expected.probabilities.values()), atol=1e-6
    )
    assert answers[0]["LABEL"].item() == b""
    assert not answers[0]["PROBABILITIES"].any()
    heard = [answer["WINDOWS"].item() for answer in answers]
    assert heard == sorted(heard)
    assert heard[3] == 1  # 20,000 samples
    assert answers[3]["MODALITIES"].item() == b"audio"


def test_text_counts_from_when_it_comes(
    bundle: Bundle, clip: Path, samples: NDArray[np.float32]
) -> None:
    streams = open_streams(bundle)
    half = len(samples) // 2
    first = streams.answer(Chunk(1, True, False, samples[:half], text=b"stop"))
    last = streams.answer(Chunk(1, False, True, samples[half:], text=b"stop that"))
    assert b"text" in first["MODALITIES"].item()
    expected = list(Pipeline(bundle)(str(clip), "stop that").probabilities.values())
    np.testing.assert_allclose(last["PROBABILITIES"][0], expected, atol=1e-6)


def test_streams_do_not_mix(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    streams = open_streams(bundle)
    both = [chunks(samples, 9000, 1), chunks(samples[::-1].copy(), 9000, 2)]

    def play(parts: list[Chunk]) -> Arrays:
        return [streams.answer(part) for part in parts][-1]

    apart = [play(parts) for parts in both]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(play, both))
    for a, b in zip(apart, together, strict=True):
        np.testing.assert_array_equal(a["PROBABILITIES"], b["PROBABILITIES"])


def test_an_error_ends_the_stream_and_no_other(
    bundle: Bundle, samples: NDArray[np.float32]
) -> None:
    streams = open_streams(bundle)
    streams.answer(Chunk(1, True, False, samples))
    streams.answer(Chunk("b", True, False, samples))
    with pytest.raises(InputError, match="holds a sample of size"):
        streams.answer(Chunk(1, False, False, np.full(3, np.nan, np.float32)))
    assert len(streams) == 1
    with pytest.raises(InputError, match="stream 1: is not open"):
        streams.answer(Chunk(1, False, True, samples))
    with pytest.raises(InputError, match="stream b: RATE_HZ belongs to its first request"):
        streams.answer(Chunk("b", False, False, samples, rate_hz=8000))
    streams.answer(Chunk("b", False, True, samples))


def test_a_start_begins_anew(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    streams = open_streams(bundle)
    streams.answer(Chunk(1, True, False, samples))
    answer = streams.answer(Chunk(1, True, True, samples[:16_000]))
    assert answer["WINDOWS"].item() == 1


def test_a_forgotten_stream_is_not_open(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    streams = open_streams(bundle)
    streams.answer(Chunk(1, True, False, samples))
    streams.forget(1)
    streams.forget(1)
    with pytest.raises(InputError, match="stream 1: is not open"):
        streams.answer(Chunk(1, False, True, samples))


def test_no_more_streams_are_open_than_allowed(
    bundle: Bundle, samples: NDArray[np.float32]
) -> None:
    streams = open_streams(bundle, idle_s=1.0, max_streams=2)
    for number in (1, 2, 1):  # one begins anew
        streams.answer(Chunk(number, True, False, samples[:100]))
    with pytest.raises(UnavailableError, match="overloaded: 2 streams are open"):
        streams.answer(Chunk(3, True, False, samples))
    with pytest.raises(InputError, match="stream 3: is not open"):
        streams.answer(Chunk(3, False, False, samples))
    streams.answer(Chunk(2, False, True, samples))  # an end makes room, and so does an idle stream
    streams.answer(Chunk(3, True, False, samples))
    streams._streams[1].used_s -= 5
    streams.answer(Chunk(4, True, False, samples))
    assert set(streams._streams) == {3, 4}


def test_idle_streams_are_forgotten(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    streams = open_streams(bundle, idle_s=0.05)
    for number in (1, 2):  # the watch begins anew
        streams.answer(Chunk(number, True, False, samples))
        deadline_s = time.monotonic() + 10
        while len(streams) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert not len(streams)
