"""Whole manifests on a server: the pipeline's answers, interrupted or not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from hemogat.errors import InputError, ServerError, UnavailableError
from hemogat.progress import Progress, Stage
from hemogat.runtime.manifest_prediction import predict_manifest
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.manifest_requests import predict_manifest_served
from hemogat.serving.model_facts import ModelFacts
from hemogat.serving.predictions import ServedPrediction
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer

RUN = "from hemogat.cli.main import run; run()"
LABELS = ("angry", "calm", "sad")


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models")
    with TritonServer(repository) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "served.csv"


@pytest.fixture
def journal(out: Path) -> Path:
    return out.with_name("served.csv.partial")


@pytest.fixture(scope="module")
def expected(
    tiny_bundle: Path, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    path = tmp_path_factory.mktemp("expected") / "predictions.csv"
    predict_manifest(Pipeline.load(tiny_bundle), tiny_manifest, path)
    return path.read_text().splitlines()


def rounded(path: Path) -> list[list[str]]:
    """Return the cells, numbers without their last digit, which a batch's size may change."""
    return [
        [cell[:-2] if cell.startswith("0.") else cell for cell in line.split(",")]
        for line in path.read_text().splitlines()
    ]


class Interrupting(Progress):
    """Fails after so many rows."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def stage(self, *arguments: object, **options: object):  # type: ignore[no-untyped-def, override]
        outer = self

        class Counting(Stage):
            def advance(self, steps: int = 1, *, note: str | None = None) -> None:
                outer.after -= steps
                if outer.after == 0:
                    raise InterruptedError

        class Context:
            def __enter__(self) -> Stage:
                return Counting(None, None)

            def __exit__(self, *error: object) -> None:
                pass

        return Context()


def test_the_file_is_the_pipelines(
    server: TritonServer, tiny_manifest: Path, out: Path, journal: Path, expected: list[str]
) -> None:
    result = predict_manifest_served(server.grpc_url, tiny_manifest, out)
    assert result.predicted == len(expected) - 1
    wanted = out.with_name("wanted.csv")
    wanted.write_text("\n".join(expected) + "\n")
    assert rounded(out) == rounded(wanted)
    assert not journal.exists()


def test_rows_done_are_not_sent_again(
    server: TritonServer, tiny_manifest: Path, out: Path, journal: Path, expected: list[str]
) -> None:
    with pytest.raises(InterruptedError):
        predict_manifest_served(
            server.http_url.join(("http://", "")), tiny_manifest, out, progress=Interrupting(20)
        )
    assert not out.exists()
    lines = journal.read_text().splitlines()
    assert 10 <= len(lines) < len(expected)
    marked = json.loads(lines[1]) | {"label": "from-the-journal"}
    journal.write_text("\n".join([lines[0], json.dumps(marked), *lines[2:], '{"id": "cut sho']))
    assert predict_manifest_served(server.grpc_url, tiny_manifest, out).predicted == (
        len(expected) - 1
    )
    assert out.read_text().count("from-the-journal") == 1


def test_another_manifests_journal_is_refused(
    server: TritonServer, tiny_manifest: Path, out: Path, journal: Path
) -> None:
    heading = {"manifest_sha256": "0" * 64, "bundle_sums": "0" * 64}
    for content, message in (
        (json.dumps(heading) + "\n", "holds the answers of an interrupted run with another"),
        ("no journal\n", "is not a journal of predictions"),
        ("somebody's notes, without an end of line", "is not a journal of predictions"),
    ):
        journal.write_text(content)
        with pytest.raises(InputError, match=message):
            predict_manifest_served(server.grpc_url, tiny_manifest, out)
        assert journal.read_text() == content


def test_rows_that_cannot_be_used_are_named_or_listed(
    server: TritonServer, tiny_clips: Path, tmp_path: Path, out: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"garbage" * 100)
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"id,audio,text\na,,stop that\nb,{bad},\nc,none.wav,\n")
    with pytest.raises(InputError, match=r"m\.csv: row \d"):
        predict_manifest_served(server.grpc_url, manifest, out)
    result = predict_manifest_served(server.grpc_url, manifest, out, skip_bad=True)
    assert result.predicted == 1
    assert {row.id for row in result.skipped} == {"b", "c"}
    reasons = " ".join(row.reason for row in result.skipped)
    assert f"{manifest}: row 3 (b): is not audio" in reasons


def test_a_crash_of_a_supervised_server_loses_no_row(
    tiny_bundle: Path, tiny_manifest: Path, out: Path, expected: list[str]
) -> None:
    command = [sys.executable, "-c", RUN, "serve", str(tiny_bundle), "--supervise"]
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    log = ["--log-format", "json"]
    with subprocess.Popen([*command, *ports, *log], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = (json.loads(line)["message"] for line in iter(process.stdout.readline, ""))
            announced = next(message for message in said if message.startswith("Triton "))
            url = announced.split("gRPC ")[1].split(",")[0]
            [server] = psutil.Process(process.pid).children()
            with ThreadPoolExecutor(1) as executor:
                asking = executor.submit(
                    predict_manifest_served, url, tiny_manifest, out, concurrency=2
                )
                journal = out.with_name("served.csv.partial")
                while not journal.exists() or len(journal.read_text().splitlines()) < 5:
                    time.sleep(0.002)
                server.kill()
                assert asking.result(120).predicted == len(expected) - 1
            wanted = out.with_name("wanted.csv")
            wanted.write_text("\n".join(expected) + "\n")
            assert rounded(out) == rounded(wanted)
            assert any("starting again in" in message for message in said)
            [again] = psutil.Process(process.pid).children()
            stub = next(child for child in again.children() if "stub" in child.name())
            stub.kill()
            assert any("a model's process" in message for message in said)
            assert any(message.startswith("Triton ") for message in said)
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_nobody_there(tiny_manifest: Path, out: Path) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        predict_manifest_served("127.0.0.1:9", tiny_manifest, out, timeout_s=1)


class Switching:
    """Stands in for the client of a server that gets another bundle after five answers."""

    answered = 0

    def __init__(self, *_: object, **__: object) -> None:
        """Connect to nothing."""

    async def __aenter__(self) -> Switching:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def model_facts(self, *, anew: bool = False) -> ModelFacts:
        await asyncio.sleep(0)
        return ModelFacts(LABELS, 16, ("a" if Switching.answered <= 5 else "b") * 64)

    async def predict(self, *_: object, **__: object) -> ServedPrediction:
        await asyncio.sleep(0)
        Switching.answered += 1
        return ServedPrediction("calm", dict.fromkeys(LABELS, 0.3), ("audio",), ())


class Refusing(Switching):
    """Its other bundle takes none of the rows."""

    async def predict(self, *_: object, **__: object) -> ServedPrediction:
        answer = await super().predict()
        if Switching.answered > 5:
            raise InputError("too large")
        return answer


def test_rows_that_another_bundle_refuses_are_not_skipped(
    tiny_manifest: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemogat.serving.manifest_requests.AsyncClient", Refusing)
    Switching.answered = 0
    with pytest.raises(ServerError, match="another bundle meanwhile"):
        predict_manifest_served(None, tiny_manifest, out, concurrency=1, skip_bad=True)
    assert not out.exists()


@pytest.mark.parametrize("concurrency", [1, 4])
def test_rows_of_two_bundles_are_not_mixed(
    concurrency: int,
    tiny_manifest: Path,
    out: Path,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer is kept that another bundle may have given."""
    monkeypatch.setattr("hemogat.serving.manifest_requests.AsyncClient", Switching)
    Switching.answered = 0
    with pytest.raises(ServerError, match=r"another bundle meanwhile .*served\.csv\.partial"):
        predict_manifest_served(None, tiny_manifest, out, concurrency=concurrency)
    assert not out.exists()
    heading, *kept = journal.read_text().splitlines()
    assert json.loads(heading)["bundle_sums"] == "a" * 64
    assert len(kept) <= 5
    assert concurrency > 1 or len(kept) == 5
    with pytest.raises(InputError, match="an interrupted run with another manifest or model"):
        predict_manifest_served(None, tiny_manifest, out)
