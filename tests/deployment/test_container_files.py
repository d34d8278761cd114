from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hemogat import __version__
from hemogat.serving.repository_readme import IMAGE

HADOLINT = Path(sys.executable).with_name("hadolint")
COMPOSE = next((c for c in (["docker-compose"], ["docker", "compose"]) if shutil.which(c[0])), None)


@pytest.fixture(scope="module")
def compose(serving: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((serving / "compose.yaml").read_text())
    return loaded


@pytest.mark.skipif(not HADOLINT.is_file(), reason="hadolint is not installed (extra dev)")
def test_hadolint_accepts_the_dockerfile(serving: Path) -> None:
    done = subprocess.run([HADOLINT, serving / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_is_what_the_docs_promise(serving: Path) -> None:
    lines = (serving / "Dockerfile").read_text().splitlines()
    after_last_from = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 1000:1000" in after_last_from
    assert any(line.startswith("HEALTHCHECK") for line in after_last_from)
    assert not any("nvidia-pytriton" in line for line in lines if not line.startswith("#"))
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    root = serving.parent
    assert all((root / s).exists() for s in sources if not s.startswith(("-", "/")))
    ignored = (serving / "Dockerfile.dockerignore").read_text()
    assert all(f"!{s}" in ignored for s in sources if not s.startswith(("-", "/")))


def test_everything_names_the_same_image(serving: Path, compose: dict[str, Any]) -> None:
    assert compose["services"]["triton"]["image"] == IMAGE
    assert f"-t {IMAGE} " in (serving / "Dockerfile").read_text()
    chart = yaml.safe_load((serving / "helm/hemogat/Chart.yaml").read_text())
    values = yaml.safe_load((serving / "helm/hemogat/values.yaml").read_text())
    assert f"{values['image']['repository']}:{chart['appVersion']}" == IMAGE
    assert chart["appVersion"] == __version__


def test_only_the_proxy_is_reached_from_other_machines(compose: dict[str, Any]) -> None:
    services = compose["services"]
    published = {name: s.get("ports", []) for name, s in services.items() if s.get("ports")}
    assert published == {"proxy": ["8443:8443"], "grafana": ["127.0.0.1:3000:3000"]}
    assert compose["networks"]["backend"]["internal"] is True
    for name in ("triton", "triton-next", "prometheus"):
        assert services[name]["networks"] == ["backend"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "mem_limit" in service, name
        assert ":latest" not in service["image"], name
    for mount in services["triton"]["volumes"]:
        assert mount.endswith(":ro")


def test_what_is_mounted_is_there(serving: Path, compose: dict[str, Any]) -> None:
    mounts = [m for s in compose["services"].values() for m in s.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(sources) >= 5
    for source in sources:
        assert (serving / source).exists(), source
    for secret in compose["secrets"].values():
        assert Path(secret["file"]).parent == Path("secrets")
    ignored = (serving / "secrets/.gitignore").read_text().split("\n")
    assert "*" in ignored


@pytest.mark.skipif(COMPOSE is None, reason="no docker compose")
def test_compose_accepts_its_file(serving: Path, tmp_path: Path) -> None:
    assert COMPOSE is not None
    if subprocess.run([*COMPOSE, "version"], capture_output=True).returncode != 0:
        pytest.skip("docker has no compose")
    bundles = {"BUNDLE": str(tmp_path), "BUNDLE_NEXT": str(tmp_path)}
    done = subprocess.run(
        [*COMPOSE, "-f", str(serving / "compose.yaml"), "config", "-q"],
        env={**os.environ, **bundles},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
