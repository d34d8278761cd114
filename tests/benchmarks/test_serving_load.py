from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemogat.benchmarks import serving_load
from hemogat.benchmarks.bench_server import bench_server
from hemogat.benchmarks.load_drivers import Send
from hemogat.benchmarks.serving_load import measure_serving_load
from hemogat.benchmarks.serving_load_report import LoadReport, LoadSettings, write_load_report
from hemogat.errors import ConfigError, ServerError
from hemogat.progress import Progress
from hemogat.runtime.bundle import write_sums
from hemogat.serving.async_client import AsyncClient
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

QUICK = LoadSettings(
    threads=1,
    concurrency=(1, 4),
    rates_per_s=(20.0,),
    capacity_shares=(0.5,),
    streams=2,
    duration_s=1.0,
    stream_s=1.5,
    warm_up_s=0.2,
    compare_rounds=2,
    compare_s=0.3,
    compare_batch=4,
)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[TritonServer]:
    """A server that works on one request at a time, and lets one more wait."""
    limits = RepositorySettings(threads=1, max_in_flight=1, max_waiting=1)
    with bench_server(tiny_bundle, limits, Progress()) as running:
        yield running


@pytest.fixture(scope="module")
def report(tiny_bundle: Path) -> LoadReport:
    return measure_serving_load(tiny_bundle, settings=QUICK)


def test_every_load_is_answered_and_counted(report: LoadReport) -> None:
    loads = [(level.kind, level.offered) for level in report.levels]
    assert loads[:3] == [("closed loop", 1), ("closed loop", 4), ("open loop", 20.0)]
    capacity_per_s = max(level.answered_per_s for level in report.levels[:2])
    assert loads[3:] == [("open loop", 0.5 * capacity_per_s), ("streams", 2)]
    for level in report.levels:
        assert level.errors == {}
        assert level.error_latency is None
        assert level.latency is not None
        assert level.answered_per_s == pytest.approx(level.latency.n / level.duration_s)
        assert level.memory is not None
        assert level.memory.peak_mib >= level.memory.before_mib > 100
        assert len(level.memory.course_mib) == 5
        assert level.memory.peak_mib >= max(level.memory.course_mib)
        assert level.send_lag is not None
        assert level.from_sent is not None
        assert level.send_lag.n == level.from_sent.n == level.latency.n
        assert level.from_sent.mean_ms <= level.latency.mean_ms
        assert len(level.p50_by_third_ms) == len(level.p95_by_third_ms) == 3
    # Fifteen chunks of 100 ms and an end, for each stream.
    assert report.levels[-1].latency is not None
    assert report.levels[-1].latency.n == 2 * 16


def test_the_servers_own_counts_are_in_the_report(report: LoadReport) -> None:
    level = report.levels[0]
    assert level.latency is not None
    assert level.models.keys() >= {"hemogat", "hemogat_audio_encoder", "hemogat_fusion"}
    # A request is counted after its answer, so the run's bounds may be off by one.
    assert abs(level.models["hemogat_fusion"].requests - level.latency.n) <= 1
    assert level.models["hemogat_fusion"].batch_rows == pytest.approx(1.0, abs=0.2)
    assert all(m.compute_ms > 0 and m.queue_ms >= 0 for m in level.models.values())
    assert "hemogat_stream" in report.levels[-1].models


def test_both_ways_are_compared_in_turns(report: LoadReport) -> None:
    compared = report.comparison
    assert compared.batch == 4
    assert len(compared.in_process_per_s) == len(compared.served_per_s) == 2
    assert compared.added_p50_ms == compared.served.p50_ms - compared.in_process.p50_ms
    assert compared.throughput_share > 0


