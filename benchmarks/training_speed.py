"""Speed of fusion training: ours against the same head through PyTorch Geometric.

    python benchmarks/training_speed.py

Clusters of random embeddings stand for a corpus of IEMOCAP's size. An epoch is what
``hemogat train`` does: a step on the whole training graph (forward, backward, Adam), then
validation with neighbours from the training split. ``hemogat``: ``train_head`` as it is.
``torch_geometric``: :mod:`geometric_head` with the same optimiser, loop and validation.
``torch_geometric_kept``: the same, freed memory kept by the allocator as our training does.
Each is a process of its own that warms up and then waits; in every round each runs two epochs, one
side after the other, so that what else the machine does meets all of them alike. The second is
timed: in training one epoch follows the other, and after a wait memory is dear, as a virtual
machine may have given free pages back to its host. The ratio is taken round by round; its interval
is Student's over the rounds. ``step_wall_s`` are training steps without validation, after the
rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from geometric_head import GeometricHead
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.benchmarks.file_names import of_other_machines, report_path
from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.files import write_atomic
from hemogat.model.bank import Embeddings
from hemogat.model.geometric import edges_of
from hemogat.model.head import FusionHead
from hemogat.progress import Progress, Stage
from hemogat.training.head_training import HeadGraphs, train_head
from hemogat.training.intervals import estimate
from hemogat.training.loop import Trainee, train_epochs
from hemogat.training.memory import keep_freed_memory
from hemogat.training.metrics import weighted_f1
from hemogat.training.products import fast_products
from hemogat.training.run_directory import Features
from hemogat.versions import installed_versions

DIM, LABELS, CLUSTERS = 768, 4, 60
NODES, VALIDATION = 4407, 551  # IEMOCAP's splits
GRAPH, HEAD = GraphConfig(), HeadConfig()
OURS, KEPT = "hemogat", "torch_geometric_kept"
SIDES = (OURS, "torch_geometric", KEPT)
# Epochs before those that are timed: until memory is kept, they still get faster.
WARM_UP = {OURS: 2, "torch_geometric": 1, KEPT: 3}
EPOCHS_PER_TURN = 2
STEPS = 2
EPOCH_KINDS = ("epoch_wall_s", "epoch_cpu_s")
Go = Callable[[], object]  # waits for one's turn
Tell = Callable[[dict[str, object]], object]


def make_features(nodes: int, validation: int) -> tuple[Features, Features]:
    """Draw clustered embeddings that have both modalities, for training and validation."""
    torch.manual_seed(0)
    rows = nodes + validation
    cluster = torch.randint(CLUSTERS, (rows,))
    audio, text = (torch.randn(rows, DIM) + torch.randn(CLUSTERS, DIM)[cluster] for _ in range(2))
    labels = torch.randint(LABELS, (rows,))
    e = Embeddings(audio, text, torch.ones(rows, 2, dtype=torch.bool))
    return Features(e[:nodes], labels[:nodes]), Features(e[nodes:], labels[nodes:])


class EpochClock(Progress):
    """Times the last epoch of each turn after the first few, wall and CPU seconds."""

    def __init__(self, warm_up: int, go: Go, tell: Tell) -> None:
        super().__init__()
        self._warm_up, self._go, self._tell = warm_up, go, tell

    @contextmanager
    def stage(
        self, title: str, total: int | None = None, *, undisturbed: bool = False
    ) -> Iterator[Stage]:
        """Run a stage whose every step is an epoch."""
        yield _ClockStage(self._warm_up, self._go, self._tell)


class _ClockStage(Stage):
    def __init__(self, warm_up: int, go: Go, tell: Tell) -> None:
        super().__init__(None, None)
        self._left, self._go, self._tell = warm_up, go, tell
        self._began = (0.0, 0.0)

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self._left -= 1
        if self._left == 0:
            self._tell({"ready": True})
        ends_turn = self._left <= 0 and self._left % EPOCHS_PER_TURN == 0
        if self._left < 0 and ends_turn:
            self._tell(
                {
                    "epoch_wall_s": round(wall_s - self._began[0], 3),
                    "epoch_cpu_s": round(cpu_s - self._began[1], 3),
                }
            )
        if ends_turn:
            self._go()
        self._began = time.perf_counter(), time.process_time()


def work(side: str, nodes: int, validation: int, rounds: int, go: Go, tell: Tell) -> None:
    """Train one side: tell each turn's seconds, at the end those of steps."""
    graphs = HeadGraphs(*make_features(nodes, validation))
    graphs.linked(GRAPH), graphs.found(GRAPH)
    clock = EpochClock(WARM_UP[side], go, tell)
    epochs = WARM_UP[side] + EPOCHS_PER_TURN * rounds
    config = OptimiserConfig(epochs=epochs, patience=epochs, learning_rate=1e-3)
    torch.manual_seed(1)
    if side == OURS:
        train, e = graphs.train, graphs.train.embeddings
        head = train_head(
            OURS, train, graphs.validation, LABELS, HEAD, GRAPH, config, clock, graphs=graphs
        ).head
        neighbours = graphs.linked(GRAPH)
        with fast_products():
            steps = time_steps(
                head, lambda: head(e.audio, e.text, e.present, neighbours).logits, train.labels
            )
        tell({"step_wall_s": steps, "max_logits_difference": logits_difference(head, graphs)})
        return
    if side == KEPT:
        keep_freed_memory()
    model = GeometricHead(DIM, DIM, LABELS, HEAD)
    tell({"step_wall_s": train_geometric(model, graphs, config, clock)})


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
        logits = model(audio, text, all_edges)[len(e) :]
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
    )[len(e) :]
    states = head.send(e.audio, e.text, e.present, graphs.linked(GRAPH))
    found = head(q.audio, q.text, q.present, graphs.found(GRAPH), states).logits
    return float((found - expected).abs().max())


