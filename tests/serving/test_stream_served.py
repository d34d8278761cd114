"""Streams and the asyncio client against a real tritonserver."""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient import grpc
from typer.testing import CliRunner

import hemogat
from hemogat.cli.main import app
from hemogat.errors import InputError, UnavailableError
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.client import Client, Protocol
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")
TOLERANCE = 1e-5
IDLE_S = 2
EXTRAS = {"RATE_HZ": "INT64", "TEXT": "BYTES"}


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    limits = RepositorySettings(stream_idle_s=IDLE_S)
    repository = write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models", limits)
    with TritonServer(repository) as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.fixture(scope="module")
def clip(tiny_clips: Path) -> Path:
    """Return the longest clip at 22,050 Hz, so that the stream is resampled."""
    clips = [path for path in tiny_clips.glob("*.wav") if soundfile.info(path).samplerate == 22_050]
    return max(clips, key=lambda path: path.stat().st_size)


def url(server: TritonServer, protocol: Protocol) -> str:
    return f"{protocol}://{server.grpc_url if protocol == 'grpc' else server.http_url}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_chunking_ends_with_the_whole_files_answer(
    server: TritonServer, pipeline: Pipeline, clip: Path, protocol: Protocol
) -> None:
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    expected = pipeline(str(clip), "stop that")

    @settings(
        max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(sizes=st.lists(st.integers(0, 40_000), max_size=5))
    def check(sizes: list[int]) -> None:
        bounds = np.cumsum(sizes)
        with client.stream(rate_hz, text="stop that") as stream:
            for part in np.split(samples, bounds[bounds < len(samples)]):
                stream.send(part)
            last = stream.finish()
        assert last.label == expected.label
        assert last.modalities == ("audio", "text")
        np.testing.assert_allclose(
            list(last.probabilities.values()),
            list(expected.probabilities.values()),
            rtol=0,
            atol=TOLERANCE,
        )

    with Client(url(server, protocol)) as client:
        check()


def test_the_emotion_so_far_comes_with_each_second(server: TritonServer) -> None:
    samples = (0.1 * np.sin(np.arange(56_000) / 20)).astype(np.float32)
    with Client(server.grpc_url) as client, client.stream() as stream:
        answers = [stream.send(part) for part in np.split(samples, range(8000, 56_000, 8000))]
        last = stream.finish()
        with pytest.raises(InputError, match="has ended"):
            stream.send(samples)
    heard = [0 if answer is None else answer.windows for answer in answers]
    assert heard == [0, 1, 1, 2, 2, 3, 3]
    assert last.windows == 4


def play_without_waiting(
    server: TritonServer, samples: NDArray[np.float32], rate_hz: int, pieces: int
) -> list[tuple[grpc.InferResult | None, Exception | None]]:
    heard: queue.Queue[tuple[grpc.InferResult | None, Exception | None]] = queue.Queue()
    with grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: heard.put((result, error)))
        for number, part in enumerate(np.array_split(samples, pieces)):
            inputs = [grpc.InferInput("SAMPLES", [1, len(part)], "FP32")]
            inputs[0].set_data_from_numpy(part[None])
            if number == 0:
                inputs += [grpc.InferInput(name, [1, 1], kind) for name, kind in EXTRAS.items()]
                inputs[1].set_data_from_numpy(np.array([[rate_hz]], np.int64))
                inputs[2].set_data_from_numpy(np.array([[b"stop that"]], np.object_))
            place = {"sequence_start": number == 0, "sequence_end": number == pieces - 1}
            client.async_stream_infer("hemogat_stream", inputs, sequence_id=77, **place)
        answers = [heard.get(timeout=60) for _ in range(pieces)]
        client.stop_stream()
    return answers


def test_chunks_sent_without_waiting_are_taken_in_order(
    server: TritonServer, pipeline: Pipeline, clip: Path
) -> None:
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    expected = pipeline(str(clip), "stop that")
    answers = play_without_waiting(server, samples, rate_hz, 40)
    assert not [error for _, error in answers if error is not None]
    results = [result for result, _ in answers if result is not None]
    windows = [result.as_numpy("WINDOWS").item() for result in results]
    assert windows == sorted(windows)
    np.testing.assert_allclose(
        results[-1].as_numpy("PROBABILITIES")[0],
        list(expected.probabilities.values()),
        rtol=0,
        atol=TOLERANCE,
    )


def test_a_chunk_that_is_refused_ends_its_stream(
    tiny_bundle: Path, tmp_path: Path, clip: Path
) -> None:
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    narrow = RepositorySettings(max_in_flight=1, max_waiting=1)
    with TritonServer(write_repository(tiny_bundle, tmp_path / "models", narrow)) as running:
        answers = play_without_waiting(running, samples, rate_hz, 200)
        last = play_without_waiting(running, samples, rate_hz, 1)
    refused = [number for number, (_, error) in enumerate(answers) if error is not None]
    # What follows the first refusal is refused as well, or belongs to no stream.
    assert refused == list(range(refused[0], len(answers)))
    assert "requests are waiting" in str(answers[refused[0]][1])
    assert last[0][1] is None


