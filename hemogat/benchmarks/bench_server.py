"""A server that is measured: started for that and stopped after, or one that runs already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hemogat import contract
from hemogat.benchmarks.server_counters import ServerMemory
from hemogat.contract import Engine, Precision
from hemogat.errors import ConfigError, ServerError
from hemogat.progress import Progress
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.serving.client import Client
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import ENGINE_OF_BACKEND, EngineParameters, RepositorySettings

_TOLD_THREADS = ("intra_op_thread_count", "INFERENCE_NUM_THREADS")


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


@dataclass(frozen=True)
class Served:
    """What runs a bundle's graphs; ``threads`` of one graph, None: by the number of cores."""

    engine: Engine
    precision: Precision
    threads: int | None


@dataclass(frozen=True)
class MeasuredServer:
    """The server that is measured; ``memory`` is None when it is not ours."""

    url: str
    client: Client
    served: Served
    memory: ServerMemory | None


@contextmanager
def measured_server(
    bundle: Bundle,
    url: str | None,
    wanted: tuple[Engine | None, Precision | None, int | None],
    progress: Progress,
) -> Iterator[MeasuredServer]:
    """Reach the server at ``url``, or start one.

    Args:
        bundle: what it serves.
        url: gRPC address; None: start one.
        wanted: engine, precision and threads; None for the bundle's first and all cores, or for
            what the server at ``url`` has.
        progress: draws a bar while it starts.

    Raises:
        ConfigError: the server at ``url`` has another engine, precision or number of threads.
        ServerError: it cannot be reached, or serves another bundle.
    """
    with ExitStack() as stack:
        if url is not None:
            client = stack.enter_context(Client(url, "grpc"))
            _check_bundle(client, url, bundle)
            yield MeasuredServer(url, client, served_by(client, bundle, wanted), None)
            return
        served = Served(*bundle.select(wanted[0], wanted[1]), wanted[2])
        settings = RepositorySettings(
            engine=served.engine, precision=served.precision, threads=served.threads
        )
        server = stack.enter_context(bench_server(bundle.path, settings, progress))
        client = stack.enter_context(Client(server.grpc_url, "grpc"))
        assert server.pid is not None
        yield MeasuredServer(server.grpc_url, client, served, ServerMemory(server.pid))


def _check_bundle(client: Client, url: str, bundle: Bundle) -> None:
    if client.model_facts().bundle_sums != sha256_of(bundle.path / SUMS_FILE):
        raise ServerError(
            f"{url}: serves another bundle than {bundle.path}; name the bundle that it serves"
        )


def served_by(
    client: Client, bundle: Bundle, wanted: tuple[Engine | None, Precision | None, int | None]
) -> Served:
    """Read from a server's configuration what runs the graphs.

    Triton's own backends do not tell the precision.

    Raises:
        ConfigError: it is not what is wanted, or is not told and not given.
    """
    config = client.model_config(contract.triton_model_name(contract.FUSION.name))
    told = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    precision: Precision | None
    if config["backend"] == "python":
        parameters = EngineParameters.from_model_config(config)
        engine, precision = parameters.engine, parameters.precision
        threads = parameters.threads
    else:
        engine = ENGINE_OF_BACKEND[config["backend"]]
        threads = next((int(told[name]) for name in _TOLD_THREADS if name in told), None)
        precision = wanted[1] or _only_precision(bundle, engine)
    found = Served(engine, precision, threads)
    for name, want, have in zip(
        ("engine", "precision", "threads"), wanted, (engine, precision, threads), strict=True
    ):
        if want is not None and want != have:
            raise ConfigError(f"--{name}: the server has {have}, not {want}; leave the option out")
    return found


def _only_precision(bundle: Bundle, engine: Engine) -> Precision:
    found = {model.precision for model in bundle.manifest.models if model.engine == engine}
    if len(found) != 1:
        raise ConfigError(
            f"--precision: the server does not tell which of {', '.join(sorted(found))} it runs; "
            f"name it"
        )
    return found.pop()
