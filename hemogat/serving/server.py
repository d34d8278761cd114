"""A tritonserver process of our own: started, watched and stopped with all its children."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from hemogat.errors import ServerError
from hemogat.serving.draining import FOLDER_VARIABLE, drain
from hemogat.serving.inner_token import TOKEN_VARIABLE, new_token
from hemogat.serving.locate import find_tritonserver
from hemogat.serving.ports import choose_ports, is_ipv6
from hemogat.serving.processes import children_of, lives, runs, server_environment
from hemogat.serving.server_command import server_command
from hemogat.serving.server_health import StallWatch, is_ready, server_version
from hemogat.serving.server_log import LogFollower, last_lines

StatusCallback = Callable[[str], None]

READY_TIMEOUT_S = 120.0
_STOP_GRACE_S = 10
_POLL_S = 0.05
_WATCH_S = 0.5
_HEALTH_S = 5.0  # between two questions whether it is ready
_STALL_S = 60.0
_SHARED_MEMORY = Path("/dev/shm")
_LOADED = re.compile(r"successfully loaded '([^']+)'")


class TritonServer:
    """Runs tritonserver on a model repository, and ends it with all its children.

    Use it as a context manager: leaving the block stops the server, however it is left. Do so in
    a thread that lives as long: the server also stops when that thread ends.

    Args:
        repository: folder that :func:`hemogat.serving.repository.write_repository` wrote.
        host: address to bind HTTP, gRPC and metrics to.
        http_port: None or 0: any free one; the same for the other two.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        http_inference: answer predictions over HTTP too, not over gRPC alone; health, metadata
            and metrics are HTTP's in any case.
        log_path: where the server's output goes; default: a file that goes when the server does.
        ready_timeout_s: how long the models may take to load.
        drain_s: how long :meth:`stop` waits for what the models have let in; default: the time in
            which they answer everything, or refuse it.
        hurry: set it to have :meth:`stop` wait no longer.
        on_status: called with a line of text for each step of the start.
        on_log: called with each line that the server writes; from another thread.
    """

    def __init__(
        self,
        repository: Path,
        *,
        host: str = "127.0.0.1",
        http_port: int | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        http_inference: bool = True,
        log_path: Path | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
        drain_s: float | None = None,
        hurry: threading.Event | None = None,
        on_status: StatusCallback = lambda line: None,
        on_log: StatusCallback | None = None,
    ) -> None:
        self._repository = repository
        self._host = host.strip("[]")
        self._ports: dict[str, int | None] = {
            "HTTP": http_port,
            "gRPC": grpc_port,
            "metrics": metrics_port,
        }
        self._http_inference = http_inference
        self._log_path = log_path
        self._log = Path(os.devnull)
        self._log_start = 0  # in bytes
        self._ready_timeout_s = ready_timeout_s
        self._drain_s = drain_s
        self._hurry = hurry or threading.Event()
        self._drain_folder: Path | None = None
        self._on_status = on_status
        self._on_log = on_log
        self._shm_prefix = f"hemogat_{os.getpid()}_{secrets.token_hex(4)}_"
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After the death of a part of it, what is under way may never end.
        self.stop(drain_first=not isinstance(error, ServerError))

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP endpoint, as clients on this machine reach it."""
        return self._url("HTTP")

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint, as clients on this machine reach it."""
        return self._url("gRPC")

    @property
    def metrics_url(self) -> str:
        """``host:port`` of the metrics endpoint, as clients on this machine reach it."""
        return self._url("metrics")

    @property
    def pid(self) -> int | None:
        """Process id of tritonserver, which leads the process group of all its children."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until every model is ready.

        Raises:
            IncompleteError: there is no tritonserver that can run here.
            ServerError: a port is in use; or the server died or did not get ready, with its last
                lines.
        """
        if not self._repository.is_dir():
            raise ServerError(f"{self._repository}: is no model repository; expected a folder")
        install = find_tritonserver()
        self._ports = dict(choose_ports(self._host, self._ports))
        work_dir = Path(
            self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="hemogat-triton-"))
        )
        drain_folder = work_dir / "drain"
        drain_folder.mkdir()
        self._log = self._log_path or work_dir / "tritonserver.log"
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            # Behind what an earlier start left, which tells why there had to be another.
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                if self._on_log is not None:
                    self._cleanup.callback(LogFollower(self._log, self._on_log).stop)
                self._process = subprocess.Popen(
                    server_command(
                        install,
                        work_dir,
                        self._repository,
                        host=self._host,
                        ports=self._ports,
                        http_inference=self._http_inference,
                        shm_prefix=self._shm_prefix,
                    ),
                    env={
                        **server_environment(install),
                        FOLDER_VARIABLE: str(drain_folder),
                        TOKEN_VARIABLE: new_token(),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # one process group, which stop() ends as a whole
                )
            self._wait_until_ready()
        except BaseException:
            self.stop(drain_first=False)
            raise
        self._drain_folder = drain_folder

    def wait(self) -> None:
        """Wait for as long as the server and all its model processes run.

        Triton neither replaces a model process that was killed nor stops calling the model ready.

        Raises:
            ServerError: one of them ended by itself, or the server has not been ready for a
                minute; with the server's last lines.
        """
        if self._process is None:
            raise ServerError("tritonserver has not been started")
        models = children_of(self._process.pid)
        health = StallWatch(self.http_url, _STALL_S, _HEALTH_S)
        while True:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_WATCH_S)
                raise self._death()
            dead = [child.pid for child in models if not lives(child)]
            if dead:
                raise ServerError(
                    f"a model's process (pid {dead[0]}) ended by itself, so its model answers no "
                    f"more; the server's last lines:\n{self._last_lines()}"
                )
            if health.is_stalled():
                raise ServerError(
                    f"tritonserver runs but has not been ready for {_STALL_S:g} s; its last "
                    f"lines:\n{self._last_lines()}"
                )

    def server_version(self) -> str:
        """Return the version that the server reports."""
        return server_version(self.http_url)

    def stop(self, *, drain_first: bool = True) -> None:
        """End the server and all its children; does nothing when it does not run.

        Args:
            drain_first: refuse new work and wait for what is under way, before.
        """
        process, self._process = self._process, None
        folder, self._drain_folder = self._drain_folder, None
        try:
            if process is not None:
                if drain_first and folder is not None and process.poll() is None:
                    drain(folder, self._drain_s, self._hurry, runs, self._report_drain)
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_GRACE_S)
        finally:
            if process is not None:
                # The group outlives its leader when a model's process hangs.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for leftover in _SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
                leftover.unlink(missing_ok=True)
            self._cleanup.close()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        self._on_status(f"starting tritonserver; its log: {self._log}")
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            while True:
                answered = is_ready(self.http_url)
                self._report_loaded(log)
                # First: what answers on the port of a dead server is somebody else's.
                if self._process is None or self._process.poll() is not None:
                    raise self._death()
                if answered:
                    break
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"tritonserver was not ready after {self._ready_timeout_s:g} s; it may "
                        f"need longer (--ready-timeout); its last lines:\n{self._last_lines()}"
                    )
                time.sleep(_POLL_S)
        self._on_status("ready")

    def _report_loaded(self, log: BinaryIO) -> None:
        for model in _LOADED.findall(log.read().decode(errors="replace")):
            self._on_status(f"{model} is loaded")

    def _report_drain(self, limit_s: float) -> None:
        self._on_status(f"stopping; waiting for what is under way, at most {limit_s:g} s")

    def _url(self, endpoint: str) -> str:
        any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = any_address.get(self._host, self._host)
        host = f"[{host}]" if is_ipv6(host) else host
        return f"{host}:{self._ports[endpoint]}"

    def _death(self) -> ServerError:
        code = self._process.returncode if self._process else None
        return ServerError(
            f"tritonserver ended by itself (exit code {code}); its last lines:\n"
            f"{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        return last_lines(self._log, self._log_start)
