"""Time the graph and fusion step with the bank outside the graph, at several bank sizes.

    OMP_NUM_THREADS=1 python benchmarks/bank_search.py --out benchmarks/results/bank-search.json

Base sizes (768 + 768, hidden 512, random weights), one utterance at a time. Embeddings are
clustered, queries are new draws from the same clusters; states come from a few rows repeated, as
their values do not matter for speed. One utterance follows the other, with no encoder in between,
and asks each graph in turn. Recall is counted against an fp32 search of all rows. "Inside the
graph" is the ``fusion`` graph, which searches its bank by itself.

The file is written after every bank. Run again with the same file, a run that was cut short goes on
where it stopped, on the same machine and code; --afresh starts anew. Then render docs/bank.md:

    python benchmarks/bank_tables.py
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

from hemogat.benchmarks.base_models import OPSET
from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.benchmarks.random_heads import DIM, build_head, clustered_embeddings
from hemogat.config import GraphConfig
from hemogat.contract import Engine, SearchMode
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import compress_weights
from hemogat.export.packed_head import pack_head
from hemogat.files import write_atomic
from hemogat.runtime.bank_codes import IVFScan
from hemogat.runtime.bank_search import BankSearch, gather_states, normalise
from hemogat.runtime.sessions import EngineSession, open_graph

BANKS: tuple[tuple[int, SearchMode], ...] = (
    *((4_407, "exact"), (4_407, "int8")),
    *((44_070, "exact"), (44_070, "int8"), (44_070, "ivf")),
    *((200_000, "int8"), (200_000, "ivf")),
)
QUERIES = 128
INSIDE_ROWS = 4_407
WARM_UP = 5


def main() -> None:
    """Measure and write, bank by bank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="*", default=None, help="only these sizes")
    parser.add_argument("--afresh", action="store_true", help="measure again what the file has")
    arguments = parser.parse_args()
    report = started(arguments.out, afresh=arguments.afresh)

    def keep() -> None:
        report["created_utc"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report["load_average_after"] = load_average()
        write_atomic(arguments.out, json.dumps(report, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        if "inside_the_graph" not in report:
            report["inside_the_graph"] = measure_inside(Path(folder))
            print(report["inside_the_graph"], flush=True)
            keep()
        graphs, states = gathered(Path(folder))
        done = [(bank["rows"], bank["mode"]) for bank in report["banks"]]
        for rows, mode in BANKS:
            wanted = arguments.rows is None or rows in arguments.rows
            if wanted and (rows, mode) not in done:
                report["banks"].append(measure(rows, mode, graphs, states))
                print(report["banks"][-1], flush=True)
                keep()


def started(path: Path, *, afresh: bool) -> dict[str, Any]:
    """Return the report at ``path``, if it is of this machine and code, else one to begin with."""
    environment = describe_environment().model_dump(mode="json")
    if path.is_file() and not afresh:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["environment"] == environment:
            return found
        raise SystemExit(f"{path}: is of another machine or code; --afresh measures all of it")
    return {
        "created_utc": None,
        "environment": environment,
        "load_average_before": load_average(),
        "load_average_after": None,
        "banks": [],
    }


def gathered(folder: Path) -> tuple[dict[str, EngineSession], dict[str, Any]]:
    """Return the graphs without a bank, and the states of a few rows."""
    head, small = build_head(64)
    onnx = export_fusion_gather(head, small, GraphConfig(), folder / "gather", OPSET)
    compressed = compress_weights(onnx, folder / "gather-int8")
    graphs = {
        "onnx-fp32": open_graph(str(onnx), "onnx", threads=2),
        "openvino-int8": open_graph(str(compressed), "openvino", threads=2),
    }
    return graphs, {f"states_{n}": s.numpy() for n, s in enumerate(small.states)}


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
    step_ms: dict[str, list[float]] = {name: [] for name in graphs}
    search_ms, asked = [], []
    for number in range(QUERIES):
        audio, text = (queries[n][number : number + 1] for n in ("audio", "text"))
        present = np.ones((1, 2), np.bool_)
        for name, graph in graphs.items():
            started = time.perf_counter()
            neighbours = search(audio, text, present)
            searched = time.perf_counter()
            found = gather_states(small, range(3), neighbours.index % 64)
            feeds = {"audio_embedding": audio, "text_embedding": text, "present": present}
            graph.run({**feeds, **found})
            step_ms[name].append(1e3 * (time.perf_counter() - started))
            search_ms.append(1e3 * (searched - started))
        asked.append((audio[0], text[0], neighbours.index[0]))
    resident = resident_mib()
    hits = [recall(tensors, "audio", audio, index[:4]) for audio, _, index in asked]
    hits += [recall(tensors, "text", text, index[4:]) for _, text, index in asked]
    return {
        "rows": rows,
        "mode": mode,
        "build_s": round(build_s, 1),
        "search_ms": summary(search_ms),
        "graph_and_fusion_ms": {name: summary(times) for name, times in step_ms.items()},
        "recall": round(float(np.mean(hits)), 4),
        "codes_mib": round(2 * rows * DIM * (4 if mode == "exact" else 1) / 2**20, 1),
        "index_resident_mib": round(index_mib, 1),
        "resident_mib": round(resident, 1),  # of the process, with all embeddings in memory
        "embeddings_mib": round(2 * rows * DIM * 4 / 2**20, 1),
        "states_mib": round(rows * sum(s.shape[1] for s in small.values()) * 4 / 2**20, 1),
        "clusters_looked_into": {
            n: [scan.facts.probes, scan.facts.clusters] for n, scan in search.scans.items()
            if isinstance(scan, IVFScan)
        },
    }  # fmt: skip


def measure_inside(folder: Path) -> dict[str, Any]:
    """Time the graph that has its bank inside."""
    head, bank = build_head(INSIDE_ROWS)
    onnx = export_fusion(head, bank, GraphConfig(), folder / "fusion", OPSET)
    compressed = compress_weights(onnx, folder / "fusion-openvino")
    packed = pack_head(onnx, folder / "fusion-onnx")
    drawn = clustered_embeddings(INSIDE_ROWS + QUERIES)[INSIDE_ROWS:]
    places: tuple[tuple[str, Engine, Path, int], ...] = (
        ("onnx-fp32", "onnx", onnx, 2),
        ("onnx-int8", "onnx", packed, 2),
        ("onnx-int8, 1 thread", "onnx", packed, 1),
        ("openvino-int8", "openvino", compressed, 2),
    )
    step_ms = {}
    for name, engine, path, threads in places:
        graph = open_graph(str(path), engine, threads=threads)
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
