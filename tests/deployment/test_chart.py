"""The Helm chart, rendered by Helm or by its template engine, and what the rendering says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

jsonschema = pytest.importorskip("jsonschema", reason="kubernetes-validate is not installed")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

HERE = Path(__file__).parent
CASES = ("plain", "full")
GO_PATH = Path("/usr/share/gocode")
HAS_SPRIG = shutil.which("go") and (GO_PATH / "src/github.com/Masterminds/sprig").is_dir()


@pytest.fixture(scope="module")
def chart(serving: Path) -> Path:
    return serving / "helm/hemogat"


def golden(case: str) -> Path:
    return HERE / "golden" / f"{case}.yaml"


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def by_kind(case: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents(golden(case).read_text())}


def sources_hash(chart: Path) -> str:
    files = sorted(p for p in chart.rglob("*") if p.suffix in (".yaml", ".tpl"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()


def render(chart: Path, values: Path, cache: Path) -> str:
    if shutil.which("helm"):
        command = ["helm", "template", "emotions-green", str(chart), "--values", str(values)]
        environment = dict(os.environ)
    elif HAS_SPRIG:
        script = str(HERE / "render_chart.go")
        command = ["go", "run", script, str(chart), "emotions-green", str(values)]
        go = {"GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOCACHE": str(cache)}
        environment = {**os.environ, **go}
    else:
        pytest.skip("neither helm nor Go with sprig is installed")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    if done.returncode != 0:
        raise ValueError(done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("go")


@pytest.mark.parametrize("case", CASES)
def test_the_golden_file_is_the_rendering(chart: Path, case: str, cache: Path) -> None:
    rendered = render(chart, HERE / f"values/{case}.yaml", cache)
    changed = f"if this is meant, write it to {golden(case)}, below its first line"
    assert documents(rendered) == documents(golden(case).read_text()), changed


@pytest.mark.parametrize("case", CASES)
def test_the_golden_file_is_of_these_templates(chart: Path, case: str) -> None:
    first_line = golden(case).read_text().splitlines()[0]
    assert first_line == f"# rendered from templates with SHA-256 {sources_hash(chart)}"


def test_a_release_without_a_bundle_is_refused(chart: Path, tmp_path: Path, cache: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("replicas: 1\n")
    with pytest.raises(ValueError, match=r"set one of bundle\.existingClaim and bundle\.image"):
        render(chart, values, cache)


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_knows_every_field(case: str) -> None:
    for document in documents(golden(case).read_text()):
        if document["kind"] != "ServiceMonitor":  # the Prometheus operator's
            kubernetes_validate.validate(document, "1.31", strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    deployment = by_kind("plain")["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


@pytest.mark.parametrize("case", CASES)
def test_pods_are_locked_down_and_probed(case: str) -> None:
    pod = by_kind(case)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    (server,) = pod["containers"]
    assert server["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"
    assert mounts["/bundle"]["readOnly"] is True
    assert mounts.keys() >= {"/tmp"}
    assert {mount["name"] for mount in mounts.values()} == volumes.keys()


def test_who_may_reach_the_pods() -> None:
    policy = by_kind("plain")["NetworkPolicy"]["spec"]
    clients, monitoring = policy["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"hemogat-client": "true"}}}]
    assert [port["port"] for port in monitoring["ports"]] == ["metrics"]
    assert policy["egress"] == []


def test_the_route_names_another_release() -> None:
    services = [d for d in documents(golden("full").read_text()) if d["kind"] == "Service"]
    selected = {s["metadata"]["name"]: s["spec"]["selector"] for s in services}
    instance = "app.kubernetes.io/instance"
    assert selected["hemogat"][instance] == "emotions-blue"
    assert selected["emotions-green-hemogat"][instance] == "emotions-green"


def test_the_scaler_uses_the_adapters_metric(chart: Path) -> None:
    (metric,) = by_kind("full")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    (rule,) = yaml.safe_load((chart / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "replicas" not in by_kind("full")["Deployment"]["spec"]


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = merged(below[key], above[key])
    return both


def test_the_schema_takes_the_values_and_no_others(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    assert defaults.keys() == schema["properties"].keys() - {"global"}
    for case in CASES:
        values = yaml.safe_load((HERE / f"values/{case}.yaml").read_text())
        jsonschema.validate(merged(defaults, values), schema)
    for wrong in ({"replicas": 0}, {"replica": 2}, {"serve": {"threads": 0}}, {"scratch": "1 GB"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(merged(defaults, wrong), schema)