def test_int16_is_taken_as_what_a_file_holds(server: TritonServer, pipeline: Pipeline) -> None:
    samples = (3000 * np.sin(np.arange(20_000) / 20)).astype(np.int16)
    with Client(server.grpc_url) as client, client.stream() as stream:
        stream.send(samples)
        as_integers = stream.finish()
        with client.stream() as other:
            other.send(samples.astype(np.float32) / 2**15)
            as_floats = other.finish()
        with client.stream() as bad, pytest.raises(InputError, match=r"found float32 \[2, 2\]"):
            bad.send(np.zeros((2, 2), np.float32))
    assert as_integers == as_floats


def test_a_bad_piece_ends_its_stream_alone(server: TritonServer) -> None:
    good = np.full(20_000, 0.1, np.float32)
    with Client(server.grpc_url) as client, client.stream() as healthy:
        healthy.send(good)
        with client.stream() as poisoned:
            poisoned.send(good)
            with pytest.raises(InputError, match="holds a sample of size nan"):
                poisoned.send(np.full(5, np.nan, np.float32))
        assert healthy.finish().windows == 2


def test_a_stream_beyond_the_limit_is_refused_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    samples = np.full(1000, 0.1, np.float32)
    few = RepositorySettings(max_streams=2, threads=1)
    with (
        TritonServer(write_repository(tiny_bundle, tmp_path / "models", few)) as running,
        Client(running.grpc_url, timeout_s=10) as client,
        client.stream() as first,
        client.stream() as second,
    ):
        first.send(samples)
        second.send(samples)
        for _ in range(5):  # what was refused keeps a place in Triton, which has more of them
            with client.stream() as third, pytest.raises(UnavailableError, match="2 streams are"):
                third.send(samples)
        second.finish()
        with client.stream() as third:
            third.send(samples)
            third.finish()
        first.finish()


def test_idle_streams_expire(server: TritonServer) -> None:
    with Client(server.grpc_url) as client, client.stream() as stream:
        stream.send(np.full(20_000, 0.1, np.float32))
        time.sleep(IDLE_S * 2)
        with pytest.raises(InputError, match=r"stream|sequence"):
            stream.send(np.full(20_000, 0.1, np.float32))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_asyncio_client_answers_like_the_other(
    server: TritonServer, pipeline: Pipeline, tiny_clips: Path, protocol: Protocol
) -> None:
    clips = sorted(tiny_clips.glob("*.wav"))[:12]

    async def ask() -> list[str]:
        async with hemogat.AsyncClient(url(server, protocol)) as client:
            assert await client.ready()
            with pytest.raises(InputError, match=r"^utterance 0: is not audio"):
                await client.predict(b"garbage" * 100)
            answers = await asyncio.gather(*(client.predict(clip, "stop") for clip in clips))
        return [answer.label for answer in answers]

    expected = pipeline(list(map(str, clips)), ["stop"] * len(clips))
    assert asyncio.run(ask()) == [prediction.label for prediction in expected]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_asyncio_client_says_when_nobody_is_there(protocol: Protocol) -> None:
    async def ask() -> None:
        async with hemogat.AsyncClient("127.0.0.1:9", protocol, timeout_s=5, retries=1) as client:
            assert not await client.ready()
            with pytest.raises(UnavailableError, match=r"Triton server at 127\.0\.0\.1:9: "):
                await client.predict(text="stop")

    asyncio.run(ask())


@pytest.mark.parametrize("bad", ["ftp://host:1", "http://", "grpc://host:1/path"])
def test_urls_of_other_forms_are_refused(bad: str) -> None:
    with pytest.raises(InputError, match=r"expected host:port or grpc"):
        hemogat.Client(bad)
    with pytest.raises(InputError, match="is no http address"):
        hemogat.Client("grpc://host:1", "http")


def test_the_command_asks_a_server_for_clips_and_streams(
    server: TritonServer, pipeline: Pipeline, tiny_clips: Path, tmp_path: Path
) -> None:
    clips = sorted(tiny_clips.glob("*.wav"))[:2]
    expected = pipeline([*clips])

    def run(*arguments: str | Path) -> str:
        command = ["predict", "--url", server.grpc_url, "--json", *map(str, arguments)]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert [a["label"] for a in json.loads(run(*clips))] == [e.label for e in expected]
    # What the recipe's defaults would refuse, a bundle may allow: the server is asked.
    many = tmp_path / "many-channels.wav"
    samples, rate_hz = soundfile.read(clips[0], dtype="float32")
    soundfile.write(many, np.repeat(samples[:, None], 20, axis=1), rate_hz)
    assert f'"label": "{expected[0].label}"' in run("--stream", many)
