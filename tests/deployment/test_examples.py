"""The examples, run as they stand against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.server import TritonServer

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.fixture(scope="module")
def clip(tiny_clips: Path) -> Path:
    clips = [path for path in tiny_clips.glob("*.wav") if soundfile.info(path).duration > 1.2]
    return min(clips)


def run(*command: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, timeout=120
    )


def output(*command: str | Path, stdin: bytes | None = None) -> str:
    done = run(*command, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def outputs_of(answer: str) -> dict[str, list[object]]:
    return {tensor["name"]: tensor["data"] for tensor in json.loads(answer)["outputs"]}


@needs_curl
def test_curl_text(serving: Path, server: TritonServer, pipeline: Pipeline) -> None:
    text = 'stop "that"\\ right now'
    answer = outputs_of(output(serving / "examples/text.sh", text, f"http://{server.http_url}"))
    expected = pipeline(text=text)
    assert answer["LABEL"] == [expected.label]
    assert answer["MODALITIES"] == ["text"]
    assert answer["PROBABILITIES"] == pytest.approx(list(expected.probabilities.values()), abs=1e-5)


@needs_curl
def test_curl_audio(serving: Path, server: TritonServer, pipeline: Pipeline, clip: Path) -> None:
    url = f"http://{server.http_url}"
    answer = outputs_of(output(serving / "examples/audio.sh", clip, url))
    expected = pipeline(str(clip))
    assert answer["LABEL"] == [expected.label]
    assert answer["PROBABILITIES"] == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
    refused = run(serving / "examples/audio.sh", serving / "README.md", url)
    assert refused.returncode == 22
    assert "row 0: is not audio" in refused.stdout.decode()


def test_grpc(serving: Path, server: TritonServer, pipeline: Pipeline, clip: Path) -> None:
    script = serving / "examples/grpc_client.py"
    printed = output(sys.executable, script, clip, "stop that", server.grpc_url)
    label, used, probabilities = printed.split(maxsplit=2)
    expected = pipeline(str(clip), "stop that")
    assert (label, used) == (expected.label, "audio,text")
    assert json.loads(probabilities) == pytest.approx(
        list(expected.probabilities.values()), abs=1e-4
    )


def test_http(serving: Path, server: TritonServer, pipeline: Pipeline, clip: Path) -> None:
    script = serving / "examples/http_client.py"
    lines = output(sys.executable, script, clip, server.http_url).splitlines()
    expected = sorted(pipeline(str(clip)).probabilities.items(), key=lambda item: -item[1])[:2]
    for line, (label, probability) in zip(lines, expected, strict=True):
        assert line.split()[0] == label
        assert float(line.split()[1]) == pytest.approx(probability, abs=1e-5)


def test_many_files(
    serving: Path, server: TritonServer, pipeline: Pipeline, tiny_clips: Path
) -> None:
    clips = sorted(tiny_clips.glob("*.wav"))[:20]
    script, url = serving / "examples/many_files.py", f"grpc://{server.grpc_url}"
    done = run(sys.executable, script, url, *clips, serving / "README.md")
    assert done.returncode == 0
    labels = dict(line.rsplit(maxsplit=2)[:2] for line in done.stdout.decode().splitlines())
    assert labels == {str(clip): pipeline(str(clip)).label for clip in clips}
    (complaint,) = done.stderr.decode().splitlines()
    assert complaint.startswith(f"{serving / 'README.md'}: ")


def test_microphone(serving: Path, server: TritonServer, pipeline: Pipeline, clip: Path) -> None:
    samples, rate_hz = soundfile.read(clip, dtype="int16")
    script, url = serving / "examples/microphone.py", f"grpc://{server.grpc_url}"
    lines = output(
        sys.executable, script, str(rate_hz), url, stdin=samples.astype("<i2").tobytes()
    ).splitlines()
    assert lines[0].startswith("1 s: ")
    assert lines[-1] == f"whole: {pipeline(str(clip)).label}"
