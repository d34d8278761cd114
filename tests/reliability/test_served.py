"""A real server under hostile requests, valid ones and kills: the short forms of ``make soak``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from reliability.__main__ import problems_of_hostile, problems_of_soak
from reliability.hostile_run import run_hostile
from reliability.http_requests import broken_bodies, deep_json, post
from reliability.valid_run import run_soak

from hemogat.serving.client import Client
from hemogat.serving.manifest_requests import JOURNAL_SUFFIX, predict_manifest_served
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

# So few requests have not yet brought memory to where it stays; make soak admits 5 %.
NOT_YET_WARM = 0.2
RUN = "from hemogat.cli.main import run; run()"


@pytest.fixture(scope="module")
def models(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = RepositorySettings(threads=1)
    return write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models", settings)


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[TritonServer]:
    with TritonServer(models) as running:
        yield running


def test_hostile_requests_are_refused_and_hurt_nobody(server: TritonServer) -> None:
    report = run_hostile(server, 400, valid_every=10)
    assert problems_of_hostile(report, NOT_YET_WARM) == []
    assert report.outcome.requests == 400


def test_valid_requests_are_answered_alike_and_leave_nothing(server: TritonServer) -> None:
    report = run_soak(server, 400)
    assert problems_of_soak(report, NOT_YET_WARM) == []


def test_http_bodies_that_are_no_requests(server: TritonServer) -> None:
    for what, body, headers in broken_bodies():
        status, answer = post(server.http_url, body, headers)
        # Triton's front end answers 500 where it is the JSON itself that it cannot use.
        assert status in (200, 400) or (status == 500 and b"pars" in answer), (what, status, answer)
    with Client(server.http_url, "http") as client:
        assert client.predict(text="stop that").modalities == ("text",)


def test_what_kills_old_servers_over_http_is_kept_out_by_grpc_only(models: Path) -> None:
    with TritonServer(models, http_inference=False) as server:
        assert post(server.http_url, deep_json(200_000), {})[0] == 403
        with Client(server.grpc_url) as client:
            assert client.predict(text="stop that").modalities == ("text",)
        assert server.server_version()


@pytest.fixture
def supervised(tiny_bundle: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run ``hemogat serve --supervise``; return its gRPC address and process."""
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--threads", "1"]
    command = [sys.executable, "-c", RUN, "serve", str(tiny_bundle), "--supervise", *ports]
    with subprocess.Popen(
        [*command, "--log-format", "json"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = (json.loads(line)["message"] for line in process.stdout)
            announced = next(message for message in said if message.startswith("Triton "))
            yield announced.split("gRPC ")[1].split(",")[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def wait_for_answers(journal: Path, count: int) -> None:
    while not journal.exists() or len(journal.read_text().splitlines()) <= count:
        time.sleep(0.002)


def test_kills_of_client_and_model_process_under_load_lose_nothing(
    supervised: tuple[str, psutil.Process],
    tiny_manifest: Path,
    tmp_path: Path,
) -> None:
    """tests/serving/test_manifest_requests.py kills the server itself."""
    url, launcher = supervised
    undisturbed = tmp_path / "undisturbed.csv"
    predict_manifest_served(url, tiny_manifest, undisturbed)
    out = tmp_path / "out.csv"
    journal = out.with_name(out.name + JOURNAL_SUFFIX)
    command = [sys.executable, "-c", RUN, "predict", "--url", url, "--manifest"]
    client = subprocess.Popen([*command, str(tiny_manifest), "--out", str(out)])
    wait_for_answers(journal, 3)
    client.kill()
    client.wait()
    assert not out.exists()
    with ThreadPoolExecutor(1) as executor:
        asking = executor.submit(predict_manifest_served, url, tiny_manifest, out, concurrency=2)
        wait_for_answers(journal, 12)
        stubs = [p for p in launcher.children(recursive=True) if "stub" in p.name()]
        stubs[len(stubs) // 2].kill()
        assert asking.result(200).skipped == ()
    assert labels(out) == labels(undisturbed)
    assert not journal.exists()


def labels(path: Path) -> list[list[str]]:
    return [line.split(",")[:2] for line in path.read_text().splitlines()]
