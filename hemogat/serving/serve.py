"""Serving a bundle until told to stop: what ``hemogat serve`` runs."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from hemogat.errors import ServerError
from hemogat.serving.repository import is_repository, write_repository
from hemogat.serving.server import StatusCallback, TritonServer
from hemogat.serving.settings import RepositorySettings


def serve(
    source: Path,
    *,
    settings: RepositorySettings | None = None,
    repository: Path | None = None,
    host: str = "127.0.0.1",
    http_port: int | None = 8000,
    grpc_port: int | None = 8001,
    metrics_port: int | None = 8002,
    log_path: Path | None = None,
    on_status: StatusCallback = print,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop the server and all its children.

    Call it in the main thread.

    Args:
        source: a bundle, or a model repository generated before.
        settings: of the repository generated from a bundle; refused with a repository.
        repository: folder to generate it in; default: one that goes when the server does.
        host: address to bind to.
        http_port: None or 0: any free one; the same for the other two.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        log_path: where the server's output goes; default: kept only while it runs.
        on_status: called with a line of text for each step.

    Raises:
        BundleError: the bundle cannot be used.
        IncompleteError: there is no tritonserver that can run here.
        ServerError: it did not start, or ended by itself.
    """
    with _stop_on_signals(), ExitStack() as cleanup:
        if is_repository(source):
            if settings is not None or repository is not None:
                raise ServerError(
                    f"{source}: is a generated repository, which cannot be given settings; "
                    "name the bundle instead"
                )
            repository = source
        else:
            if repository is None:
                scratch = tempfile.TemporaryDirectory(prefix="hemogat-repository-")
                repository = Path(cleanup.enter_context(scratch)) / "models"
            write_repository(source, repository, settings)
        server = cleanup.enter_context(
            TritonServer(
                repository,
                host=host,
                http_port=http_port,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                log_path=log_path,
                on_status=on_status,
            )
        )
        on_status(
            f"Triton {server.server_version()}: HTTP {server.http_url}, gRPC {server.grpc_url}, "
            f"metrics {server.metrics_url}"
        )
        server.wait()


class _Stopped(BaseException):
    """A signal asked to stop; no error, so nothing but :func:`serve` catches it."""


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Leave the block quietly on the first SIGINT or SIGTERM, after its clean-up."""

    def stop(number: int, frame: FrameType | None) -> None:
        # A second signal must not cut the clean-up short.
        for each in before:
            signal.signal(each, signal.SIG_IGN)
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