def time_steps(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> list[float]:
    """Return the wall seconds of one training step, after the epochs, which warmed up."""
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    model.train()
    step(optimiser, logits, labels)  # Adam's state is made
    seconds = []
    for _ in range(STEPS):
        started_s = time.perf_counter()
        step(optimiser, logits, labels)
        seconds.append(round(time.perf_counter() - started_s, 3))
    return seconds


def step(optimiser: torch.optim.Optimizer, logits: Callable[[], Tensor], labels: Tensor) -> float:
    """Do one training step: the whole graph is one batch."""
    loss = F.cross_entropy(logits(), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def compare(rounds: int) -> dict[str, object]:
    """Have all sides take turns; return every round and :func:`summarise` of them."""
    command = [sys.executable, __file__, "--rounds", str(rounds), "--side"]
    workers = {}
    for side in SIDES:
        workers[side] = subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _told(workers[side])  # it is warm before the next one starts
    measured: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        measured.append({side: _turn(workers[side]) for side in order})
    ends = {side: _turn(worker) for side, worker in workers.items()}
    for worker in workers.values():
        worker.communicate()
    return summarise(measured, ends)


def _turn(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return _told(worker)


def _told(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{worker.args}: ended with {worker.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found


def summarise(
    rounds: Sequence[dict[str, dict[str, float]]], ends: dict[str, dict[str, Any]]
) -> dict[str, object]:
    """Return medians by side, and how many times as fast ours is, round by round."""
    medians = {
        side: {
            kind: round(statistics.median(found[side][kind] for found in rounds), 3)
            for kind in EPOCH_KINDS
        }
        | {"step_wall_s": round(statistics.median(ends[side]["step_wall_s"]), 3)}
        for side in ends
    }
    others = [side for side in ends if side != OURS]

    def ratio(side: str, kind: str) -> dict[str, Any]:
        by_round = [found[side][kind] / found[OURS][kind] for found in rounds]
        return estimate(by_round, 0).model_dump(exclude={"best"}, mode="json")

    step_s = {side: medians[side]["step_wall_s"] for side in ends}
    return {
        "rounds": list(rounds),
        "ends": ends,
        "medians": medians,
        "times_as_fast_as": {side: {k: ratio(side, k) for k in EPOCH_KINDS} for side in others},
        "steps_times_as_fast_as": {side: round(step_s[side] / step_s[OURS], 2) for side in others},
    }


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--side", choices=SIDES, help="be one of the processes, which take turns")
    given = parser.parse_args()
    if given.side:
        work(
            *(given.side, NODES, VALIDATION, given.rounds),
            sys.stdin.readline,
            lambda found: print(json.dumps(found), flush=True),
        )
        return
    environment, load = describe_environment(), load_average()
    report = compare(given.rounds) | {
        "command": f"python benchmarks/training_speed.py --rounds {given.rounds}",
        "nodes": NODES,
        "validation": VALIDATION,
        "head": HEAD.model_dump(),
        "graph": GRAPH.model_dump(),
        "threads": torch.get_num_threads(),
        "load_average_before": load,
        "environment": environment.model_dump(mode="json"),
        "training_versions": installed_versions(("torch", "torch-geometric")),
    }
    print(text := json.dumps(report, indent=1))
    path = report_path(given.out, environment, "training-speed")
    write_atomic(path, text + "\n")
    for before in of_other_machines(path, environment):
        before.unlink()
        print(f"removed: {before}", file=sys.stderr)


if __name__ == "__main__":
    main()
