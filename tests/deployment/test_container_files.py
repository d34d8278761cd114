from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hemogat import __version__
from hemogat.serving.repository_readme import IMAGE
from hemogat.serving.settings import RepositorySettings

compose_spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed")


@pytest.fixture(scope="module")
def compose(serving: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((serving / "compose.yaml").read_text())
    return loaded


def test_hadolint_accepts_the_dockerfile(serving: Path, hadolint: str) -> None:
    done = subprocess.run([hadolint, serving / "Dockerfile"], capture_output=True, text=True)
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
    for service in ("triton", "triton-next"):
        assert all(mount["read_only"] for mount in services[service]["volumes"])


def test_what_is_mounted_is_there(serving: Path, compose: dict[str, Any]) -> None:
    mounts = [m for s in compose["services"].values() for m in s.get("volumes", [])]
    short = [mount for mount in mounts if isinstance(mount, str)]  # the bundles' are the user's
    sources = [mount.split(":")[0] for mount in short if mount.startswith("./")]
    assert len(sources) >= 5
    for source in sources:
        assert (serving / source).exists(), source
    for secret in compose["secrets"].values():
        assert Path(secret["file"]).parent == Path("secrets")
    ignored = (serving / "secrets/.gitignore").read_text().split("\n")
    assert "*" in ignored


def interpolated(text: str, values: dict[str, str]) -> str:
    """Put values in the places of ${NAME:-default} and ${NAME:?message}, as Compose does."""

    def value(place: re.Match[str]) -> str:
        name, kind, other = place.groups()
        if kind == "?" and name not in values:
            raise ValueError(other)
        return values.get(name, other)

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)


def test_compose_knows_every_field(serving: Path) -> None:
    text = (serving / "compose.yaml").read_text()
    with pytest.raises(ValueError, match="absolute path of the bundle"):
        interpolated(text, {})
    services = parsed(interpolated(text, {"BUNDLE": "/bundles/1", "CPUS": "8"}))["services"]
    triton = services["triton"]
    assert (triton["command"][-1], triton["cpus"]) == ("8", "8")
    default = parsed(interpolated(text, {"BUNDLE": "/bundles/1"}))["services"]["triton"]
    assert (default["command"][-1], default["cpus"]) == ("2", "2")
    (bundle,) = triton["volumes"]
    assert (bundle["source"], bundle["read_only"]) == ("/bundles/1", True)
    assert bundle["bind"]["create_host_path"] is False
    (following,) = services["triton-next"]["volumes"]
    assert following["bind"]["create_host_path"] is False


def parsed(text: str) -> dict[str, Any]:
    """Return a compose file that has been read by a strict reader of Compose's specification."""
    content: dict[str, Any] = yaml.safe_load(text)
    known = compose_spec.PyCompose.from_json(json.dumps(content))
    known.validate()  # that networks, volumes and secrets which services name are there
    return content


@pytest.mark.parametrize(
    "wrong",
    ["stop_grace_periods: 1s", "cpus: [2]", "stop_grace_period: 30 parsecs", "networks: [nowhere]"],
)
def test_a_field_that_compose_does_not_know_would_be_noticed(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"stop_grace_periods|number|parsecs|nowhere"):
        parsed(f"services: {{triton: {{image: a, {wrong}}}}}")


def test_a_stop_has_the_time_that_the_server_takes(compose: dict[str, Any]) -> None:
    answered_within_s = RepositorySettings().timeout_ms / 1000
    grace_s = int(compose["services"]["triton"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > answered_within_s + 10  # then tritonserver is killed
