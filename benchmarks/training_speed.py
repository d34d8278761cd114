"""Speed of fusion training: ours against the same head through PyTorch Geometric.

    python benchmarks/training_speed.py

Clusters of random embeddings stand for a corpus of IEMOCAP's size. An epoch is what
``hemogat train`` does: a step on the whole training graph (forward, backward, Adam), then
validation with neighbours from the training split. ``hemogat``: ``train_head`` as it is.
``torch_geometric``: :mod:`geometric_head` with the same optimiser, loop and validation.
``torch_geometric_kept``: the same, freed memory kept by the allocator as our training does.
Each is a process of its own; the first two take turns, the third, which is for comparison, is
measured in the first round. ``step_wall_s`` is a training step without validation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch
from geometric_head import GeometricHead
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.files import write_atomic
from hemogat.model.bank import Embeddings
from hemogat.model.geometric import edges_of
from hemogat.model.head import FusionHead
from hemogat.progress import Progress, Stage
from hemogat.training.head_training import HeadGraphs, train_head
from hemogat.training.loop import Trainee, train_epochs
from hemogat.training.memory import keep_freed_memory
from hemogat.training.metrics import weighted_f1
from hemogat.training.run_directory import Features
from hemogat.versions import installed_versions

DIM, LABELS, CLUSTERS = 768, 4, 60
NODES, VALIDATION = 4407, 551  # IEMOCAP's splits
GRAPH, HEAD = GraphConfig(), HeadConfig()
OURS, KEPT = "hemogat", "torch_geometric_kept"
SIDES = (OURS, "torch_geometric", KEPT)
# Timed in each process, after those that warm up: until memory is kept, epochs still get faster.
EPOCHS = {OURS: 4, "torch_geometric": 2, KEPT: 2}
WARM_UP = {OURS: 2, "torch_geometric": 1, KEPT: 3}


def make_features() -> tuple[Features, Features]:
    """Draw clustered embeddings that have both modalities, for training and validation."""
    torch.manual_seed(0)
    rows = NODES + VALIDATION
    cluster = torch.randint(CLUSTERS, (rows,))
    audio, text = (torch.randn(rows, DIM) + torch.randn(CLUSTERS, DIM)[cluster] for _ in range(2))
    labels = torch.randint(LABELS, (rows,))
    e = Embeddings(audio, text, torch.ones(rows, 2, dtype=torch.bool))
    return Features(e[:NODES], labels[:NODES]), Features(e[NODES:], labels[NODES:])


class EpochClock(Progress):
    """Notes when each epoch ended, wall and CPU seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[float, float]] = []

    @contextmanager
    def stage(
        self, title: str, total: int | None = None, *, undisturbed: bool = False
    ) -> Iterator[Stage]:
        """Run a stage whose every step is an epoch."""
        yield _ClockStage(self.ended)


class _ClockStage(Stage):
    def __init__(self, ended: list[tuple[float, float]]) -> None:
        super().__init__(None, None)
        self._ended = ended

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self._ended.append((time.perf_counter(), time.process_time()))


def measure(side: str) -> dict[str, object]:
    """Time epochs and training steps of one side."""
    train, validation = make_features()
    graphs = HeadGraphs(train, validation)
    graphs.linked(GRAPH), graphs.found(GRAPH)
    clock = EpochClock()
    config = OptimiserConfig(epochs=WARM_UP[side] + EPOCHS[side], learning_rate=1e-3)
    torch.manual_seed(1)
    if side == OURS:
        head = train_head(
            OURS, train, validation, LABELS, HEAD, GRAPH, config, clock, graphs=graphs
        ).head
        e, neighbours = train.embeddings, graphs.linked(GRAPH)
        steps = time_steps(
            head, lambda: head(e.audio, e.text, e.present, neighbours).logits, train.labels
        )
        found: dict[str, object] = {"max_logits_difference": logits_difference(head, graphs)}
    else:
        if side == KEPT:
            keep_freed_memory()
        model = GeometricHead(DIM, DIM, LABELS, HEAD)
        steps = train_geometric(model, graphs, config, clock)
        found = {}
    wall, cpu = (
        [
            round(after[kind] - before[kind], 3)
            for before, after in pairwise(clock.ended[WARM_UP[side] - 1 :])
        ]
        for kind in (0, 1)
    )
    return found | {"epoch_wall_s": wall, "epoch_cpu_s": cpu, "step_wall_s": steps}


