"""A server that is started to be measured, and goes when that is done."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hemogat.progress import Progress
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings


@contextmanager
def bench_server(
    bundle: Path, settings: RepositorySettings, progress: Progress
) -> Iterator[TritonServer]:
    """Serve ``bundle`` from a temporary repository for as long as the block runs.

    Raises:
        BundleError: the bundle cannot be used, or has no such engine and precision.
        IncompleteError: there is no tritonserver.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="hemogat-bench-") as scratch:
        repository = write_repository(bundle, Path(scratch) / "models", settings)
        with ExitStack() as stack:
            with progress.stage("Start tritonserver") as stage:
                server = TritonServer(
                    repository, on_status=lambda line: stage.advance(0, note=line)
                )
                stack.enter_context(server)
            yield server