def test_the_report_is_written_whole(report: LoadReport, tmp_path: Path) -> None:
    path = write_load_report(report, tmp_path)
    assert LoadReport.model_validate_json(path.read_text()) == report
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = path.with_suffix(".md").read_text()
    assert f"({path.stem}.png)" in text
    assert text.count("| closed loop, 4 at a time |") == 1 + len(report.levels[1].models)
    assert "4 at a time: in process" in text
    assert str(tmp_path) not in json.dumps(json.loads(path.read_text()))


def test_every_load_has_its_figures(report: LoadReport) -> None:
    assert len({figure.key for figure in report.figures}) == len(report.figures)
    values = {figure.key: figure.value for figure in report.figures}
    closed, opened = ("concurrency=4", "load=closed loop"), ("load=open loop", "rate=20/s")
    assert values[("Triton", "throughput", "1/s", *closed)] == report.levels[1].answered_per_s
    assert values[("Triton", "errors", "%", *opened)] == 0
    # The rate itself differs between runs, so the figure goes by the share.
    assert ("Triton", "p50", "ms", "load=open loop", "rate=50 % of capacity") in values
    assert values[("in process", "p50", "ms", "concurrency=1", "load=in turns")] == (
        report.comparison.in_process.p50_ms
    )


def test_overload_is_counted_by_status_and_not_retried(
    tiny_bundle: Path, server: TritonServer
) -> None:
    changed = {"concurrency": (16,), "rates_per_s": (), "capacity_shares": (4.0,), "streams": 0}
    settings = QUICK.model_copy(update=changed | {"overload_s": 1.5, "threads": None})
    report = measure_serving_load(tiny_bundle, url=server.grpc_url, settings=settings)
    # What the server has, not what this program assumes.
    found = (report.settings.engine, report.settings.precision, report.settings.threads)
    assert found == ("onnx", "fp32", 1)
    level, overload = report.levels
    assert overload.duration_s >= 1.4  # the last arrival is a little before the end
    assert overload.errors.keys() == {"UNAVAILABLE"}
    assert overload.error_from_sent is not None
    (told,) = (note for note in report.notes if note.startswith(f"{overload.name} offered"))
    assert f"{overload.errors['UNAVAILABLE']} refused, p95" in told
    assert {f.metric for f in report.figures} >= {"refused_p95", "send_lag_p95", "from_sent_p50"}
    assert level.errors.keys() == {"UNAVAILABLE"}
    assert level.error_latency is not None
    assert level.error_latency.n == level.errors["UNAVAILABLE"]
    assert level.latency is not None  # of what was let in
    assert level.memory is None  # of a server that is not ours
    assert any("of a server that ran already" in note for note in report.notes)


def test_a_server_that_answers_nothing_ends_in_a_message(
    tiny_bundle: Path, server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object, client: AsyncClient) -> Send:
        return lambda number: client.predict(b"not audio", "text")

    monkeypatch.setattr(serving_load._LoadBench, "_send", broken)
    settings = QUICK.model_copy(update={"threads": None})
    told = rf"{server.grpc_url}: answered none of the requests .* \(\d+ INVALID_ARGUMENT\)"
    with pytest.raises(ServerError, match=told):
        measure_serving_load(tiny_bundle, url=server.grpc_url, settings=settings)


@pytest.mark.parametrize(
    ("option", "settings"),
    [("engine", {"engine": "openvino"}), ("precision", {"precision": "int8"})],
)
def test_a_running_server_cannot_be_asked_for_another_engine(
    tiny_bundle: Path, server: TritonServer, option: str, settings: dict[str, str]
) -> None:
    wanted = LoadSettings.model_validate(settings)
    with pytest.raises(ConfigError, match=f"--{option}: the server has"):
        measure_serving_load(tiny_bundle, url=server.grpc_url, settings=wanted)


def test_a_server_of_another_bundle_is_refused(
    tiny_bundle: Path, server: TritonServer, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (other / "MODEL_CARD.md").write_text("changed")
    write_sums(other)
    with pytest.raises(ServerError, match=f"serves another bundle than {other}"):
        measure_serving_load(other, url=server.grpc_url, settings=QUICK)