def train_geometric(
    model: GeometricHead, graphs: HeadGraphs, config: OptimiserConfig, clock: EpochClock
) -> list[float]:
    """Train as ``train_head`` does; return the seconds of training steps alone."""
    train, validation = graphs.train, graphs.validation
    e, q = train.embeddings, validation.embeddings
    edges = edges_of(graphs.linked(GRAPH), "incoming")
    all_edges = bank_and_queries(graphs)
    audio, text = torch.cat([e.audio, q.audio]), torch.cat([e.text, q.text])
    optimiser = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )

    def train_epoch(_: object) -> float:
        return step(optimiser, lambda: model(e.audio, e.text, edges), train.labels)

    @torch.no_grad()
    def validate() -> float:
        logits = model(audio, text, all_edges)[NODES:]
        return weighted_f1(validation.labels.numpy(), logits.argmax(dim=1).numpy())

    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="max")
    with clock.stage("PyTorch Geometric") as stage:
        train_epochs(Trainee(model, optimiser, schedule), config, train_epoch, validate, stage)
    return time_steps(model, lambda: model(e.audio, e.text, edges), train.labels)


def bank_and_queries(graphs: HeadGraphs) -> Tensor:
    """Return the edges from training utterances to themselves and to those of validation."""
    slots = torch.cat([graphs.linked(GRAPH), graphs.found(GRAPH)])
    return edges_of(slots, "incoming")


@torch.no_grad()
def logits_difference(head: FusionHead, graphs: HeadGraphs) -> float:
    """Return how far our validation logits are from PyTorch Geometric's with the same weights."""
    model = GeometricHead(DIM, DIM, LABELS, HEAD).eval()
    model.load_state_dict(head.eval().state_dict())
    e, q = graphs.train.embeddings, graphs.validation.embeddings
    expected = model(
        torch.cat([e.audio, q.audio]), torch.cat([e.text, q.text]), bank_and_queries(graphs)
    )[NODES:]
    states = head.send(e.audio, e.text, e.present, graphs.linked(GRAPH))
    found = head(q.audio, q.text, q.present, graphs.found(GRAPH), states).logits
    return float((found - expected).abs().max())


def time_steps(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> list[float]:
    """Return the wall seconds of one training step, after the epochs, which warmed up."""
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    model.train()
    step(optimiser, logits, labels)  # Adam's state is made
    started_s = time.perf_counter()
    step(optimiser, logits, labels)
    return [round(time.perf_counter() - started_s, 3)]


def step(optimiser: torch.optim.Optimizer, logits: Callable[[], Tensor], labels: Tensor) -> float:
    """Do one training step: the whole graph is one batch."""
    loss = F.cross_entropy(logits(), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def compare(rounds: int) -> dict[str, object]:
    """Measure all sides in turn; medians, and how many times as fast ours is."""
    found: dict[str, list[dict[str, list[float]]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES[: None if number == 0 else 2]:
            command = [sys.executable, __file__, "--side", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout))
    kinds = ("epoch_wall_s", "epoch_cpu_s", "step_wall_s")
    medians = {
        side: {
            kind: round(statistics.median(s for r in measured for s in r[kind]), 3)
            for kind in kinds
        }
        for side, measured in found.items()
    }
    times_as_fast = {
        side: {kind: round(medians[side][kind] / medians[OURS][kind], 2) for kind in kinds}
        for side in SIDES[1:]
    }
    return {"rounds": found, "medians": medians, "times_as_fast_as": times_as_fast}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure that side once and print it")
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side)))
        return
    environment, load = describe_environment(), load_average()
    report = compare(given.rounds) | {
        "nodes": NODES,
        "validation": VALIDATION,
        "head": HEAD.model_dump(),
        "graph": GRAPH.model_dump(),
        "threads": torch.get_num_threads(),
        "load_average_before": load,
        "environment": environment.model_dump(mode="json"),
        "training_versions": installed_versions(("torch", "torch-geometric")),
    }
    text = json.dumps(report, indent=1)
    print(text)
    cpu = "-".join(environment.cpu.lower().split())
    write_atomic(given.out / f"training-speed-{cpu}-{environment.cores}c.json", text + "\n")


if __name__ == "__main__":
    main()
