"""Time and memory of the Top-K graph over a corpus.

    python benchmarks/linking.py                 # 4,407 utterances, IEMOCAP's training split
    python benchmarks/linking.py --nodes 100000 --repeats 1

Random embeddings in clusters, of 768 + 768. The process' peak memory has the embeddings in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.benchmarks.file_names import of_other_machines, report_path
from hemogat.config import GraphConfig
from hemogat.files import write_atomic
from hemogat.model.topk_graph import link_together
from hemogat.versions import installed_versions

DIM, CLUSTERS = 768, 60
GRAPH = GraphConfig()


def link(nodes: int, repeats: int) -> dict[str, object]:
    """Link ``nodes`` utterances; the seconds of each time and this process' peak memory."""
    torch.manual_seed(0)
    cluster = torch.randint(CLUSTERS, (nodes,))
    audio, text = (_clustered(cluster) for _ in range(2))
    present = torch.ones(nodes, 2, dtype=torch.bool)
    wall, cpu = [], []
    for _ in range(repeats):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        link_together(audio, text, present, GRAPH)
        wall.append(round(time.perf_counter() - wall_s, 3))
        cpu.append(round(time.process_time() - cpu_s, 3))
    return {
        "nodes": nodes,
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_rss_gib": round(peak_rss_kib() / 2**20, 2),
    }


def _clustered(cluster: torch.Tensor) -> torch.Tensor:
    made = torch.randn(len(cluster), DIM)
    made += torch.randn(CLUSTERS, DIM)[cluster]
    return made


def peak_rss_kib() -> int:
    """Return this process' peak memory; getrusage would count its parent's before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--nodes", type=int, default=4407)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    environment, load = describe_environment(), load_average()
    report = link(given.nodes, given.repeats) | {
        "graph": GRAPH.model_dump(),
        "threads": torch.get_num_threads(),
        "load_average_before": load,
        "environment": environment.model_dump(mode="json"),
        "training_versions": installed_versions(("torch",)),
    }
    text = json.dumps(report, indent=1)
    print(text)
    path = report_path(given.out, environment, "linking", str(given.nodes))
    write_atomic(path, text + "\n")
    for before in of_other_machines(path, environment):
        before.unlink()
        print(f"removed: {before}", file=sys.stderr)


if __name__ == "__main__":
    main()
