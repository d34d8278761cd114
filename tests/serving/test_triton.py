"""The served model end to end: a real tritonserver, real clients, the in-process answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient import grpc

from hemogat.config import AudioConfig
from hemogat.errors import HemogatError, InputError, ServerError
from hemogat.runtime.bundle import write_sums
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.serving.client import Client, Protocol, ServedPrediction
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

TEXTS = ("stop that right now", "the table is brown", None, "she left us alone " * 9)
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")
# Sums in another order: a batch of another size may take another kernel.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models")
    with TritonServer(repository) as running:
        yield running


@pytest.fixture(scope="module")
def connect(server: TritonServer) -> Callable[[Protocol], Client]:
    urls = {"grpc": server.grpc_url, "http": server.http_url}
    return lambda protocol: Client(urls[protocol], protocol)


@pytest.fixture(params=PROTOCOLS)
def client(
    request: pytest.FixtureRequest, connect: Callable[[Protocol], Client]
) -> Iterator[Client]:
    with connect(request.param) as connected:
        yield connected


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.fixture(scope="module")
def utterances(tiny_clips: Path) -> list[tuple[Path, str | None]]:
    clips = sorted(tiny_clips.glob("*.wav"))[::5]
    return [(clip, TEXTS[number % len(TEXTS)]) for number, clip in enumerate(clips)]


@pytest.fixture(scope="module")
def expected(pipeline: Pipeline, utterances: list[tuple[Path, str | None]]) -> list[Prediction]:
    return [pipeline(str(audio), text) for audio, text in utterances]


def assert_same(served: ServedPrediction, expected: Prediction) -> None:
    assert served.label == expected.label
    assert served.modalities == expected.modalities
    assert list(served.probabilities) == list(expected.probabilities)
    np.testing.assert_allclose(
        list(served.probabilities.values()),
        list(expected.probabilities.values()),
        rtol=0,
        atol=TOLERANCE,
    )


def test_answers_equal_the_pipelines(
    client: Client, utterances: list[tuple[Path, str | None]], expected: list[Prediction]
) -> None:
    for (audio, text), wanted in zip(utterances, expected, strict=True):
        served = client.predict(audio, text)
        assert_same(served, wanted)
        assert served.neighbours == ()
    audios, texts = zip(*utterances, strict=True)
    for served, wanted in zip(client.predict_many(audios, texts), expected, strict=True):
        assert_same(served, wanted)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.lists(st.integers(0, 7), min_size=1, max_size=20))
def test_answers_do_not_depend_on_batch_mates(
    connect: Callable[[Protocol], Client],
    utterances: list[tuple[Path, str | None]],
    expected: list[Prediction],
    order: list[int],
) -> None:
    rows = [utterances[number] for number in order]
    with connect("grpc") as client:
        served = client.predict_many([audio for audio, _ in rows], [text for _, text in rows])
    assert len(served) == len(order)
    for answer, number in zip(served, order, strict=True):
        assert_same(answer, expected[number])


def test_answers_do_not_depend_on_concurrent_requests(
    connect: Callable[[Protocol], Client],
    utterances: list[tuple[Path, str | None]],
    expected: list[Prediction],
) -> None:
    garbage = b"RIFF but not really" * 50

    def work(worker: int) -> int:
        refused = 0
        with connect(PROTOCOLS[worker % 2]) as client:
            for number in range(worker, worker + len(utterances)):
                number %= len(utterances)
                assert_same(client.predict(*utterances[number]), expected[number])
                with pytest.raises(InputError):
                    client.predict(garbage, "stop")
                refused += 1
        return refused

    with ThreadPoolExecutor(6) as executor:
        refused = list(executor.map(work, range(6)))
    assert refused == [len(utterances)] * 6


def test_one_modality_is_enough(client: Client, pipeline: Pipeline, tiny_clips: Path) -> None:
    clip = tiny_clips / "angry-00.wav"
    assert_same(client.predict(clip), pipeline(str(clip)))
    assert_same(client.predict(text="stop that"), pipeline(text="stop that"))
    assert client.predict(clip).modalities == ("audio",)
    assert client.predict(text="stop that").modalities == ("text",)


def test_content_may_be_sent_instead_of_a_path(client: Client, tiny_clips: Path) -> None:
    clip = tiny_clips / "sad-00.wav"
    assert client.predict(clip.read_bytes(), "x") == client.predict(str(clip), "x")


@pytest.mark.parametrize(
    ("audio", "text", "message"),
    [
        (None, None, "utterance 0: has neither audio nor text"),
        (None, "  \n", "utterance 0: expected audio or text"),
        (None, "a\0b", "text of utterance 0: .*null characters"),
        (None, "\udc80", "text of utterance 0: .*UTF-8"),
        (None, "long " * 20_000, "text of utterance 0: has 100000 bytes"),
        (b"garbage" * 100, "stop", "utterance 0: is not audio"),
        (b"", "stop", "utterance 0: is empty"),
        ("/nowhere/clip.wav", "stop", "/nowhere/clip.wav: .*No such file"),
    ],
)
def test_bad_input_is_refused(
    client: Client, audio: bytes | str | None, text: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        client.predict(audio, text)
    assert client.ready()


def test_a_bad_file_among_many_is_named(client: Client, tiny_clips: Path, tmp_path: Path) -> None:
    bad = tmp_path / "row 0.wav"
    bad.write_bytes((tiny_clips / "sad-00.wav").read_bytes()[:2000])
    good = tiny_clips / "angry-00.wav"
    with pytest.raises(InputError, match=rf"^{bad}: "):
        client.predict_many([good] * 17 + [bad])  # in the second request
    with pytest.raises(InputError, match=r"^utterance 17: is not audio"):
        client.predict_many([good] * 17 + [b"garbage" * 100])


def test_a_list_for_each_input_must_be_as_long(client: Client, tiny_clips: Path) -> None:
    with pytest.raises(InputError, match=r"as many texts as audio inputs \(2\), found 1"):
        client.predict_many([tiny_clips / "sad-00.wav"] * 2, ["x"])
    assert client.predict_many([]) == []


def test_long_clips_are_answered_in_chunks(
    client: Client, pipeline: Pipeline, tmp_path: Path
) -> None:
    clip = tmp_path / "long.wav"
    soundfile.write(clip, 0.1 * np.sin(np.arange(40 * 16_000) / 20), 16_000)
    assert_same(client.predict(clip, "stop"), pipeline(str(clip), "stop"))


def test_this_machine_is_reached_without_the_proxy(
    connect: Callable[[Protocol], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for protocol in PROTOCOLS:
        with connect(protocol) as client:
            assert client.ready()


def test_generic_clients_get_named_scores(server: TritonServer, pipeline: Pipeline) -> None:
    triton = grpc.InferenceServerClient(server.grpc_url)
    tensor = grpc.InferInput("TEXT", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"stop that"]], dtype=np.object_))
    outputs = [grpc.InferRequestedOutput("PROBABILITIES", class_count=3)]
    scores = triton.infer("hemogat", [tensor], outputs=outputs).as_numpy("PROBABILITIES")
    triton.close()
    named = {label: float(value) for value, _, label in (s.decode().split(":") for s in scores[0])}
    assert named == pytest.approx(pipeline(text="stop that").probabilities, abs=1e-5)


def test_the_networks_answer_our_own_models_alone(
    server: TritonServer, client: Client, pipeline: Pipeline
) -> None:
    triton = grpc.InferenceServerClient(server.grpc_url)
    windows = grpc.InferInput("windows", [1, 16_000], "FP32")
    windows.set_data_from_numpy(np.zeros((1, 16_000), np.float32))
    for guess in (0, 1, 2**62 + 1):
        with pytest.raises(Exception, match="answers hemogat and hemogat_stream alone"):
            triton.infer(
                "hemogat_audio_encoder", [windows], sequence_id=guess, sequence_start=bool(guess)
            )
    triton.close()
    assert_same(client.predict(text="stop that"), pipeline(text="stop that"))


def test_a_sequence_id_that_is_no_text_fails_alone(
    server: TritonServer, client: Client, pipeline: Pipeline
) -> None:
    samples = b",".join([b"0"] * 16_000)
    body = (
        b'{"parameters": {"sequence_id": "\xff\xfe", "sequence_start": true}, "inputs": ['
        b'{"name": "windows", "shape": [1, 16000], "datatype": "FP32", "data": ['
        + samples
        + b"]}]}"
    )
    connection = HTTPConnection(server.http_url)
    connection.request("POST", "/v2/models/hemogat_audio_encoder/infer", body)
    refused = connection.getresponse()
    assert b"answers hemogat and hemogat_stream alone" in refused.read()
    assert refused.status == 400
    connection.close()
    assert_same(client.predict(text="stop that"), pipeline(text="stop that"))


def test_a_file_beyond_the_bundles_limit_is_not_sent(client: Client, tmp_path: Path) -> None:
    limit = AudioConfig().max_audio_bytes
    assert client.model_facts().max_audio_bytes == limit
    large = tmp_path / "large.wav"
    large.touch()
    os.truncate(large, limit + 1)
    with pytest.raises(InputError, match=rf"^{large}: has more than {limit} bytes"):
        client.predict(large)


def test_the_version_is_what_the_server_says(client: Client, server: TritonServer) -> None:
    assert client.server_version() == server.server_version()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_not_there_is_named(protocol: Protocol) -> None:
    with Client("127.0.0.1:9", protocol, timeout_s=5) as client:
        assert not client.ready()
        for call in (client.server_version, lambda: client.predict(text="stop")):
            with pytest.raises(ServerError, match=r"Triton server at 127\.0\.0\.1:9: "):
                call()


def test_with_neighbours_and_a_short_queue(
    tiny_bundle: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    limits = RepositorySettings(explain=True, max_in_flight=1, max_waiting=1, max_wait_ms=60_000)
    clip = tmp_path / "long.wav"
    soundfile.write(clip, 0.1 * np.sin(np.arange(60 * 16_000) / 20), 16_000)
    wanted = pipeline(str(clip), "stop")
    with TritonServer(write_repository(tiny_bundle, tmp_path / "models", limits)) as server:
        url = server.grpc_url

        def ask(_: int) -> ServedPrediction | HemogatError:
            with Client(url, retries=0) as client:
                try:
                    return client.predict(clip, "stop")
                except HemogatError as error:
                    return error

        with ThreadPoolExecutor(12) as executor:
            answers = list(executor.map(ask, range(12)))
        answers.append(ask(0))
    served = [answer for answer in answers if isinstance(answer, ServedPrediction)]
    refused = [answer for answer in answers if isinstance(answer, HemogatError)]
    assert answers[-1] in served
    assert refused
    for answer in served:
        assert_same(answer, wanted)
        assert [n.row for n in answer.neighbours] == [n.row for n in wanted.neighbours]
    for error in refused:
        assert isinstance(error, ServerError)
        assert "overloaded: 1 requests are waiting" in str(error)


def test_what_takes_too_long_is_given_up(tiny_bundle: Path, tmp_path: Path) -> None:
    impatient = RepositorySettings(timeout_ms=1)
    repository = write_repository(tiny_bundle, tmp_path / "models", impatient)
    with TritonServer(repository) as server, Client(server.grpc_url) as client:
        with pytest.raises(
            ServerError, match=r"overloaded: not answered within 1 ms \(timeout_ms of"
        ):
            client.predict(text="stop that")
        assert client.ready()


@pytest.mark.parametrize("still_valid", [False, True])
def test_a_bundle_changed_after_generation_is_not_served(
    tiny_bundle: Path, tmp_path: Path, still_valid: bool
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    repository = write_repository(bundle, tmp_path / "models")
    (bundle / "MODEL_CARD.md").write_text("changed")
    if still_valid:
        write_sums(bundle)
    message = "is another bundle" if still_valid else "is altered"
    with pytest.raises(ServerError, match=message):
        TritonServer(repository).start()
