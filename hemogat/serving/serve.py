"""Serving a bundle until told to stop: what ``hemogat serve`` runs."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from hemogat.errors import ServerError
from hemogat.serving.repository import is_repository, write_repository
from hemogat.serving.repository_checks import check_repository
from hemogat.serving.server import READY_TIMEOUT_S, StatusCallback, TritonServer
from hemogat.serving.settings import RepositorySettings

_STEADY_S = 60  # a server that ran for so long starts without the delay of earlier failures
_LONGEST_DELAY_S = 30


def serve(
    source: Path,
    *,
    settings: RepositorySettings | None = None,
    repository: Path | None = None,
    host: str = "127.0.0.1",
    http_port: int | None = 8000,
    grpc_port: int | None = 8001,
    metrics_port: int | None = 8002,
    http_inference: bool = True,
    log_path: Path | None = None,
    supervise: bool = False,
    ready_timeout_s: float = READY_TIMEOUT_S,
    drain_s: float | None = None,
    on_status: StatusCallback = print,
    on_log: StatusCallback | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop the server and all its children.

    New work is refused from then on, and what is under way is answered first; a second signal
    cuts that short.

    Call it in the main thread.

    Args:
        source: a bundle, or a model repository generated before.
        settings: of the repository generated from a bundle; refused with a repository.
        repository: folder to generate it in; default: one that goes when the server does.
        host: address to bind to.
        http_port: None or 0: any free one; the same for the other two.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        http_inference: answer predictions over HTTP too, not over gRPC alone.
        log_path: where the server's output goes; default: kept only while it runs.
        supervise: start the server again, on the same ports and after a growing delay, when it
            or one of its model processes ends by itself, or it is not ready for a minute.
        ready_timeout_s: how long the models may take to load.
        drain_s: how long to wait for what is under way; default: the time in which the models
            answer everything, or refuse it.
        on_status: called with a line of text for each step.
        on_log: called with each line of the server's own output.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the settings do not fit the engine that is served.
        IncompleteError: there is no tritonserver that can run here.
        ServerError: it did not start; or, unsupervised, it ended by itself.
    """
    hurry = threading.Event()
    with _stop_on_signals(hurry), ExitStack() as cleanup:
        if is_repository(source):
            if settings is not None or repository is not None:
                raise ServerError(
                    f"{source}: is a generated repository, which cannot be given settings; "
                    "name the bundle instead"
                )
            check_repository(source)
            repository = source
        else:
            if repository is None:
                scratch = tempfile.TemporaryDirectory(prefix="hemogat-repository-")
                repository = Path(cleanup.enter_context(scratch)) / "models"
            write_repository(source, repository, settings)
        server = TritonServer(
            repository,
            host=host,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            http_inference=http_inference,
            log_path=log_path,
            ready_timeout_s=ready_timeout_s,
            drain_s=drain_s,
            hurry=hurry,
            on_status=on_status,
            on_log=on_log,
        )
        _run(server, on_status, supervise=supervise)


def _run(server: TritonServer, on_status: StatusCallback, *, supervise: bool) -> None:
    has_run = False  # a first start that fails would fail again
    failures = 0
    while True:
        began_s = time.monotonic()
        try:
            with server:
                on_status(
                    f"Triton {server.server_version()}: HTTP {server.http_url}, "
                    f"gRPC {server.grpc_url}, metrics {server.metrics_url}"
                )
                has_run = True
                server.wait()
        except ServerError as error:
            if not (supervise and has_run):
                raise
            failures = 0 if time.monotonic() - began_s > _STEADY_S else failures + 1
            delay_s = min(2**failures, _LONGEST_DELAY_S)
            on_status(f"{error}\nstarting again in {delay_s} s")
            time.sleep(delay_s)


class _Stopped(BaseException):
    """A signal asked to stop; no error, so nothing but :func:`serve` catches it."""


@contextmanager
def _stop_on_signals(hurry: threading.Event) -> Iterator[None]:
    """Leave the block quietly on the first SIGINT or SIGTERM, after its clean-up.

    Another one sets ``hurry``: it must not cut the clean-up short.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda number, frame: hurry.set())
        raise _Stopped

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        for each in before:
            signal.signal(each, stop)
        yield
    except _Stopped:
        pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
