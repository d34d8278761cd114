"""Time the graph and fusion step with the bank outside the graph, at several bank sizes.

    OMP_NUM_THREADS=1 python benchmarks/bank_search.py --out benchmarks/results/bank-search.json

Base sizes (768 + 768, hidden 512, random weights), one utterance at a time. Embeddings are
clustered, queries are new draws from the same clusters; states come from a few rows repeated, as
their values do not matter for speed. One utterance follows the other, with no encoder in between.
Recall is counted against an fp32 search of all rows. "inside the graph" is the ``fusion`` graph,
which searches an fp32 table by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from hemogat.benchmarks.base_models import DIM, OPSET, build_head, clustered_embeddings
from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.config import GraphConfig
from hemogat.contract import Engine, SearchMode
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import compress_weights
from hemogat.runtime.bank_codes import IVFScan
from hemogat.runtime.bank_search import BankSearch, gather_states, normalise
from hemogat.runtime.sessions import EngineSession, open_graph

BANKS: tuple[tuple[int, SearchMode], ...] = (
    *((4_407, "exact"), (4_407, "int8"), (44_070, "int8"), (44_070, "ivf"), (200_000, "ivf")),
)
QUERIES = 128
INSIDE_ROWS = 4_407
WARM_UP = 5


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="*", default=None, help="only these sizes")
    arguments = parser.parse_args()
    before, found = load_average(), []
    with tempfile.TemporaryDirectory() as folder:
        head, small = build_head(64)
        onnx = export_fusion_gather(head, small, GraphConfig(), Path(folder), OPSET)
        compressed = compress_weights(onnx, Path(folder) / "int8")
        graphs = {
            "onnx-fp32": open_graph(str(onnx), "onnx", threads=2),
            "openvino-int8": open_graph(str(compressed), "openvino", threads=2),
        }
        states = {f"states_{n}": s.numpy() for n, s in enumerate(small.states)}
        for rows, mode in BANKS:
            if arguments.rows is None or rows in arguments.rows:
                found.append(measure(rows, mode, graphs, states))
                print(found[-1], flush=True)
        inside = measure_inside(Path(folder))
        print(inside, flush=True)
    report = {
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": describe_environment().model_dump(mode="json"),
        "load_average_before": before,
        "load_average_after": load_average(),
        "banks": found,
        "inside_the_graph": inside,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def measure(
    rows: int, mode: SearchMode, graphs: dict[str, EngineSession], small: dict[str, Any]
) -> dict[str, Any]:
    """Time one bank, with each graph."""
    drawn = clustered_embeddings(rows + QUERIES)
    tensors: dict[str, Any] = {n: getattr(drawn, n)[:rows].numpy() for n in ("audio", "text")}
    queries = {n: getattr(drawn, n)[rows:].numpy() for n in ("audio", "text")}
    for name in ("audio", "text"):
        tensors[f"{name}_rows"] = np.arange(rows)
        if mode == "exact":
            tensors[f"{name}_table"] = np.ascontiguousarray(normalise(tensors[name]).T)
    before_mib = resident_mib()
    started = time.perf_counter()
    search = BankSearch(tensors, GraphConfig(), mode=mode)
    build_s = time.perf_counter() - started
    index_mib = resident_mib() - before_mib
    step_ms: dict[str, list[float]] = {}
    search_ms, found = [], []
    for name, graph in graphs.items():
        step_ms[name] = []
        for number in range(QUERIES):
            audio, text = (queries[n][number : number + 1] for n in ("audio", "text"))
            present = np.ones((1, 2), np.bool_)
            started = time.perf_counter()
            neighbours = search(audio, text, present)
            searched = time.perf_counter()
            gathered = gather_states(small, range(3), neighbours.index % 64)
            feeds = {"audio_embedding": audio, "text_embedding": text, "present": present}
            graph.run({**feeds, **gathered})
            step_ms[name].append(1e3 * (time.perf_counter() - started))
            search_ms.append(1e3 * (searched - started))
            found.append((audio[0], text[0], neighbours.index[0]))
    hits = [recall(tensors, "audio", audio, index[:4]) for audio, _, index in found]
    hits += [recall(tensors, "text", text, index[4:]) for _, text, index in found]
    return {
        "rows": rows,
        "mode": mode,
        "build_s": round(build_s, 1),
        "search_ms": summary(search_ms),
        "graph_and_fusion_ms": {name: summary(times) for name, times in step_ms.items()},
        "recall": round(float(np.mean(hits)), 4),
        "codes_mib": round(2 * rows * DIM * (4 if mode == "exact" else 1) / 2**20, 1),
        "index_resident_mib": round(index_mib, 1),
        "clusters_looked_into": {
            n: [scan.probes, scan.clusters] for n, scan in search.scans.items()
            if isinstance(scan, IVFScan)
        },
    }  # fmt: skip


def measure_inside(folder: Path) -> dict[str, Any]:
    """Time the graph that has its bank inside."""
    head, bank = build_head(INSIDE_ROWS)
    onnx = export_fusion(head, bank, GraphConfig(), folder / "fusion", OPSET)
    compressed = compress_weights(onnx, folder / "fusion-int8")
    drawn = clustered_embeddings(INSIDE_ROWS + QUERIES)[INSIDE_ROWS:]
    places: tuple[tuple[str, Engine, Path], ...] = (
        ("onnx-fp32", "onnx", onnx),
        ("openvino-int8", "openvino", compressed),
    )
    step_ms = {}
    for name, engine, path in places:
        graph = open_graph(str(path), engine, threads=2)
        times = []
        for audio, text in zip(drawn.audio.numpy(), drawn.text.numpy(), strict=True):
            present = np.ones((1, 2), np.bool_)
            feeds = {"audio_embedding": audio[None], "text_embedding": text[None]}
            started = time.perf_counter()
            graph.run({**feeds, "present": present})
            times.append(1e3 * (time.perf_counter() - started))
        step_ms[name] = summary(times)
    return {"rows": INSIDE_ROWS, "graph_and_fusion_ms": step_ms}


def resident_mib() -> float:
    """Return the memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def recall(tensors: dict[str, Any], name: str, query: Any, index: Any) -> float:
    """Return the share of the true nearest that was found; rows found by audio count for both."""
    kept = index[index >= 0]
    cosines = normalise(query[None])[0] @ normalise_once(tensors, name).T
    expected = np.argpartition(cosines, -len(kept))[-len(kept) :]
    return float(np.isin(expected, kept).mean())


def normalise_once(tensors: dict[str, Any], name: str) -> Any:
    """Return the unit rows, computed at the first call."""
    if f"{name}_units" not in tensors:
        tensors[f"{name}_units"] = normalise(tensors[name])
    return tensors[f"{name}_units"]


def summary(times_ms: list[float]) -> dict[str, float]:
    """Return the smallest, median and 95th percentile."""
    kept = np.array(times_ms[WARM_UP:])
    p50, p95 = np.percentile(kept, [50, 95])
    return {"min": round(kept.min(), 2), "p50": round(p50, 2), "p95": round(p95, 2)}


if __name__ == "__main__":
    main()
