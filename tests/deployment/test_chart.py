"""The Helm chart, rendered by Helm, and what the rendering says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.contract import Engine, Precision
from hemogat.serving.settings import Device

jsonschema = pytest.importorskip("jsonschema", reason="kubernetes-validate is not installed")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

HERE = Path(__file__).parent
CASES = ("plain", "full", "repository")
Documents = list[dict[str, Any]]
Render = Callable[..., Documents]


@pytest.fixture(scope="module")
def chart(serving: Path) -> Path:
    return serving / "helm/hemogat"


def golden(case: str) -> Path:
    return HERE / "golden" / f"{case}.yaml"


def documents(case: str) -> Documents:
    return [document for document in yaml.safe_load_all(golden(case).read_text()) if document]


def by_kind(rendered: Documents) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in rendered}


def pod_of(rendered: Documents) -> dict[str, Any]:
    pod: dict[str, Any] = by_kind(rendered)["Deployment"]["spec"]["template"]["spec"]
    return pod


def arguments_of(rendered: Documents) -> list[str]:
    arguments: list[str] = pod_of(rendered)["containers"][0]["args"]
    return arguments


@pytest.mark.parametrize("case", CASES)
def test_the_golden_file_is_the_rendering(render: Render, case: str) -> None:
    rendered = render("emotions-green", "--values", str(HERE / f"values/{case}.yaml"))
    changed = f"if this is meant, write what helm template prints to {golden(case)}"
    assert rendered == documents(case), changed


def test_helm_finds_nothing_to_complain_of(helm: Callable[..., str], chart: Path) -> None:
    for case in CASES:
        helm("lint", "--strict", str(chart), "--values", str(HERE / f"values/{case}.yaml"))


REPOSITORY = ("bundle.existingClaim=a", "repository.existingClaim=b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("replicas=1",), r"set one of bundle\.existingClaim and bundle\.image"),
        ((*REPOSITORY, "serve.engine=onnx"), "a generated repository .* fixes engine"),
        ((*REPOSITORY, "settings.max_waiting=9"), "a generated repository .* fixes engine"),
        (
            ("bundle.existingClaim=a", "route.enabled=true", "route.name=hemogat"),
            "hemogat is this release's own Service",
        ),
        (("bundle.existingClaim=a", "serve.engine=torch"), "value must be one of"),
        (("bundle.existingClaim=a", "settings.threads=4"), r"settings\.threads would do nothing"),
        (
            ("bundle.existingClaim=a", "serve.engine=onnx", "settings.engine=openvino"),
            r"as serve\.engine goes before it: set that instead",
        ),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    render: Render, values: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render("hemogat", *(f"--set={value}" for value in values))


def test_the_route_of_a_release_by_our_name_is_another_service(render: Render) -> None:
    rendered = render("hemogat", "--set=bundle.existingClaim=a", "--set=route.enabled=true")
    names = [(d["kind"], d["metadata"]["name"]) for d in rendered]
    assert len(set(names)) == len(names)
    assert {("Service", "hemogat"), ("Service", "hemogat-route")} <= set(names)


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_knows_every_field(case: str) -> None:
    for document in documents(case):
        if document["kind"] != "ServiceMonitor":  # the Prometheus operator's
            kubernetes_validate.validate(document, "1.31", strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    deployment = by_kind(documents("plain"))["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


@pytest.mark.parametrize("case", CASES)
def test_pods_are_locked_down_and_probed(case: str) -> None:
    pod = pod_of(documents(case))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
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
    policy = by_kind(documents("plain"))["NetworkPolicy"]["spec"]
    clients, monitoring = policy["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"hemogat-client": "true"}}}]
    assert [port["port"] for port in monitoring["ports"]] == ["metrics"]
    assert policy["egress"] == []


def test_the_route_names_another_release() -> None:
    services = [d for d in documents("full") if d["kind"] == "Service"]
    selected = {s["metadata"]["name"]: s["spec"]["selector"] for s in services}
    instance = "app.kubernetes.io/instance"
    assert selected["hemogat-route"][instance] == "emotions-blue"
    assert selected["emotions-green-hemogat"][instance] == "emotions-green"


def test_the_scaler_uses_the_adapters_metric(chart: Path) -> None:
    (metric,) = by_kind(documents("full"))["HorizontalPodAutoscaler"]["spec"]["metrics"]
    (rule,) = yaml.safe_load((chart / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "replicas" not in by_kind(documents("full"))["Deployment"]["spec"]


def test_a_pod_has_the_time_that_its_server_takes(chart: Path) -> None:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    for case in CASES:
        values = defaults | yaml.safe_load((HERE / f"values/{case}.yaml").read_text())
        pod, arguments = pod_of(documents(case)), arguments_of(documents(case))
        (server,) = pod["containers"]
        assert f"--drain-seconds={values['drainSeconds']}" in arguments
        assert f"--ready-timeout={values['startupSeconds']}" in arguments
        asleep = int(server["lifecycle"]["preStop"]["exec"]["command"][-1])
        needed = asleep + values["drainSeconds"] + 10  # then tritonserver is killed
        assert pod["terminationGracePeriodSeconds"] > needed
        probe = server["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= values["startupSeconds"]


@pytest.mark.parametrize("case", CASES)
def test_the_command_takes_the_arguments(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(
        "hemogat.serving.serve.serve", lambda source, **options: taken.update(options)
    )
    arguments = arguments_of(documents(case))
    if case == "full":
        file = tmp_path / "settings.yaml"
        file.write_text(by_kind(documents(case))["ConfigMap"]["data"]["settings.yaml"])
        arguments = [a.replace("/etc/hemogat/settings.yaml", str(file)) for a in arguments]
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 0, result.output
    if case == "repository":
        assert taken["settings"] is None
    if case == "full":
        assert taken["settings"].max_waiting == 64
        assert taken["settings"].audio_encoder.max_batch_size == 8
        assert taken["http_inference"] is False
        assert (taken["ready_timeout_s"], taken["drain_s"]) == (600, 60)


def test_a_generated_repository_is_served_as_it_is() -> None:
    assert arguments_of(documents("repository"))[0] == "/models"
    pod = pod_of(documents("repository"))
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/models"] == {
        "name": "repository", "mountPath": "/models", "readOnly": True, "subPath": "repository",
    }  # fmt: skip
    assert mounts["/bundle"]["subPath"] == "bundle"
    assert not any("--instances" in argument for argument in arguments_of(documents("repository")))


def test_alerts_and_dashboard_are_the_ones_of_compose(
    render: Render, serving: Path, promtool: str, tmp_path: Path
) -> None:
    options = ("bundle.existingClaim=a", "prometheusRule.enabled=true", "dashboard.enabled=true")
    labels = ("prometheusRule.labels.release=stack", "serviceMonitor.labels.release=stack")
    sets = (*options, *labels, "serviceMonitor.enabled=true")
    rendered = by_kind(render("hemogat", *(f"--set={value}" for value in sets)))
    for kind in ("PrometheusRule", "ServiceMonitor"):
        assert rendered[kind]["metadata"]["labels"]["release"] == "stack"
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(rendered["PrometheusRule"]["spec"]))
    alerts = serving / "prometheus/alerts.yml"
    assert rendered["PrometheusRule"]["spec"] == yaml.safe_load(alerts.read_text())
    subprocess.run([promtool, "check", "rules", rules], check=True, capture_output=True)
    # The alerts ask for this job, which the operator takes from the Service's label.
    job = rendered["ServiceMonitor"]["spec"]["jobLabel"]
    assert rendered["Service"]["metadata"]["labels"][job] == "hemogat"
    assert rendered["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads(rendered["ConfigMap"]["data"]["hemogat.json"])
    assert dashboard == json.loads((serving / "grafana/dashboards/hemogat.json").read_text())


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


def test_the_schema_knows_what_the_command_takes(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    known = schema["properties"]["serve"]["properties"]
    for name, choices in (("engine", Engine), ("precision", Precision), ("device", Device)):
        assert known[name]["enum"] == ["", *get_args(choices)]
