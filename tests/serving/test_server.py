from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient import grpc, http

from hemogat.errors import ServerError
from hemogat.serving import server as server_module
from hemogat.serving import server_health
from hemogat.serving.client import Client
from hemogat.serving.server import TritonServer

Processes = Callable[[int], list[int]]

CONFIG = """
name: "echo" backend: "python" max_batch_size: 4
input [{ name: "X" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 2 }]
"""
# It loads only with the packages of the Python that runs the tests.
MODEL = f"""
import sys
import hemogat
import triton_python_backend_utils as pb_utils

assert sys.prefix == {sys.prefix!r}, sys.prefix

class TritonPythonModel:
    def execute(self, requests):
        x = [pb_utils.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", v)]) for v in x]
"""


def write_model(repository: Path, source: str) -> Path:
    version = repository / "echo" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(source)
    return repository


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("echo") / "repository", MODEL)


@pytest.fixture(scope="module")
def running(echo: Path) -> Iterator[TritonServer]:
    with TritonServer(echo) as server:
        yield server


def group_of(server: TritonServer) -> int:
    assert server.pid is not None
    return server.pid


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith(f"hemogat_{os.getpid()}_")}


def test_it_starts_reports_and_leaves_nothing_behind(
    echo: Path, tmp_path: Path, group_members: Processes, survivors: Processes
) -> None:
    before = shared_memory()
    lines: list[str] = []
    log = tmp_path / "logs" / "triton.log"
    with TritonServer(echo, log_path=log, on_status=lines.append) as server:
        group = group_of(server)
        assert len(group_members(group)) == 3  # the server and two instances
        assert shared_memory() > before
    assert lines == [f"starting tritonserver; its log: {log}", "echo is loaded", "ready"]
    assert "successfully loaded 'echo'" in log.read_text()
    assert survivors(group) == []
    assert shared_memory() == before


def test_the_version_is_what_the_server_says(running: TritonServer) -> None:
    client = http.InferenceServerClient(running.http_url)
    assert running.server_version() == client.get_server_metadata()["version"]
    client.close()


def test_an_error_in_the_block_stops_it_with_hanging_children(
    echo: Path, group_members: Processes, survivors: Processes
) -> None:
    def interrupted(server: TritonServer) -> None:
        with server:
            groups.append(group_of(server))
            for pid in group_members(groups[0]):
                if pid != groups[0]:
                    os.kill(pid, signal.SIGSTOP)
            raise KeyboardInterrupt

    before = shared_memory()
    groups: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(TritonServer(echo))
    assert survivors(groups[0]) == []
    assert shared_memory() == before


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux's setpriv")
def test_a_killed_parent_takes_the_server_with_it(echo: Path, survivors: Processes) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from hemogat.serving.server import TritonServer\n"
        "with TritonServer(Path(sys.argv[1])) as server:\n"
        "    print(server.pid, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(echo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        parent.kill()
    assert survivors(group) == []


def test_a_server_that_ends_by_itself_is_reported(echo: Path, survivors: Processes) -> None:
    with TritonServer(echo) as server:
        group = group_of(server)
        os.kill(group, signal.SIGKILL)
        with pytest.raises(ServerError, match=r"ended by itself \(exit code -9\)"):
            server.wait()
    assert survivors(group) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("raise RuntimeError('weights are missing')\n", "weights are missing"),
    ],
)
def test_dying_at_start_shows_the_last_lines(tmp_path: Path, source: str, message: str) -> None:
    server = TritonServer(write_model(tmp_path / "repository", source))
    with pytest.raises(ServerError, match="ended by itself") as caught:
        server.start()
    assert message in str(caught.value)
    assert server.pid is None


def test_a_model_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    repository = write_model(tmp_path / "repository", "import time\ntime.sleep(600)\n")
    server = TritonServer(repository, ready_timeout_s=1)
    with pytest.raises(ServerError, match="not ready after 1 s"):
        server.start()
    assert server.pid is None


def test_a_port_in_use_is_named_before_anything_starts(echo: Path, running: TritonServer) -> None:
    port = int(running.grpc_url.rpartition(":")[2])
    second = TritonServer(echo, grpc_port=port)
    with pytest.raises(ServerError, match=rf"port {port} .*gRPC.*in use"):
        second.start()
    assert second.pid is None


def test_a_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="nowhere: is no model repository"):
        TritonServer(tmp_path / "nowhere").start()


@pytest.mark.parametrize("protocol", [grpc, http])
def test_only_prediction_is_open_to_clients(running: TritonServer, protocol: object) -> None:
    client = (
        grpc.InferenceServerClient(running.grpc_url)
        if protocol is grpc
        else http.InferenceServerClient(running.http_url)
    )
    calls: list[Callable[[], object]] = [
        lambda: client.register_system_shared_memory("region", "/key", 8),
        lambda: client.get_system_shared_memory_status(),
        lambda: client.load_model("echo"),
        lambda: client.unload_model("echo"),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
        lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
    ]
    for call in calls:
        with pytest.raises(Exception, match="restricted"):
            call()
    assert client.is_model_ready("echo")
    client.close()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="needs IPv6")
def test_it_listens_on_ipv6(echo: Path) -> None:
    with TritonServer(echo, host="::1") as server:
        for url in (server.http_url, server.grpc_url, server.metrics_url):
            assert url.startswith("[::1]:")
        for client in (
            http.InferenceServerClient(server.http_url),
            grpc.InferenceServerClient(server.grpc_url),
        ):
            assert client.is_model_ready("echo")
            client.close()
        assert Client(server.http_url, "http").server_version() == server.server_version()


def test_a_server_that_stalls_is_noticed(
    echo: Path, survivors: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_STALL_S", 0.5)
    monkeypatch.setattr(server_module, "_HEALTH_S", 0.1)
    monkeypatch.setattr(server_health, "_ANSWER_S", 0.2)
    with TritonServer(echo) as server:
        group = group_of(server)
        os.kill(group, signal.SIGSTOP)
        with pytest.raises(ServerError, match=r"runs but has not been ready for 0\.5 s"):
            server.wait()
        os.kill(group, signal.SIGCONT)
    assert survivors(group) == []
