"""A stop under load: what was let in is answered, what comes later is told to come back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hemogat.errors import HemogatError, UnavailableError
from hemogat.serving.client import Client, Protocol, Stream
from hemogat.serving.draining import FOLDER_VARIABLE, DrainWatch, drain
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

WORKERS = 8


@pytest.fixture
def server(tiny_bundle: Path, tmp_path: Path) -> Iterator[TritonServer]:
    limits = RepositorySettings(threads=1, max_in_flight=4, max_wait_ms=60_000)
    with TritonServer(write_repository(tiny_bundle, tmp_path / "models", limits)) as running:
        yield running


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(20 * 16_000) / 20), 16_000)
    return path


def ask_until_refused(url: str, clip: Path, answered: Counter[str], worker: str) -> HemogatError:
    """Count the worker's answered requests; return the first error."""
    with Client(url, retries=0, timeout_s=60) as client:
        while True:
            try:
                client.predict(clip, "stop that")
            except HemogatError as error:
                return error
            answered[worker] += 1


def test_a_stop_answers_what_was_let_in_and_refuses_what_comes_later(
    server: TritonServer, clip: Path
) -> None:
    urls = (f"grpc://{server.grpc_url}", f"http://{server.http_url}")
    answered: Counter[str] = Counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        asked = [
            threads.submit(ask_until_refused, urls[worker % 2], clip, answered, str(worker))
            for worker in range(WORKERS)
        ]
        give_up_s = time.monotonic() + 60
        while len(answered) < WORKERS and time.monotonic() < give_up_s:
            time.sleep(0.05)
        before = answered.total()  # each of the workers has asked again since
        server.stop()
        errors = [each.result() for each in asked]
    assert len(answered) == WORKERS
    assert answered.total() > before
    # None of them was let in and lost: that would be another error, or one of an inner model. Who
    # asks a moment late finds Triton itself stopping, or gone.
    for error in errors:
        assert isinstance(error, UnavailableError)
        assert "hemogat_" not in str(error)
    assert any("stopping: it takes no new work" in str(error) for error in errors)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_open_streams_go_on_to_their_end(server: TritonServer, protocol: Protocol) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    second = (0.1 * np.sin(np.arange(16_000) / 20)).astype(np.float32)

    def begin(client: Client) -> Stream:
        stream = client.stream(text="stop that")
        stream.send(second)
        return stream

    with Client(url, protocol) as client, Client(url, protocol) as late:
        stream = begin(client)
        late.model_facts()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.5)
        with pytest.raises(UnavailableError, match="stopping: it takes no new work"):
            begin(late)
        stream.send(second)
        time.sleep(0.5)
        assert stream.finish().windows == 2
        stopping.join(15)
        assert not stopping.is_alive()


def mark(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.model")]


def test_work_is_waited_for_and_nothing_let_in_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    happened: Counter[str] = Counter()
    under_way = threading.Event()
    watch = DrainWatch(
        "hemogat", 30, lambda: happened.update(["closed"]), lambda: not under_way.is_set()
    )
    watch.start()
    under_way.set()
    assert len(mark(tmp_path)) == 1
    waits: list[float] = []

    def finish(limit_s: float) -> None:
        waits.append(limit_s)
        assert happened["closed"]
        under_way.clear()

    drain(tmp_path, None, threading.Event(), lambda pid: True, finish)
    assert waits
    assert waits[0] > 30
    assert not mark(tmp_path)
    watch.stop()


@pytest.mark.parametrize("why", ["limit", "hurry", "dead", "nobody"])
def test_it_does_not_wait_in_vain(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    watch = DrainWatch("hemogat", 600, lambda: None, lambda: False)
    if why != "nobody":
        watch.start()
    hurry = threading.Event()
    if why == "hurry":
        hurry.set()
    limit_s = 0.2 if why == "limit" else None
    drain(tmp_path, limit_s, hurry, lambda pid: why != "dead", lambda limit_s: None)
    assert bool(mark(tmp_path)) == (why != "nobody")
    watch.stop()


def test_without_a_launcher_there_is_nothing_to_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    watch = DrainWatch("hemogat", 30, lambda: None, lambda: True)
    watch.start()
    watch.stop()
