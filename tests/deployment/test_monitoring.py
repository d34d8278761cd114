"""What the dashboard and the alerts ask for is what a real server tells."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from hemogat.errors import InputError
from hemogat.serving.client import Client
from hemogat.serving.server import TritonServer

NAME = re.compile(r"\b(?:hemogat|nv)_[a-z_]+(?=\{|\[|\b)")
# Labels and label values that look like metrics; and what only a machine with a GPU has.
OTHERS = {"hemogat_stream", "hemogat_"}
GPU_ONLY = {"nv_gpu_utilization"}


def series(server: TritonServer) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line and not line.startswith("#")
    }


def dashboard_queries(serving: Path) -> list[str]:
    dashboard = json.loads((serving / "grafana/dashboards/hemogat.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries(serving: Path) -> list[str]:
    groups = yaml.safe_load((serving / "prometheus/alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def adapter_query(serving: Path) -> str:
    path = serving / "helm/hemogat/prometheus-adapter.yaml"
    (rule,) = yaml.safe_load(path.read_text())["rules"]["custom"]
    query: str = rule["metricsQuery"]
    return query.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="a"')


def test_every_metric_asked_for_is_there(serving: Path, server: TritonServer) -> None:
    queries = [*dashboard_queries(serving), *alert_queries(serving), adapter_query(serving)]
    asked = {name for query in queries for name in NAME.findall(query)} - OTHERS - GPU_ONLY
    told = {name.partition("{")[0] for name in series(server)}
    assert asked <= told
    assert {"hemogat_requests_total", "nv_inference_exec_count"} <= asked


def settled(server: TritonServer, counters: list[str]) -> dict[str, float]:
    """Return the metrics when the counts of earlier requests have all been handed over."""
    before = series(server)
    while True:
        time.sleep(1.5)
        now = series(server)
        if all(before[c] == now[c] for c in counters):
            return now
        before = now


def test_outcomes_are_counted(server: TritonServer) -> None:
    counters = [
        f'hemogat_requests_total{{model="hemogat",status="{s}"}}' for s in ("ok", "invalid")
    ]
    counters.append('hemogat_request_duration_seconds_bucket{le="+Inf",model="hemogat"}')
    counters.append('hemogat_queue_duration_seconds_count{model="hemogat"}')
    before = settled(server, counters)
    with Client(server.grpc_url) as client:
        for _ in range(6):
            client.predict(text="stop that")
        with pytest.raises(InputError):
            client.predict(b"garbage" * 100)
    deadline = time.monotonic() + 30  # counts are handed over once a second
    wanted = [6, 1, 6, 7]
    while (counted := [series(server)[c] - before[c] for c in counters]) != wanted:
        assert time.monotonic() < deadline, counted
        time.sleep(0.2)


def test_promtool_accepts_configuration_and_queries(
    serving: Path, promtool: str, tmp_path: Path
) -> None:
    queries = [query.replace("$__rate_interval", "1m") for query in dashboard_queries(serving)]
    queries.append(adapter_query(serving))
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    recording = tmp_path / "queries.yml"
    recording.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for arguments in (
        ("check", "config", serving / "prometheus/prometheus.yml"),
        ("check", "rules", recording),
    ):
        done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
