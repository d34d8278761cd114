"""Speed of fusion training: the dense path against PyTorch Geometric, with one set of weights.

    python benchmarks/training_speed.py

Clusters of random embeddings stand for a corpus. Epochs of both paths take turns in one process,
each a whole training step (forward, backward, Adam) of the same head on the same graph; validation
is left out. Seconds are wall time and the process' CPU time: the latter leaves out what other
programs took from the machine. Linking runs in a process of its own, whose peak memory counts.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.config import GraphConfig, HeadConfig
from hemogat.files import write_atomic
from hemogat.model import hm_gat
from hemogat.model.bank import Embeddings
from hemogat.model.geometric import edges_of
from hemogat.model.head import FusionHead, HeadOutput
from hemogat.model.topk_graph import link_together
from hemogat.versions import installed_versions

DIM, LABELS, CLUSTERS = 768, 4, 60
NODES, MANY_NODES = 4407, 100_000  # IEMOCAP's training split; what must fit in 4 GB
GRAPH, HEAD = GraphConfig(), HeadConfig()


def make_embeddings(nodes: int) -> Embeddings:
    """Draw clustered embeddings that have both modalities."""
    torch.manual_seed(0)
    cluster = torch.randint(CLUSTERS, (nodes,))
    parts = []
    for _ in range(2):
        part = torch.randn(nodes, DIM)
        part += torch.randn(CLUSTERS, DIM)[cluster]
        parts.append(part)
    return Embeddings(parts[0], parts[1], torch.ones(nodes, 2, dtype=torch.bool))


def link(nodes: int, repeats: int) -> dict[str, object]:
    """Link ``nodes`` utterances; the seconds of each time and this process' peak memory."""
    e = make_embeddings(nodes)
    took = []
    for _ in range(repeats):
        wall_s, cpu_s = timed(lambda: link_together(e.audio, e.text, e.present, GRAPH))
        took.append({"wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3)})
    return {"nodes": nodes, "times": took, "peak_rss_gib": round(peak_rss_kib() / 2**20, 2)}


def peak_rss_kib() -> int:
    """Return this process' peak memory; getrusage would count its parent's before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def compare(rounds: int) -> dict[str, object]:
    """Train by both paths in turn; seconds per epoch of each, and how much faster ours is."""
    # A PyTorch Geometric layer is made once, as in a model of its own, not in every epoch.
    hm_gat.geometric_conv = functools.cache(hm_gat.geometric_conv)
    e = make_embeddings(NODES)
    labels = torch.randint(LABELS, (NODES,))
    head = FusionHead(DIM, DIM, LABELS, HEAD)
    neighbours = link_together(e.audio, e.text, e.present, GRAPH).index
    edges = edges_of(neighbours, "incoming")
    paths: dict[str, Callable[[], HeadOutput]] = {
        "dense": lambda: head(e.audio, e.text, e.present, neighbours),
        "torch_geometric": lambda: head.forward_edges(e.audio, e.text, e.present, edges),
    }
    difference = logits_difference(head, paths)
    optimiser = torch.optim.Adam(head.parameters())
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for number in range(rounds + 1):
        for name, forward in paths.items():
            seconds = timed(lambda forward=forward: step(optimiser, forward, labels))
            if number:  # the first round warms up
                took[name].append(seconds)
    return {"nodes": NODES, "rounds": rounds, "max_logits_difference": difference} | summary(took)


def summary(took: dict[str, list[tuple[float, float]]]) -> dict[str, object]:
    """Return median seconds per epoch by path, and the ratios of the paths' medians."""
    found: dict[str, object] = {}
    for column, kind in enumerate(("wall", "cpu")):
        median = {name: statistics.median(s[column] for s in both) for name, both in took.items()}
        found[f"{kind}_s_per_epoch"] = {name: round(value, 3) for name, value in median.items()}
        found[f"{kind}_speedup"] = round(median["torch_geometric"] / median["dense"], 2)
    return found


@torch.no_grad()
def logits_difference(head: FusionHead, paths: dict[str, Callable[[], HeadOutput]]) -> float:
    """Return how far the paths' logits are apart in evaluation mode."""
    head.eval()
    one, other = (forward().logits for forward in paths.values())
    head.train()
    return float((one - other).abs().max())


def step(
    optimiser: torch.optim.Optimizer, forward: Callable[[], HeadOutput], labels: Tensor
) -> None:
    """Do one epoch: the whole graph is one batch."""
    loss = F.cross_entropy(forward().logits, labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def in_new_process(nodes: int, repeats: int) -> dict[str, object]:
    """Run :func:`link` in a process of its own."""
    command = [sys.executable, __file__, "--link", str(nodes), "--repeats", str(repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many-nodes", type=int, default=MANY_NODES)
    parser.add_argument("--link", type=int, metavar="NODES", help="link that many and stop")
    parser.add_argument("--repeats", type=int, default=1, help="how often to link")
    given = parser.parse_args()
    if given.link:
        print(json.dumps(link(given.link, given.repeats)))
        return
    environment = describe_environment()
    training, linking = compare(given.rounds), [in_new_process(NODES, 5)]
    report: dict[str, object] = {
        "training": training,
        "linking": linking,
        "head": HEAD.model_dump(),
        "graph": GRAPH.model_dump(),
        "threads": torch.get_num_threads(),
        "load_average": load_average(),
        "environment": environment.model_dump(mode="json"),
        "training_versions": installed_versions(("torch", "torch-geometric")),
    }
    cpu = "-".join(environment.cpu.lower().split())
    path = given.out / f"training-speed-{cpu}-{environment.cores}c.json"
    write(path, report)
    linking.append(in_new_process(given.many_nodes, 1))
    write(path, report)


def write(path: Path, report: dict[str, object]) -> None:
    """Print the report and write it; linking many utterances, which comes last, takes minutes."""
    text = json.dumps(report, indent=1)
    print(text, flush=True)
    write_atomic(path, text + "\n")


if __name__ == "__main__":
    main()
