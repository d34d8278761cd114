"""Where a bundle's time goes: per kind of node, by the engines' own profilers.

    python benchmarks/profile_engines.py build/base/bundle --threads 2 --out profile.json

Every graph of every CPU engine in the bundle runs on one window, one text of 16 tokens, one pair of
embeddings. Multiply-accumulates are counted from the shapes that the profilers tell, so that the
rate says how near to the processor's limit a kind of node is. Profiling itself costs some per cent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino

from hemogat.benchmarks.base_models import TOKENS, sample_feeds
from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.files import write_atomic
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.onnx_session import session_options
from hemogat.runtime.openvino_session import compile_graph

WARM_UP = 5
SMALLEST_VOCABULARY = 100  # token ids are drawn for BERT's
CONVOLUTIONS = frozenset(("Conv", "FusedConv", "Convolution", "GroupConvolution"))
PRODUCTS = frozenset(
    (
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QLinearMatMul", "QGemm"),
        *("MatMulIntegerToFloat", "MatMulNBits"),
        *("FullyConnected", "FullyConnectedQuantizedLegacy"),
    )
)
Shape = Sequence[int]


@dataclass(frozen=True)
class Node:
    """One node's median time over the runs, and its multiply-accumulates."""

    kind: str
    name: str
    p50_ms: float
    macs: int


def main() -> None:
    """Profile, print one table per graph, write all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    before, profiles = load_average(), []
    for profile in profile_bundle(arguments.bundle, arguments.threads, arguments.runs):
        print(table(profile), flush=True)
        profiles.append(profile)
    report = {
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": describe_environment().model_dump(mode="json"),
        "load_average_before": before,
        "load_average_after": load_average(),
        "threads": arguments.threads,
        "runs": arguments.runs,
        "profiles": profiles,
    }
    if arguments.out is not None:
        write_atomic(arguments.out, json.dumps(report, indent=1) + "\n")


def profile_bundle(path: Path, threads: int, runs: int) -> Iterator[dict[str, Any]]:
    """Profile the bundle's graphs; TensorRT's plans are left out."""
    bundle = Bundle.open(path, verify=False)
    dims = bundle.manifest.dims
    feeds = sample_feeds()
    feeds["text_encoder"]["input_ids"] %= SMALLEST_VOCABULARY
    feeds["fusion"] |= {
        "audio_embedding": np.ones((1, dims.audio), np.float32),
        "text_embedding": np.ones((1, dims.text), np.float32),
    }
    profilers = {"onnx": profile_onnx, "openvino": profile_openvino}
    for model in bundle.manifest.models:
        if model.engine in profilers:
            graph = str(bundle.path / model.path)
            nodes = profilers[model.engine](graph, feeds[model.graph], threads, runs)
            target = f"{model.engine}-{model.precision}"
            yield {"graph": model.graph, "target": target, "kinds": by_kind(nodes)}


def profile_onnx(path: str, feeds: Arrays, threads: int, runs: int) -> list[Node]:
    """Return what ONNX Runtime's profiler tells of each node."""
    options = session_options(onnxruntime, threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_UP + runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    times_ms: dict[str, list[float]] = defaultdict(list)
    known: dict[str, tuple[str, int]] = {}
    for event in events:
        if event["name"].endswith("_kernel_time"):
            name, told = event["name"], event["args"]
            times_ms[name].append(event["dur"] / 1e3)
            inputs, outputs = (
                [shape for entry in told[key] for shape in entry.values()]
                for key in ("input_type_shape", "output_type_shape")
            )
            known[name] = (told["op_name"], count_macs(told["op_name"], inputs, outputs[0]))
    return _nodes(times_ms, known)


def profile_openvino(path: str, feeds: Arrays, threads: int, runs: int) -> list[Node]:
    """Return what OpenVINO's performance counters tell of each node."""
    compiled = compile_graph(openvino, path, threads, {"PERF_COUNT": True})
    macs = {node.get_friendly_name(): _macs_of(node) for node in _executed(compiled)}
    request = compiled.create_infer_request()
    times_ms: dict[str, list[float]] = defaultdict(list)
    known: dict[str, tuple[str, int]] = {}
    for _ in range(WARM_UP + runs):
        request.infer(feeds)
        for counter in request.get_profiling_info():
            if counter.status == openvino.ProfilingInfo.Status.EXECUTED:
                name = counter.node_name
                times_ms[name].append(1e3 * counter.real_time.total_seconds())
                known[name] = (f"{counter.node_type} {counter.exec_type}", macs.get(name, 0))
    return _nodes(times_ms, known)


def count_macs(kind: str, inputs: Sequence[Shape], output: Shape) -> int:
    """Count a node's multiply-accumulates from the shapes of its inputs and its first output.

    ONNX Runtime does not tell the shape of weights that it has packed, so that a product is
    counted from the factor that is computed.
    """
    if kind in CONVOLUTIONS:
        return prod(output) * prod(inputs[1]) // output[1]
    return prod(output) * inputs[0][-1] if kind in PRODUCTS else 0


def by_kind(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Sum up nodes of one kind, the slowest kind first."""
    total_ms = sum(node.p50_ms for node in nodes)
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[node.kind].append(node)
    rows = []
    for kind, members in groups.items():
        time_ms, macs = sum(n.p50_ms for n in members), sum(n.macs for n in members)
        rows.append(
            {
                "kind": kind,
                "nodes": len(members),
                "time_ms": round(time_ms, 3),
                "share": round(time_ms / total_ms, 4),
                "gmacs": round(macs / 1e9, 4),
                "gmac_per_s": round(macs / time_ms / 1e6, 1) if macs else None,
            }
        )
    return sorted(rows, key=lambda row: -float(row["time_ms"]))


def table(profile: dict[str, Any]) -> str:
    """Return a graph's kinds as Markdown."""
    lines = [
        f"\n{profile['graph']} {profile['target']}\n",
        "| kind | nodes | ms | share | GMAC | GMAC/s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['kind']} | {row['nodes']} | {row['time_ms']:.2f} | {100 * row['share']:.1f} % | "
        f"{row['gmacs'] or ''} | {row['gmac_per_s'] or ''} |"
        for row in profile["kinds"]
    ]
    return "\n".join(lines)


def _nodes(times_ms: dict[str, list[float]], known: dict[str, tuple[str, int]]) -> list[Node]:
    """Summarise the nodes of every run; a few run only once, such as those that pack weights."""
    return [
        Node(kind, name, float(np.median(times_ms[name][WARM_UP:])), macs)
        for name, (kind, macs) in known.items()
        if len(times_ms[name]) > WARM_UP
    ]


def _executed(compiled: Any) -> list[Any]:
    """Return the nodes of the graph as OpenVINO runs it."""
    nodes: list[Any] = compiled.get_runtime_model().get_ops()
    return nodes


def _macs_of(node: Any) -> int:
    shapes = [_sizes(node.input_value(n)) for n in range(node.get_input_size())]
    output = _sizes(node.output(0)) if node.get_output_size() else []
    return count_macs(node.get_rt_info()["layerType"].astype(str), shapes, output)


def _sizes(port: Any) -> list[int]:
    """Return a shape, axes of any size as they are fed: one window or text, and its tokens."""
    shape = port.get_partial_shape()
    return [
        size.get_length() if size.is_static else (TOKENS if axis else 1)
        for axis, size in enumerate(shape)
    ]


if __name__ == "__main__":
    main()
