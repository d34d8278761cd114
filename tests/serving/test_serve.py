from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from hemogat.errors import BundleError, ServerError
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.client import Client
from hemogat.serving.repository import write_repository
from hemogat.serving.serve import serve
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

SCRIPT = """
import sys
from pathlib import Path
from hemogat.serving.serve import serve

def say(line):
    print(line, flush=True)

serve(Path(sys.argv[1]), http_port=0, grpc_port=0, metrics_port=0, on_status=say)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_a_bundle_until_told_to_stop(
    tiny_bundle: Path,
    tmp_path: Path,
    number: signal.Signals,
    survivors: Callable[[int], list[int]],
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tiny_bundle)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        announced = next(line for line in lines if line.startswith("Triton "))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        grpc_url = announced.split("gRPC ")[1].split(",")[0]
        with Client(grpc_url) as client:
            assert client.predict(text="stop that").modalities == ("text",)
        assert list(tmp_path.glob("hemogat-*"))
        process.send_signal(number)
        assert process.wait(30) == 0
    assert len(children) == 1
    assert survivors(int(children[0])) == []
    assert not list(tmp_path.glob("hemogat-*"))


SIGNALS = """
import os, signal, threading
from hemogat.serving.serve import _stop_on_signals

before = signal.getsignal(signal.SIGTERM)
hurry = threading.Event()
with _stop_on_signals(hurry):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        hurry.wait(10)
        print("went on")
    finally:
        print("cleans up", hurry.is_set())
        os.kill(os.getpid(), signal.SIGINT)
        print("has cleaned up", hurry.wait(10))
print("restored", signal.getsignal(signal.SIGTERM) is before)
"""


def test_a_second_signal_ends_the_waiting_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    expected = ["cleans up False", "has cleaned up True", "restored True"]
    assert done.stdout.splitlines() == expected


def test_settings_for_a_generated_repository_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    repository = write_repository(tiny_bundle, tmp_path / "models")
    with pytest.raises(ServerError, match="cannot be given settings"):
        serve(repository, settings=RepositorySettings(instances=2))


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BundleError, match="is not a bundle"):
        serve(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_bank_is_searched_outside_the_graph_with_the_same_answers(
    tiny_bundle: Path, tiny_gathered_bundle: Path, tiny_clips: Path, tmp_path: Path
) -> None:
    settings = RepositorySettings(search="int8", explain=True)
    with pytest.raises(BundleError, match="has no fusion_gather graph"):
        write_repository(tiny_bundle, tmp_path / "models", settings)
    clip = str(tiny_clips / "angry-00.wav")
    expected = Pipeline.load(tiny_bundle)(clip, "stop that")
    alone = Pipeline.load(tiny_gathered_bundle, search="exact")(clip, "stop that")
    assert alone.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    repository = write_repository(tiny_gathered_bundle, tmp_path / "models", settings)
    with TritonServer(repository) as server, Client(server.grpc_url) as client:
        served = client.predict(clip, "stop that")
    assert served.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert [n.row for n in served.neighbours] == [n.row for n in expected.neighbours]


def test_other_backends_have_the_bank_inside() -> None:
    with pytest.raises(ValidationError, match="backend python searches outside the graph"):
        RepositorySettings(backend="onnxruntime", search="exact")
