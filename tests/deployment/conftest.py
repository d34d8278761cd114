from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture(scope="session")
def serving() -> Path:
    """Return the folder of deployment files."""
    return SERVING


@pytest.fixture(scope="package")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Return a server that stands in for the container."""
    settings = RepositorySettings(threads=1)
    models = write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models", settings)
    with TritonServer(models, ready_timeout_s=240) as running:
        yield running
