"""A real server under hostile requests, valid ones and kills: the short forms of ``make soak``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.faults_run import FaultsReport, run_faults
from reliability.hostile_run import run_hostile
from reliability.http_requests import broken_bodies, deep_json, post
from reliability.http_run import run_http
from reliability.promises import (
    problems_of_faults,
    problems_of_hostile,
    problems_of_http,
    problems_of_soak,
)
from reliability.valid_run import run_soak

from hemogat.serving.client import Client
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

# So few requests have not yet brought memory to where it stays; make soak admits 5 %.
NOT_YET_WARM = 0.2


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
    bodies = list(broken_bodies())
    report = run_http(server, len(bodies))
    assert problems_of_http(report, NOT_YET_WARM) == []
    assert set(report.statuses) == {name for name, _, _ in bodies}
    assert report.valid_requests == len(bodies)


def test_what_kills_old_servers_over_http_is_kept_out_by_grpc_only(models: Path) -> None:
    with TritonServer(models, http_inference=False) as server:
        assert post(server.http_url, deep_json(200_000), {})[0] == 403
        with Client(server.grpc_url) as client:
            assert client.predict(text="stop that").modalities == ("text",)
        assert server.server_version()


def test_kills_under_load_lose_nothing(tiny_bundle: Path) -> None:
    report = run_faults(tiny_bundle, 1, 150)
    assert problems_of_faults(report) == []
    assert report.kills == {"tritonserver": 1, "a model's process": 1, "hemogat predict": 1}
    assert (report.asked, report.answered) == (150, 150)


def test_lost_and_repeated_answers_are_problems() -> None:
    report = FaultsReport(1, 3, lost=1, twice=2, other_label=1, kept_changed=1, largest=0.1)
    assert len(problems_of_faults(report)) == 5 + len(report.kills)
