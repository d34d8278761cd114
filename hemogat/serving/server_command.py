"""The command that starts tritonserver: safe by default, and nothing left to its own choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hemogat.serving.admin_key import KEY_NAME, admin_key
from hemogat.serving.locate import TritonInstall
from hemogat.serving.ports import is_ipv6
from hemogat.serving.processes import dying_with_parent

# What clients of a prediction service have no use for, and others could misuse.
RESTRICTED_APIS = "shared-memory,model-repository,logging,trace"
_EXIT_S = 3  # for the last answers on their way; Triton waits so long for a stream without an end


def server_command(
    install: TritonInstall,
    work_dir: Path,
    repository: Path,
    *,
    host: str,
    ports: Mapping[str, int | None],
    http_inference: bool,
    shm_prefix: str,
) -> list[str]:
    """Return the command line.

    Args:
        install: the tritonserver.
        work_dir: folder for what it needs while it runs.
        repository: of models.
        host: address to bind to.
        ports: of "HTTP", "gRPC" and "metrics".
        http_inference: answer predictions over HTTP too.
        shm_prefix: begins the names of the models' shared memory.
    """
    closed = f"{RESTRICTED_APIS}:{KEY_NAME}={admin_key()}"
    options = {
        "model-repository": repository,
        "backend-directory": install.backend_directory(work_dir),
        "model-control-mode": "none",
        "disable-auto-complete-config": None,
        "exit-on-error": "true",
        "strict-readiness": "true",
        "exit-timeout-secs": _EXIT_S,
        "http-restricted-api": closed if http_inference else f"inference,{closed}",
        "grpc-restricted-protocol": closed,
        # Kept for reuse, a request keeps the memory of the largest file that it ever held.
        "grpc-infer-allocation-pool-size": "0",
        "metrics-config": "summary_latencies=true",
        "backend-config": f"python,shm-region-prefix-name={shm_prefix}",
    }
    for endpoint, port in ports.items():
        options[f"{endpoint.lower()}-address"] = _address(host, endpoint)
        options[f"{endpoint.lower()}-port"] = port
    return [
        *dying_with_parent(),
        str(install.executable),
        *(f"--{key}" + ("" if value is None else f"={value}") for key, value in options.items()),
    ]


def _address(host: str, endpoint: str) -> str:
    if not is_ipv6(host):
        return host
    return f"[{host}]" if endpoint == "gRPC" else f"ipv6:{host}"
