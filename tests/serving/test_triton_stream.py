from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from hemogat.data.audio import decode_audio
from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.sessions import Arrays, EngineSession, open_session
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.triton_stream import Chunk, Streams

T = TypeVar("T")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def clip(tiny_clips: Path) -> Path:
    return max(tiny_clips.glob("*.wav"), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def samples(bundle: Bundle, clip: Path) -> NDArray[np.float32]:
    return decode_audio(clip, bundle.manifest.audio)


def run(bundle: Bundle, scenario: Callable[[Streams], Awaitable[T]], *, idle_s: float = 60.0) -> T:
    graphs: tuple[GraphName, ...] = ("audio_encoder", "text_encoder", "fusion")
    sessions: dict[str, EngineSession] = {
        graph: open_session(bundle, graph, threads=1) for graph in graphs
    }

    async def infer(graph: str, feeds: Arrays) -> Arrays:
        return sessions[graph].run(feeds)

    async def play() -> T:
        models = InnerModels(bundle.manifest, infer, max_windows=16, explain=False)
        with ThreadPoolExecutor(2) as executor:
            return await scenario(Streams(bundle, models, executor, idle_s=idle_s))

    return asyncio.run(play())


def chunks(samples: NDArray[np.float32], size: int, stream: int = 7) -> list[Chunk]:
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    last = len(parts) - 1
    return [Chunk(stream, n == 0, n == last, part) for n, part in enumerate(parts)]


def test_the_last_answer_is_the_whole_files(
    bundle: Bundle, clip: Path, samples: NDArray[np.float32]
) -> None:
    async def scenario(streams: Streams) -> list[Arrays]:
        answers = [await streams.answer(chunk) for chunk in chunks(samples, 5000)]
        assert len(streams) == 0
        return answers

    answers = run(bundle, scenario)
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
    async def scenario(streams: Streams) -> tuple[Arrays, Arrays]:
        half = len(samples) // 2
        first = await streams.answer(Chunk(1, True, False, samples[:half], text=b"stop"))
        last = await streams.answer(Chunk(1, False, True, samples[half:], text=b"stop that"))
        return first, last

    first, last = run(bundle, scenario)
    assert b"text" in first["MODALITIES"].item()
    expected = list(Pipeline(bundle)(str(clip), "stop that").probabilities.values())
    np.testing.assert_allclose(last["PROBABILITIES"][0], expected, atol=1e-6)


def test_streams_do_not_mix(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    other = samples[::-1].copy()

    async def apart(streams: Streams) -> list[Arrays]:
        one = [await streams.answer(chunk) for chunk in chunks(samples, 9000, 1)]
        two = [await streams.answer(chunk) for chunk in chunks(other, 9000, 2)]
        return [one[-1], two[-1]]

    async def together(streams: Streams) -> list[Arrays]:
        pairs = zip(chunks(samples, 9000, 1), chunks(other, 9000, 2), strict=True)
        return [await asyncio.gather(*(streams.answer(chunk) for chunk in pair)) for pair in pairs][
            -1
        ]

    for a, b in zip(run(bundle, apart), run(bundle, together), strict=True):
        np.testing.assert_array_equal(a["PROBABILITIES"], b["PROBABILITIES"])


def test_an_error_ends_the_stream_and_no_other(
    bundle: Bundle, samples: NDArray[np.float32]
) -> None:
    async def scenario(streams: Streams) -> None:
        await streams.answer(Chunk(1, True, False, samples))
        await streams.answer(Chunk("b", True, False, samples))
        with pytest.raises(InputError, match="holds a sample of size"):
            await streams.answer(Chunk(1, False, False, np.full(3, np.nan, np.float32)))
        assert len(streams) == 1
        with pytest.raises(InputError, match="stream 1: is not open"):
            await streams.answer(Chunk(1, False, True, samples))
        with pytest.raises(InputError, match="stream b: RATE_HZ belongs to its first request"):
            await streams.answer(Chunk("b", False, False, samples, rate_hz=8000))
        await streams.answer(Chunk("b", False, True, samples))

    run(bundle, scenario)


def test_a_start_begins_anew(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    async def scenario(streams: Streams) -> int:
        await streams.answer(Chunk(1, True, False, samples))
        answer = await streams.answer(Chunk(1, True, True, samples[:16_000]))
        return int(answer["WINDOWS"].item())

    assert run(bundle, scenario) == 1


def test_idle_streams_are_forgotten(bundle: Bundle, samples: NDArray[np.float32]) -> None:
    async def scenario(streams: Streams) -> None:
        await streams.answer(Chunk(1, True, False, samples))
        assert len(streams) == 1
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not len(streams):
                return
        pytest.fail("the stream is still kept")

    run(bundle, scenario, idle_s=0.05)
